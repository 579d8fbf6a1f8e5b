"""Real bodies at several poses and fields of view, and their scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cases import CT_LIMITS_HU, Case

from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION, Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]

SIDE_MM, DETECTOR_MM = 246.0, 512.0
SOURCE_TO_ISOCENTRE_MM, SOURCE_TO_DETECTOR_MM = 1000.0, 1500.0
N_VIEWS, N_HELD_OUT = 50, 10
PEAK = (CT_LIMITS_HU[1] - CT_LIMITS_HU[0]) / 1000 * (WATER_ATTENUATION - AIR_ATTENUATION)
"""3000 HU in 1/mm."""


@dataclass(frozen=True)
class Body:
    """A CT, how it is turned, and the side of the cube relative to the CT's longest side."""

    file: str
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    field_of_view: float = 1.0


BODIES = {
    "abdomen": Body("totalseg-example/example_ct.nii.gz"),
    "chest": Body("cip-lung64/ct-64.nrrd"),
    "head": Body("openkbp-200/ct.nii.gz", field_of_view=0.75),
    "limb 1": Body("sts-005/CT_image.nii.gz"),
    "limb 2": Body("sts-022/CT_image.nii.gz"),
    "abdomen, turned": Body("totalseg-example/example_ct.nii.gz", (12, -8, 30), 1.1),
    "chest, turned": Body("cip-lung64/ct-64.nrrd", (8, 8, 50), 1.15),
    "head, turned": Body("openkbp-200/ct.nii.gz", (-10, 15, 40), 0.8),
    "limb 2, turned": Body("sts-022/CT_image.nii.gz", (20, 10, -25), 1.1),
}


def fine_hu(data: Path, name: str, n_voxels: int) -> Float32Array:
    """Resample a body to a cube of voxels, HU; outside the CT is air."""
    import SimpleITK as sitk  # noqa: N813

    body = BODIES[name]
    # Axes towards right, front and head, as those of the cube in RAS.
    image = sitk.DICOMOrient(sitk.ReadImage(str(data / body.file), sitk.sitkFloat32), "RAS")
    low, high = CT_LIMITS_HU
    image = sitk.Clamp(image, sitk.sitkFloat32, low, high)
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    voxel_mm = float((size * spacing).max()) * body.field_of_view / n_voxels
    centre = np.array(image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    cube = sitk.Image([n_voxels] * 3, sitk.sitkFloat32)
    cube.SetSpacing([voxel_mm] * 3)
    cube.SetDirection(image.GetDirection())
    half_mm = np.full(3, (n_voxels - 1) / 2 * voxel_mm)
    cube.SetOrigin((centre - direction @ half_mm).tolist())
    turn = sitk.Euler3DTransform(centre.tolist(), *np.deg2rad(body.angles_deg).tolist())
    sampled = sitk.GetArrayFromImage(sitk.Resample(image, cube, turn, sitk.sitkLinear, low))
    return np.asarray(np.clip(sampled, low, high), dtype=np.float32)


def body_case(data: Path, name: str, n_voxels: int, arc_deg: float) -> Case:
    """Scan a body, scaled to a cube of 246 mm, without noise.

    The scan is made of a volume with voxels half as large, and every pixel averages the line
    integrals of 2 x 2 rays. The views that the reconstruction does not get lie between the others.
    """
    fine = (fine_hu(data, name, 2 * n_voxels) - CT_LIMITS_HU[0]) * np.float32(PEAK / 3000)
    grid = VolumeGrid.centred((n_voxels,) * 3, SIDE_MM / n_voxels)
    fine_grid = grid.refined(2)
    step = np.deg2rad(arc_deg) / N_VIEWS
    between = (np.arange(N_HELD_OUT) * (N_VIEWS // N_HELD_OUT) + 0.5) * step
    truth = Volume(fine.reshape((n_voxels, 2) * 3).mean(axis=(1, 3, 5)), grid)
    return Case(
        f"{name}, {arc_deg:.0f} degrees, clean",
        truth,
        _views(fine, fine_grid, np.arange(N_VIEWS) * step),
        held_out=_views(fine, fine_grid, between),
    )


def _views(fine: Float32Array, grid: VolumeGrid, angles_rad: npt.ArrayLike) -> ProjectionSet:
    """Project the fine volume with as many pixels and average them."""
    geometries = []
    for n_pixels in (2 * grid.shape_kji[0], grid.shape_kji[0]):
        orbit = CircularOrbit(
            np.asarray(angles_rad),
            (DETECTOR_MM / n_pixels,) * 2,
            SOURCE_TO_ISOCENTRE_MM,
            SOURCE_TO_DETECTOR_MM,
        )
        geometries.append(ConeBeamGeometry.circular(orbit, (n_pixels, n_pixels)))
    rays = forward_project(fine, grid, geometries[0])
    n = grid.shape_kji[0]
    pixels = rays.reshape(len(rays), n, 2, n, 2).mean(axis=(2, 4), dtype=np.float32)
    return ProjectionSet(pixels, geometries[1])
