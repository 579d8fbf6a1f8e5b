"""What the methods are shown: a volume as it is, and reconstructions from few noisy views."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import NASAM3DLib
from NASAM3DLib.benchmark.case import Case
from NASAM3DLib.benchmark.recipes import Reconstructed
from NASAM3DLib.benchmark.sources import CaseStore, Source, file_name
from NASAM3DLib.evaluate.resample import resample_volume
from NASAM3DLib.files import replacing
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.settings import Quality, ReconstructionSettings
from NASAM3DLib.reconstruct.simulate import SimulationSettings, scanned_means, simulate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.presets import SOURCE_TO_ISOCENTER_MM, default_scan
from NASAM3DLib.scan.projections import ProjectionSet

logger = logging.getLogger(__name__)

FULL = "full"
"""The volume as it is."""

Look = int | Reconstructed | None
"""How a case is seen: by total variation from so many views, by a recipe, or as it is."""

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


@dataclass(frozen=True, eq=False)
class Seen:
    """A volume as methods are shown it.

    Parameters
    ----------
    volume : Volume
        HU, on the grid of the case.
    cpu_s : float
        CPU seconds of its reconstruction; 0 for the volume as it is.
    """

    volume: Volume
    cpu_s: float


def view_name(look: Look) -> str:
    """Name what is shown.

    Parameters
    ----------
    look : int, Reconstructed or None
        Number of views, or a reconstruction by a recipe; None for the volume as it is.

    Returns
    -------
    str
    """
    if look is None:
        return FULL
    return f"{look} views" if isinstance(look, int) else str(look)


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


def scanned_volume(case: Case) -> Volume:
    """Give what scans are made of.

    Parameters
    ----------
    case : Case
        The case.

    Returns
    -------
    Volume
        HU between -1000 and 2000.
    """
    source = case.volume if case.scanned is None else case.scanned
    return Volume(np.clip(source.array, *LIMITS_HU), source.grid, "HU")


def true_volume(case: Case) -> Volume:
    """Give what reconstructions are compared with.

    Parameters
    ----------
    case : Case
        The case.

    Returns
    -------
    Volume
        HU, the mean of the scanned body over each voxel.
    """
    return scanned_means(scanned_volume(case))


def projections_of(case: Case, n_views: int, settings: ScanSettings) -> ProjectionSet:
    """Scan a case.

    Parameters
    ----------
    case : Case
        What is scanned: the box of its volume in air.
    n_views : int
        Number of views.
    settings : ScanSettings
        Noise.

    Returns
    -------
    ProjectionSet
        The noise depends on nothing but the settings and the number of views.
    """
    scanned = scanned_volume(case)
    noise = SimulationSettings(settings.photons, settings.electronic_noise)
    scan = scan_of(scanned.grid, n_views)
    return simulate(scanned, scan, settings=noise, rng=np.random.default_rng(n_views))


def sparse_volume(case: Case, look: int | Reconstructed, settings: ScanSettings) -> Volume:
    """Scan a case and reconstruct it.

    Parameters
    ----------
    case : Case
        What is scanned: the box of its volume in air.
    look : int or Reconstructed
        Number of views, or a recipe with it.
    settings : ScanSettings
        Noise, and the quality where no recipe is given.

    Returns
    -------
    Volume
        HU, on the grid of the case.
    """
    if isinstance(look, int):
        n_views = look
        choice = ReconstructionSettings(method="tv", quality=settings.quality, device="cpu")
    else:
        n_views, choice = look.n_views, look.settings
    projections = projections_of(case, n_views, settings)
    volume = reconstruct(projections, case.volume.grid, choice).volume.to_hu()
    if volume.grid.same_as(case.volume.grid):
        return volume
    return resample_volume(volume, case.volume.grid)


def shown_volume(store: CaseStore, source: Source, look: Look, settings: ScanSettings) -> Volume:
    """Give what the methods are shown, from disk if it is there.

    Parameters
    ----------
    store : CaseStore
        Where it is kept.
    source : Source
        The case.
    look : int, Reconstructed or None
        Number of views, or a recipe; None for the volume as it is.
    settings : ScanSettings
        Noise and quality.

    Returns
    -------
    Volume
    """
    return seen(store, source, look, settings).volume


def seen(store: CaseStore, source: Source, look: Look, settings: ScanSettings) -> Seen:
    """Give what the methods are shown and what it cost, from disk if it is there.

    Parameters
    ----------
    store : CaseStore
        Where it is kept.
    source : Source
        The case.
    look : int, Reconstructed or None
        Number of views, or a recipe; None for the volume as it is.
    settings : ScanSettings
        Noise and quality.

    Returns
    -------
    Seen
    """
    case = store.case(source)
    if look is None:
        return Seen(case.volume, 0.0)
    path = _path(store, source, look, settings)
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            uncertainty = kept.get("uncertainty_hu")
            volume = Volume(kept["array_hu"], case.volume.grid, "HU", uncertainty)
            return Seen(volume, float(kept["cpu_s"]) if "cpu_s" in kept else float("nan"))
    logger.info("Reconstructing %s: %s.", case.name, view_name(look))
    started = time.process_time()
    volume = sparse_volume(case, look, settings)
    cpu_s = time.process_time() - started
    arrays = {"array_hu": volume.array, "cpu_s": np.array(cpu_s)}
    if volume.uncertainty is not None:
        arrays["uncertainty_hu"] = volume.uncertainty
    with replacing(path, force=True) as passing:
        np.savez_compressed(passing, **arrays)  # type: ignore[arg-type]
    return Seen(volume, cpu_s)


def _path(
    store: CaseStore, source: Source, look: int | Reconstructed, settings: ScanSettings
) -> Path:
    """Give the file of a reconstruction; another version of the library makes its own."""
    sort = look if isinstance(look, int) else repr(look)
    key = f"{store.path_of(source).name} {sort} {settings} {NASAM3DLib.__version__}"
    name = look if isinstance(look, int) else f"{look.recipe}-{look.n_views}"
    return store.folder / f"{file_name(f'{source.name}-{name}', key)}.npz"
