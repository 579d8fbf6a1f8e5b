"""What a radiologist writes down about a segment: volume, grey levels, diameter and surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, spatial

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.mask import Mask

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SMOOTHING_VOXELS = 1.0
"""Width of the Gaussian that takes the stairs from the surface; its bias is in the tests."""

WINDOW_VOXELS = 1.5
"""Width of the Gaussian window in which both sides of the boundary are compared."""

SURE_CONTRAST = 2.0
"""Contrast across a boundary, in standard deviations of the reconstruction, that makes it sure."""


@dataclass(frozen=True)
class SegmentFigures:
    """Figures of one segment; those that need a voxel are None for an empty one.

    Parameters
    ----------
    n_voxels : int
        Number of voxels.
    volume_ml : float
        Volume, ml.
    mean, spread : float or None
        Mean and standard deviation of the values inside, in the unit of the volume.
    longest_diameter_mm : float or None
        Largest distance between two points of the surface, mm.
    surface_cm2 : float or None
        Area of the surface, cm^2.
    unsure_part : float or None
        Part of the boundary that the uncertainty of the reconstruction leaves open, 0 to 1; None
        without a map of uncertainty.
    """

    n_voxels: int
    volume_ml: float
    mean: float | None = None
    spread: float | None = None
    longest_diameter_mm: float | None = None
    surface_cm2: float | None = None
    unsure_part: float | None = None


def measure(mask: Mask, volume: Volume) -> SegmentFigures:
    """Measure a segment.

    Parameters
    ----------
    mask : Mask
        The segment.
    volume : Volume
        What it was drawn on; of the same shape.

    Returns
    -------
    SegmentFigures

    Raises
    ------
    ValueError
        If mask and volume have different shapes.
    """
    if mask.array.shape != volume.array.shape:
        raise ValueError(
            f"A mask of shape {mask.array.shape} does not fit a volume of shape "
            f"{volume.array.shape}: measure a segment on the volume it was drawn on."
        )
    if not mask.n_voxels:
        return SegmentFigures(0, 0.0)
    box = _box(mask.array, margin=4)
    inside, values = mask.array[box], volume.array[box]
    return SegmentFigures(
        n_voxels=mask.n_voxels,
        volume_ml=mask.volume_ml,
        mean=float(values[inside].mean(dtype=np.float64)),
        spread=float(values[inside].std(dtype=np.float64)),
        longest_diameter_mm=longest_diameter_mm(mask),
        surface_cm2=surface_mm2(mask) / 100.0,
        unsure_part=unsure_part(mask, volume),
    )


def longest_diameter_mm(mask: Mask) -> float:
    """Find the largest distance between two points of the surface.

    Parameters
    ----------
    mask : Mask
        At least one voxel.

    Returns
    -------
    float
        Distance, mm.

    Notes
    -----
    The points are the centres of the faces between voxels inside and outside; only corners of
    their convex hull can be the ends of the longest distance.
    """
    box = _box(mask.array, margin=0)
    inside = np.pad(mask.array[box], 1)
    faces = []
    for axis in range(3):
        at = np.argwhere(np.diff(inside.astype(np.int8), axis=axis)).astype(np.float64)
        at[:, axis] += 0.5
        faces.append(at)
    kji = np.concatenate(faces) - 1.0 + [part.start for part in box]
    points_mm = mask.grid.to_ras(kji[:, ::-1])
    corners = points_mm[spatial.ConvexHull(points_mm).vertices]
    return float(spatial.distance.pdist(corners).max())


def surface_mm2(mask: Mask) -> float:
    """Estimate the area of the surface.

    Parameters
    ----------
    mask : Mask
        At least one voxel.

    Returns
    -------
    float
        Area, mm^2.

    Notes
    -----
    By the coarea formula the integral of ``|grad (G * m)|`` over space is the mean area of the
    level sets of the mask m smoothed by the Gaussian G, which have no stairs (Federer 1959).
    """
    box = _box(mask.array, margin=0)
    margin = int(np.ceil(4 * SMOOTHING_VOXELS)) + 1
    smooth = ndimage.gaussian_filter(
        np.pad(mask.array[box], margin).astype(np.float64), SMOOTHING_VOXELS
    )
    by_ijk = np.stack(np.gradient(smooth)[::-1], axis=-1)
    by_ras = by_ijk @ np.linalg.inv(mask.grid.ijk_to_ras[:3, :3])
    return float(np.linalg.norm(by_ras, axis=-1).sum() * mask.grid.voxel_volume_mm3)


def unsure_part(mask: Mask, volume: Volume) -> float | None:
    """Tell which part of the boundary lies where the reconstruction is not sure of it.

    Parameters
    ----------
    mask : Mask
        At least one voxel.
    volume : Volume
        What it was drawn on.

    Returns
    -------
    float or None
        Part of the voxels at the boundary, 0 to 1; None if the volume has no map of uncertainty.

    Notes
    -----
    A voxel at the boundary is sure if the local means inside and outside, in a Gaussian window,
    differ by at least twice the local standard deviation of the reconstruction.
    """
    if volume.uncertainty is None:
        return None
    box = _box(mask.array, margin=4)
    inside = mask.array[box]
    values = volume.array[box].astype(np.float64)
    contrast = np.abs(_local_mean(values, inside) - _local_mean(values, ~inside))
    sigma = ndimage.gaussian_filter(volume.uncertainty[box].astype(np.float64), WINDOW_VOXELS)
    boundary = inside & ~ndimage.binary_erosion(inside, border_value=1)
    if not boundary.any():
        return 0.0
    return float(np.mean(contrast[boundary] < SURE_CONTRAST * sigma[boundary]))


def _local_mean(values: FloatArray, where: BoolArray) -> FloatArray:
    """Give the mean of the marked voxels in a Gaussian window around every voxel."""
    offset = float(values[where].mean()) if where.any() else 0.0
    weight = ndimage.gaussian_filter(where.astype(np.float64), WINDOW_VOXELS) + 1e-6
    total = ndimage.gaussian_filter(np.where(where, values - offset, 0.0), WINDOW_VOXELS)
    return np.asarray(total / weight + offset)


def _box(array: BoolArray, *, margin: int) -> tuple[slice, slice, slice]:
    """Give the box around all marked voxels with a margin, within the array."""
    lower, upper = bounding_box(array)
    k, j, i = (
        slice(max(int(first) - margin, 0), min(int(last) + 1 + margin, n))
        for first, last, n in zip(lower, upper, array.shape, strict=True)
    )
    return k, j, i
