"""Volumes and masks brought onto another grid, so that they can be compared voxel by voxel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask

FloatArray = npt.NDArray[np.float64]

AIR_HU = -1000.0


def resample_volume(volume: Volume, grid: VolumeGrid) -> Volume:
    """Sample a volume on another grid.

    Parameters
    ----------
    volume : Volume
        Volume to sample.
    grid : VolumeGrid
        Where to sample it.

    Returns
    -------
    Volume
        In the same quantity, without uncertainty. Air outside the given volume.

    Notes
    -----
    Trilinear interpolation. Where the new voxels are larger, each one is the mean of several
    samples spread over it, so that halving the resolution of an aligned grid gives exactly
    the mean of the eight voxels in each new one.
    """
    if volume.grid.same_as(grid):
        return replace(volume, uncertainty=None)
    outside = AIR_HU if volume.quantity == "HU" else 0.0
    array = _sampled(volume.array, (volume.grid, grid), outside=outside)
    return Volume(array.astype(np.float32), grid, volume.quantity)


def resample_mask(mask: Mask, grid: VolumeGrid) -> Mask:
    """Bring a mask onto another grid.

    Parameters
    ----------
    mask : Mask
        Mask to sample.
    grid : VolumeGrid
        Where to sample it.

    Returns
    -------
    Mask
        True where at least half of the new voxel is covered.
    """
    if mask.grid.same_as(grid):
        return mask
    covered = _sampled(mask.array.astype(np.float32), (mask.grid, grid), outside=0.0)
    return Mask(covered >= 0.5, grid)


def sample_at(
    array: npt.NDArray[np.float32], grid: VolumeGrid, points_ras: FloatArray, *, outside: float
) -> FloatArray:
    """Interpolate voxel values at points.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Voxel values.
    grid : VolumeGrid
        Where the voxels lie.
    points_ras : ndarray, shape (..., 3)
        Where to sample, mm.
    outside : float
        Value beyond the outer faces of the grid.

    Returns
    -------
    ndarray, shape (...), float64
        Trilinear interpolation; constant from the outermost voxel centres to the outer faces.
    """
    from scipy.ndimage import map_coordinates

    kji = np.moveaxis(grid.to_ijk(points_ras)[..., ::-1], -1, 0)
    values = map_coordinates(array, kji, order=1, mode="nearest", output=np.float64)
    return np.where(grid.contains(points_ras), values, outside)


def _sampled(
    array: npt.NDArray[np.float32], grids: tuple[VolumeGrid, VolumeGrid], *, outside: float
) -> FloatArray:
    """Average samples of an array on the first grid over each voxel of the second."""
    source, target = grids
    n_samples = np.maximum(np.rint(target.spacing_mm / source.spacing_mm), 1).astype(int)
    total = np.zeros(target.shape_kji)
    offsets_ijk = _offsets_ijk(n_samples)
    n_slices, n_rows, n_columns = target.shape_kji
    rows, columns = np.meshgrid(np.arange(n_rows), np.arange(n_columns), indexing="ij")
    for k in range(n_slices):
        centres_ijk = np.stack([columns, rows, np.full_like(rows, k)], axis=-1)
        for offset in offsets_ijk:
            points = target.to_ras(centres_ijk + offset)
            total[k] += sample_at(array, source, points, outside=outside)
    return total / len(offsets_ijk)


def _offsets_ijk(n_samples: npt.NDArray[np.int_]) -> FloatArray:
    """Spread samples evenly over a voxel, as offsets from its centre in voxels."""
    along = [(np.arange(n) + 0.5) / n - 0.5 for n in n_samples]
    return np.stack([axis.ravel() for axis in np.meshgrid(*along, indexing="ij")], axis=-1)
