"""From a region back to the volume's own voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.images import image_on, simple_itk
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.region_box import lattice_grid, to_triple

FloatArray = npt.NDArray[np.float32]

OUTSIDE_LOGIT = -20.0
"""Where the network saw nothing: as good as certain background."""


def paste_mask(mask: Mask, grid: VolumeGrid) -> Mask:
    """Bring the mask of a region to a volume's grid by nearest neighbour, as the reference does.

    Parameters
    ----------
    mask : Mask
        On a region's grid.
    grid : VolumeGrid
        Grid of the volume.

    Returns
    -------
    Mask
        On the volume's grid; nothing outside the region.
    """
    values = _sampled(mask.array.astype(np.uint8), (mask.grid, grid), outside=0, nearest=True)
    return Mask(values > 0, grid)


def paste_logits(
    logits: FloatArray, region: VolumeGrid, grid: VolumeGrid, *, outside: float = OUTSIDE_LOGIT
) -> Patch:
    """Bring logits of a region to a volume's voxels by linear interpolation.

    Parameters
    ----------
    logits : ndarray, shape (k, j, i), float32
        Logits on the region's grid.
    region, grid : VolumeGrid
        Grids of the region and of the volume.
    outside : float
        Logit of voxels of the patch that lie outside the region.

    Returns
    -------
    Patch
        On the part of the volume's voxels that the region covers.

    Raises
    ------
    ValueError
        If the region and the volume have no voxel in common.
    """
    lower, upper = covered_box(region, grid)
    part = lattice_grid(grid, lower, upper - lower)
    values = _sampled(logits, (region, part), outside=outside, nearest=False)
    return Patch(values.astype(np.float32, copy=False), lower)


def covered_box(
    region: VolumeGrid, grid: VolumeGrid
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Find the box of a volume's voxels that a region may cover.

    Parameters
    ----------
    region, grid : VolumeGrid
        Grids of the region and of the volume.

    Returns
    -------
    lower, upper : ndarray, shape (3,), intp
        First voxel (k, j, i) of the box, and the one after its last.

    Raises
    ------
    ValueError
        If they have no voxel in common.
    """
    corners = grid.to_ijk(region.corners_ras)[:, ::-1]
    lower = np.maximum(np.floor(corners.min(axis=0)), 0).astype(np.intp)
    upper = np.minimum(np.ceil(corners.max(axis=0)) + 1, grid.shape_kji).astype(np.intp)
    if (upper <= lower).any():
        raise ValueError(f"The region ({region}) lies outside the volume ({grid}).")
    return lower, upper


def sample_on(
    values: FloatArray, source: VolumeGrid, target: VolumeGrid, *, outside: float
) -> FloatArray:
    """Interpolate values of one grid linearly on another.

    Parameters
    ----------
    values : ndarray, shape (k, j, i), float32
        Values on the first grid.
    source, target : VolumeGrid
        Both grids.
    outside : float
        Value beyond the outer faces of the first grid.

    Returns
    -------
    ndarray, shape of the second grid, float32
    """
    result = _sampled(values, (source, target), outside=outside, nearest=False)
    return result.astype(np.float32, copy=False)


def _sampled(
    values: npt.NDArray[Any],
    grids: tuple[VolumeGrid, VolumeGrid],
    *,
    outside: float,
    nearest: bool,
) -> npt.NDArray[Any]:
    """Resample values of the first grid on the second."""
    sitk = simple_itk()
    source, target = grids
    # The target's pixels are never read: one byte each is enough to say where they are.
    reference = image_on(np.zeros(to_triple(np.array(target.shape_kji)), dtype=np.uint8), target)
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(reference)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image_on(values, source))))
