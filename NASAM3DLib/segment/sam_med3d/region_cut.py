"""The cube that the network sees: cut out of a canonical volume and normalised.

1. A cube of 128^3 voxels is cut out; what lies beyond the volume is 0.
2. Mean and standard deviation (unbiased) over the voxels **above 0 HU** of the cube normalise every
   voxel of it, padding included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.sam_med3d.canonical import CanonicalVolume, FloatArray, Triple


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
