"""The scans that the benchmark reconstructs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from NASAM3DLib.evaluate.resample import resample_mask
from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import load_mask

ROOT = Path(__file__).resolve().parents[2]
N_VOXELS = 128
VIEWS_PER_HELD_OUT = 5
CT_LIMITS_HU = (-1000.0, 2000.0)
ELECTRONIC_NOISE = 10.0


@dataclass(frozen=True)
class Case:
    """A body with known truth and its simulated scan."""

    name: str
    truth: Volume
    projection_set: ProjectionSet
    targets: dict[str, Mask] = field(default_factory=dict)
    held_out: ProjectionSet | None = None


def data_folder() -> Path | None:
    """Find the real scans, or None."""
    named = os.environ.get("NASAM3D_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def scan_of(grid: VolumeGrid, arc_deg: float, n_views: int = 50) -> ConeBeamGeometry:
    """Make the scan: 256 x 256 pixels that cover the cube with the magnification 1.5."""
    pixel = float(grid.spacing_mm[0]) * N_VOXELS / 246.0 * 2.0
    x, y, z = (float(c) for c in grid.centre_ras)
    scale = float(grid.spacing_mm[0]) * N_VOXELS / 246.0
    orbit = CircularOrbit(
        np.arange(n_views) * np.deg2rad(arc_deg) / n_views,
        (pixel, pixel),
        1000.0 * scale,
        1500.0 * scale,
        isocenter_ras=(x, y, z),
    )
    return ConeBeamGeometry.circular(orbit, (256, 256))


def abdomen_case(
    data: Path, *, arc_deg: float = 360.0, photons: float | None = None, n_views: int = 50
) -> Case:
    """Scan the abdomen CT, interpolated to 256 voxels along each side of a cube."""
    from scipy import ndimage

    folder = data / "totalseg-example"
    ct = load_volume(folder / "example_ct.nii.gz")
    side_mm = float((np.array(ct.grid.shape_kji[::-1]) * ct.grid.spacing_mm).max())
    x, y, z = (float(c) for c in ct.grid.centre_ras)
    fine_grid = VolumeGrid.centred(
        (2 * N_VOXELS,) * 3, side_mm / (2 * N_VOXELS), centre_ras=(x, y, z)
    )
    to_ct = ct.grid.ras_to_ijk @ fine_grid.ijk_to_ras
    clipped = np.clip(ct.array, *CT_LIMITS_HU)
    # Index order (k, j, i) on both sides: the affine is flipped along both axes.
    fine_hu = ndimage.affine_transform(
        clipped,
        to_ct[:3, :3][::-1, ::-1],
        to_ct[:3, 3][::-1],
        output_shape=fine_grid.shape_kji,
        order=3,
        mode="constant",
        cval=CT_LIMITS_HU[0],
    )
    fine = Volume(np.clip(fine_hu, *CT_LIMITS_HU), fine_grid, "HU").to_attenuation()
    grid = fine_grid.resampled((N_VOXELS,) * 3)
    targets = {
        name: resample_mask(load_mask(folder / "example_seg" / f"{name}.nii.gz"), grid)
        for name in ("liver", "spleen", "kidney_right")
    }
    name = f"abdomen CT, {arc_deg:.0f} degrees, {_noise_name(photons)}"
    return _scanned(name, fine, grid, scan_of(grid, arc_deg, n_views), photons, targets)


def phantom_case(seed: int = 0, *, arc_deg: float = 360.0, photons: float | None = None) -> Case:
    """Scan a generated pelvis."""
    grid = phantom_grid(N_VOXELS)
    fine = make_phantom(seed, grid.refined(2)).volume
    phantom = make_phantom(seed, grid)
    targets = {"rectal lesion": Mask(phantom.mask_of("rectal_lesion"), grid)}
    name = f"generated pelvis, {arc_deg:.0f} degrees, {_noise_name(photons)}"
    return _scanned(name, fine, grid, scan_of(grid, arc_deg), photons, targets)


def with_relative_noise(case: Case, photons: float, *, seed: int = 0) -> Case:
    """Add Poisson noise, as TIGRE does, to line integrals divided by the largest of them.

    So a photon number means as much for any body: the darkest ray keeps a share of exp(-1).
    Electronic noise has a standard deviation of ten photons.
    """
    rng = np.random.default_rng(seed)
    clean = case.projection_set.projections
    largest = float(clean.max())
    expected = photons * np.exp(-clean / largest)
    counts = rng.poisson(expected) + rng.normal(0, ELECTRONIC_NOISE, clean.shape)
    integrals = np.maximum(-np.log(np.maximum(counts, 1) / photons) * largest, 0)
    noisy = ProjectionSet(integrals.astype(np.float32), case.projection_set.geometry)
    name = case.name.replace("clean", _noise_name(photons))
    return replace(case, name=name, projection_set=noisy)


def _noise_name(photons: float | None) -> str:
    return "clean" if photons is None else f"{photons:.0e} photons"


def _scanned(
    name: str,
    fine: Volume,
    grid: VolumeGrid,
    scan: ConeBeamGeometry,
    photons: float | None,
    targets: dict[str, Mask],
) -> Case:
    """Average the fine volume to the truth and simulate its scan."""
    k, j, i = grid.shape_kji
    coarse = fine.array.reshape(k, 2, j, 2, i, 2).mean(axis=(1, 3, 5))
    settings = SimulationSettings(
        photons=photons,
        electronic_noise=0.0 if photons is None else 10.0,
        reconstruction_spacing_mm=float(grid.spacing_mm[0]),
        average="intensity" if photons else "line_integrals",
    )
    projection_set = simulate(fine, scan, settings=settings, rng=np.random.default_rng(0))
    clean = replace(settings, photons=None, electronic_noise=0.0, average="line_integrals")
    held_out = simulate(fine, _between(scan), settings=clean)
    return Case(name, Volume(coarse, grid), projection_set, targets, held_out)


def _between(scan: ConeBeamGeometry) -> ConeBeamGeometry:
    """Make views halfway between those of a scan, one for every five."""
    orbit = scan.orbit
    if orbit is None:
        raise ValueError("Views between others need a circular orbit, got poses.")
    angles = orbit.angles_rad
    halfway = ((angles[:-1] + angles[1:]) / 2)[::VIEWS_PER_HELD_OUT]
    return ConeBeamGeometry.circular(replace(orbit, angles_rad=halfway), scan.detector_shape)
