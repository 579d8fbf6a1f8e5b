"""From a volume to what the network sees: isotropic voxels along R, A, S, a cube of them, z-scores.

The rules are those under which the public weights are used, so that results can be compared number
by number:

1. The volume, in HU, is resampled to isotropic voxels **in its stored orientation**: linearly, no
   filter against aliasing, 0 outside. Along each axis n voxels of s mm become ``ceil(n s / 1.5)``
   (one voxel stays one) and the outer corner of the first voxel stays where it is.
2. Axes are exchanged and turned round to point nearest to right, anterior, superior. Nothing is
   rotated: an oblique volume stays oblique.
3. A cube of 128^3 is cut out; what lies beyond the volume is 0.
4. Mean and standard deviation (unbiased) over the voxels **above 0**, padding and all, normalise
   every voxel of the cube.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.images import LPS_TO_RAS, image_on, simple_itk
from NASAM3DLib.segment.components import bounding_box
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
        i, j, k = (int(n) for n in np.floor(self.grid.to_ijk(point_ras) + 0.5))
        return i, j, k


@dataclass(frozen=True, eq=False)
class Region:
    """A cube of a canonical volume, as the network sees it.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        z-scores.
    grid : VolumeGrid
        Where the voxels lie.
    """

    array: FloatArray
    grid: VolumeGrid

    @property
    def image_ijk(self) -> FloatArray:
        """The cube in the network's order of axes, shape (1, 1, i, j, k)."""
        return np.ascontiguousarray(self.array.transpose(2, 1, 0))[None, None]

    def voxels_ijk(self, points_ras: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Find the voxels of points, in the network's order of axes.

        Parameters
        ----------
        points_ras : array_like, shape (n, 3)
            Points, mm.

        Returns
        -------
        ndarray, shape (n, 3), float64
            Whole indices (i, j, k), which may lie outside the cube.
        """
        return np.asarray(np.floor(self.grid.to_ijk(points_ras) + 0.5))

    def holds(self, points_ras: npt.ArrayLike) -> BoolArray:
        """Tell which points lie in the cube.

        Parameters
        ----------
        points_ras : array_like, shape (n, 3)
            Points, mm.

        Returns
        -------
        ndarray, shape (n,), bool
        """
        voxels = self.voxels_ijk(points_ras)
        return np.asarray(((voxels >= 0) & (voxels < self.grid.shape_kji[::-1])).all(axis=-1))


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
    moved, grid = _isotropic(mask.array.astype(np.uint8), mask.grid, spacing_mm, nearest=True)
    array, grid = to_nearest_ras(moved, grid)
    return Mask(np.ascontiguousarray(array > 0), grid)


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


def begin_around_voxel(voxel_ijk: Triple, size: int) -> Triple:
    """Place a cube so that a voxel comes to lie in its middle.

    Parameters
    ----------
    voxel_ijk : tuple of int
        Clicked voxel of the canonical volume, (i, j, k).
    size : int
        Voxels along each edge of the cube.

    Returns
    -------
    tuple of int
        First voxel of the cube, (i, j, k): the click has the index ``size // 2`` in it.
    """
    i, j, k = (n - size // 2 for n in voxel_ijk)
    return i, j, k


def begin_around_mask(mask: Mask, size: int) -> Triple:
    """Place a cube around an object, or in the middle of the volume if there is none.

    Parameters
    ----------
    mask : Mask
        Mask of :func:`canonical_mask`.
    size : int
        Voxels along each edge of the cube.

    Returns
    -------
    tuple of int
        First voxel of the cube, (i, j, k).
    """
    if mask.array.any():
        lower, upper = bounding_box(mask.array)
        centre = (lower + upper + 1) // 2
        k, j, i = (int(n) - size // 2 for n in centre)
        return i, j, k
    differences = [n - size for n in mask.grid.shape_kji[::-1]]
    # Of an odd difference the larger part goes to the beginning, cropped or padded.
    i, j, k = (-(-d // 2) if d > 0 else d // 2 for d in differences)
    return i, j, k


def cut_region(volume: CanonicalVolume, begin_ijk: Triple, size: int) -> Region:
    """Cut a cube out of a volume and normalise it.

    Parameters
    ----------
    volume : CanonicalVolume
        The volume.
    begin_ijk : tuple of int
        First voxel of the cube; may lie outside the volume.
    size : int
        Voxels along each edge.

    Returns
    -------
    Region

    Raises
    ------
    ValueError
        If fewer than two different values above 0 HU lie in it: nothing to normalise by.
    """
    cube = cut_cube(volume.array_hu, begin_ijk, size)
    affine = np.array(volume.grid.ijk_to_ras)
    affine[:3, 3] = volume.grid.to_ras(begin_ijk)
    return Region(z_scores(cube), VolumeGrid((size,) * 3, affine))


def cut_cube(array_kji: npt.NDArray[Any], begin_ijk: Triple, size: int) -> npt.NDArray[Any]:
    """Cut a cube out of an array, with zeros beyond it.

    Parameters
    ----------
    array_kji : ndarray, shape (k, j, i)
        Voxels.
    begin_ijk : tuple of int
        First voxel of the cube, (i, j, k); may be negative.
    size : int
        Voxels along each edge.

    Returns
    -------
    ndarray, shape (size, size, size)
    """
    cube = np.zeros((size,) * 3, dtype=array_kji.dtype)
    begin = np.array(begin_ijk[::-1])
    low = np.clip(begin, 0, array_kji.shape)
    high = np.clip(begin + size, low, array_kji.shape)
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    place = tuple(slice(a, b) for a, b in zip(low - begin, high - begin, strict=True))
    if all(a < b for a, b in zip(low, high, strict=True)):
        cube[place] = array_kji[inside]
    return cube


def z_scores(cube_hu: FloatArray) -> FloatArray:
    """Normalise a cube by its voxels above 0 HU.

    Parameters
    ----------
    cube_hu : ndarray, shape (k, j, i), float32
        Voxels, HU, zeros beyond the volume.

    Returns
    -------
    ndarray, same shape, float32
        ``(x - mean) / std`` of the voxels above 0, the variance divided by their number less one.

    Raises
    ------
    ValueError
        If fewer than two different values are above 0 HU.
    """
    above = cube_hu[cube_hu > 0].astype(np.float64)
    spread = float(above.std(ddof=1)) if above.size > 1 else 0.0
    if not spread > 0:
        raise ValueError(
            f"SAM-Med3D normalises a region by its voxels above 0 HU, and here {above.size} voxels "
            "are above, all alike: check the unit of the volume, move the point into soft tissue, "
            "or use the density-guided engine."
        )
    return np.asarray((cube_hu - np.float32(above.mean())) / np.float32(spread), dtype=np.float32)


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
    return moved, replace(grid, shape_kji=(k, j, i), ijk_to_ras=LPS_TO_RAS @ affine)
