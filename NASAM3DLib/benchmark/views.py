"""What the methods are shown: a volume as it is, and reconstructions from few noisy views."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import NASAM3DLib
from NASAM3DLib.benchmark.case import Case
from NASAM3DLib.benchmark.sources import CaseStore, Source, file_name
from NASAM3DLib.files import replacing
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.settings import Quality, ReconstructionSettings
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.presets import SOURCE_TO_ISOCENTER_MM, default_scan

logger = logging.getLogger(__name__)

FULL = "full"
"""The volume as it is."""

LIMITS_HU = (-1000.0, 2000.0)
"""What is scanned: denser than this is metal, whose artefacts are another matter."""


@dataclass(frozen=True)
class ScanSettings:
    """How sparse scans are made and reconstructed.

    Parameters
    ----------
    photons : float
        Photons per pixel and view without an object.
    electronic_noise : float
        Standard deviation of the electronics, in photons.
    quality : {"preview", "standard", "best"}
        Quality of the reconstruction, by total variation.
    """

    photons: float = 1e5
    electronic_noise: float = 10.0
    quality: Quality = "standard"


def view_name(n_views: int | None) -> str:
    """Name what is shown.

    Parameters
    ----------
    n_views : int or None
        Number of views; None for the volume as it is.

    Returns
    -------
    str
    """
    return FULL if n_views is None else f"{n_views} views"


def scan_of(grid: VolumeGrid, n_views: int) -> ConeBeamGeometry:
    """Make the scan of a volume: a full turn whose pixels are about a voxel in the middle.

    Parameters
    ----------
    grid : VolumeGrid
        What is scanned.
    n_views : int
        Number of views.

    Returns
    -------
    ConeBeamGeometry
    """
    offsets = np.abs(grid.corners_ras - grid.centre_ras).max(axis=0)
    radius, height = float(np.hypot(offsets[0], offsets[1])), float(offsets[2])
    voxel = float(grid.spacing_mm.min())
    near = SOURCE_TO_ISOCENTER_MM
    columns = int(np.ceil(2 * radius / np.sqrt(1 - (radius / near) ** 2) / voxel)) + 2
    rows = int(np.ceil(2 * height / (1 - radius / near) / voxel)) + 2
    return default_scan(grid, n_views=n_views, detector_shape=(rows, columns))


def sparse_volume(case: Case, n_views: int, settings: ScanSettings) -> Volume:
    """Scan a case and reconstruct it.

    Parameters
    ----------
    case : Case
        What is scanned: the box of its volume in air.
    n_views : int
        Number of views.
    settings : ScanSettings
        Noise and quality.

    Returns
    -------
    Volume
        HU, on the grid of the case. The noise depends on nothing but the settings.
    """
    source = case.volume if case.scanned is None else case.scanned
    clipped = Volume(np.clip(source.array, *LIMITS_HU), source.grid, "HU")
    noise = SimulationSettings(settings.photons, settings.electronic_noise)
    scan = scan_of(source.grid, n_views)
    projections = simulate(clipped, scan, settings=noise, rng=np.random.default_rng(n_views))
    choice = ReconstructionSettings(method="tv", quality=settings.quality, device="cpu")
    return reconstruct(projections, source.grid, choice).volume.to_hu()


def shown_volume(
    store: CaseStore, source: Source, n_views: int | None, settings: ScanSettings
) -> Volume:
    """Give what the methods are shown, from disk if it is there.

    Parameters
    ----------
    store : CaseStore
        Where it is kept.
    source : Source
        The case.
    n_views : int or None
        Number of views; None for the volume as it is.
    settings : ScanSettings
        Noise and quality.

    Returns
    -------
    Volume
    """
    case = store.case(source)
    if n_views is None:
        return case.volume
    path = _path(store, source, n_views, settings)
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return Volume(kept["array_hu"], case.volume.grid, "HU")
    logger.info("Reconstructing %s from %d views.", case.name, n_views)
    volume = sparse_volume(case, n_views, settings)
    with replacing(path, force=True) as passing:
        np.savez_compressed(passing, array_hu=volume.array)
    return volume


def _path(store: CaseStore, source: Source, n_views: int, settings: ScanSettings) -> Path:
    """Give the file of a reconstruction; another version of the library makes its own."""
    key = f"{store.path_of(source).name} {n_views} {settings} {NASAM3DLib.__version__}"
    return store.folder / f"{file_name(f'{source.name}-{n_views}', key)}.npz"
