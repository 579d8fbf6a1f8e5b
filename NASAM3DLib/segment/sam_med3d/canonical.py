"""A volume in isotropic voxels along R, A, S, as the network wants it.

The rules are those under which the public weights are used, so that results can be compared number
by number:

1. The volume, in HU, is resampled to isotropic voxels **in its stored orientation**: linearly, no
   filter against aliasing, 0 outside. Along each axis n voxels of s mm become ``ceil(n s / 1.5)``
   (one voxel stays one) and the outer corner of the first voxel stays where it is.
2. Axes are exchanged and turned round to point nearest to right, anterior, superior. Nothing is
   rotated: an oblique volume stays oblique.

What follows, the cube that the network sees, is in
:mod:`~NASAM3DLib.segment.sam_med3d.region_cut`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.images import LPS_TO_RAS, image_on, simple_itk
from NASAM3DLib.segment.mask import Mask

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Triple = tuple[int, int, int]

SPACING_MM = 1.5
"""Edge of the voxels that the public weights were trained on, mm."""

_COUNT_TOLERANCE = 1e-6
"""Part of a voxel by which rounding may lift a count that is whole."""


@dataclass(frozen=True, eq=False)
class CanonicalVolume:
    """A volume in isotropic voxels whose axes i, j, k point nearest to R, A, S.

    Parameters
    ----------
    array_hu : ndarray, shape (k, j, i), float32
        Voxels, HU.
    grid : VolumeGrid
        Where they lie.
    """

    array_hu: FloatArray
    grid: VolumeGrid

    def voxel_at(self, point_ras: npt.ArrayLike) -> Triple:
        """Find the voxel nearest to a point.

        Parameters
        ----------
        point_ras : array_like, shape (3,)
            A point, mm.

        Returns
        -------
        tuple of int
            Index (i, j, k).
        """
        i, j, k = (int(n) for n in voxels_in(self.grid, point_ras))
        return i, j, k

    def coarsened(self, factor: int) -> CanonicalVolume:
        """Average cubes of voxels.

        Parameters
        ----------
        factor : int
            Voxels along each edge of a cube.

        Returns
        -------
        CanonicalVolume
            The last cubes are filled up with the volume's border.
        """
        counts = [-(-n // factor) for n in self.array_hu.shape]
        fill = [(0, m * factor - n) for m, n in zip(counts, self.array_hu.shape, strict=True)]
        k, j, i = counts
        cubes = np.pad(self.array_hu, fill, mode="edge")
        means = cubes.reshape(k, factor, j, factor, i, factor).mean(axis=(1, 3, 5))
        affine = np.array(self.grid.ijk_to_ras)
        affine[:3, 3] = self.grid.to_ras(np.full(3, (factor - 1) / 2))
        affine[:3, :3] *= factor
        return CanonicalVolume(means, VolumeGrid((k, j, i), affine))


def canonical_volume(
    volume: Volume, *, spacing_mm: float = SPACING_MM, whole_numbers: bool | None = None
) -> CanonicalVolume:
    """Bring a volume to isotropic voxels along R, A, S.

    Parameters
    ----------
    volume : Volume
        In 1/mm or HU; attenuation is converted first.
    spacing_mm : float
        Edge of the new voxels, mm.
    whole_numbers : bool, optional
        Whether interpolated values are cut to whole numbers, towards zero, as happens to images
        stored as integers. By default where every value of the volume in HU is whole.

    Returns
    -------
    CanonicalVolume

    Raises
    ------
    ValueError
        If the spacing is not positive, or the volume's axes are not at right angles.
    """
    hu = volume.to_hu()
    if whole_numbers is None:
        whole_numbers = bool((np.rint(hu.array) == hu.array).all())
    array = hu.array.astype(np.int32) if whole_numbers else hu.array
    moved, grid = _isotropic(array, hu.grid, spacing_mm, nearest=False)
    array_kji, grid = to_nearest_ras(moved, grid)
    return CanonicalVolume(np.ascontiguousarray(array_kji, dtype=np.float32), grid)


def canonical_mask(mask: Mask, *, spacing_mm: float = SPACING_MM) -> Mask:
    """Bring a mask to the voxels of :func:`canonical_volume`, by nearest neighbour.

    Parameters
    ----------
    mask : Mask
        On the volume's grid.
    spacing_mm : float
        Edge of the new voxels, mm.

    Returns
    -------
    Mask
    """
    labels, grid = canonical_labels(mask.array.astype(np.uint8), mask.grid, spacing_mm=spacing_mm)
    return Mask(labels > 0, grid)


def canonical_labels(
    labels: npt.NDArray[np.uint8], grid: VolumeGrid, *, spacing_mm: float = SPACING_MM
) -> tuple[npt.NDArray[np.uint8], VolumeGrid]:
    """Bring a label map to the voxels of :func:`canonical_volume`, by nearest neighbour.

    Parameters
    ----------
    labels : ndarray, shape (k, j, i), uint8
        Labels on the volume's grid; 0 is nothing.
    grid : VolumeGrid
        Where they lie.
    spacing_mm : float
        Edge of the new voxels, mm.

    Returns
    -------
    labels : ndarray, shape (k', j', i'), uint8
    grid : VolumeGrid
    """
    moved, isotropic = _isotropic(labels, grid, spacing_mm, nearest=True)
    array, canonical = to_nearest_ras(moved, isotropic)
    return np.ascontiguousarray(array, dtype=np.uint8), canonical


def to_nearest_ras(
    array: npt.NDArray[Any], grid: VolumeGrid
) -> tuple[npt.NDArray[Any], VolumeGrid]:
    """Exchange and turn axes so that i, j, k point nearest to R, A, S.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
        Voxels.
    grid : VolumeGrid
        Where they lie.

    Returns
    -------
    array : ndarray, shape (k', j', i')
        A view of the voxels.
    grid : VolumeGrid
        Where they lie: the same places.

    Notes
    -----
    The directions are replaced by the nearest rotation (polar decomposition). Then i, j, k choose
    in this order the free patient axis along which they are longest.
    """
    left, _, right = np.linalg.svd(grid.ijk_to_ras[:3, :3] / grid.spacing_mm)
    directions = left @ right
    source, flips = [0, 0, 0], [False, False, False]
    for axis in range(3):
        target = int(np.argmax(np.abs(directions[:, axis])))
        source[target], flips[target] = axis, bool(directions[target, axis] < 0)
        directions[target] = 0
    affine = np.array(grid.ijk_to_ras)
    for target, axis in enumerate(source):
        affine[:3, target] = grid.ijk_to_ras[:3, axis]
    # Array axes run k, j, i: the axis a of the index is the axis 2 - a of the array.
    moved = array.transpose([2 - source[2 - place] for place in range(3)])
    for target in range(3):
        if flips[target]:
            affine[:3, 3] += affine[:3, target] * (moved.shape[2 - target] - 1)
            affine[:3, target] *= -1
            moved = np.flip(moved, 2 - target)
    k, j, i = moved.shape
    return moved, VolumeGrid((k, j, i), affine)


def voxels_in(grid: VolumeGrid, points_ras: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Find the voxels of points in a region, in the network's order of axes.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the region.
    points_ras : array_like, shape (n, 3)
        Points, mm.

    Returns
    -------
    ndarray, shape (n, 3), float64
        Whole indices (i, j, k), which may lie outside the region.
    """
    return np.asarray(np.floor(grid.to_ijk(points_ras) + 0.5))


def held_by(grid: VolumeGrid, points_ras: npt.ArrayLike) -> BoolArray:
    """Tell which points a region holds.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the region.
    points_ras : array_like, shape (n, 3)
        Points, mm.

    Returns
    -------
    ndarray, shape (n,), bool
    """
    voxels = voxels_in(grid, points_ras)
    return np.asarray(((voxels >= 0) & (voxels < grid.shape_kji[::-1])).all(axis=-1))


def _isotropic(
    array: npt.NDArray[Any], grid: VolumeGrid, spacing_mm: float, *, nearest: bool
) -> tuple[npt.NDArray[Any], VolumeGrid]:
    """Resample in the stored orientation, with zeros outside."""
    if not (np.isfinite(spacing_mm) and spacing_mm > 0):
        raise ValueError(f"The voxel spacing must be positive, in mm, got {spacing_mm}.")
    sitk = simple_itk()
    image = image_on(array, grid)
    old = np.array(image.GetSpacing())
    n_old = np.array(image.GetSize())
    n_new = np.ceil(n_old * old / spacing_mm - _COUNT_TOLERANCE).astype(int)
    n_new[n_old == 1] = 1
    origin = image.TransformContinuousIndexToPhysicalPoint((0.5 * (spacing_mm / old - 1)).tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetSize(n_new.tolist())
    resampler.SetOutputSpacing((spacing_mm,) * 3)
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetOutputOrigin(origin)
    resampler.SetDefaultPixelValue(0)
    moved = sitk.GetArrayFromImage(resampler.Execute(image))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * spacing_mm
    affine[:3, 3] = origin
    k, j, i = moved.shape
    return moved, VolumeGrid((k, j, i), LPS_TO_RAS @ affine)
