"""Where an engine works: the box around the clicks and the size of its voxels.

Rules, in this order:

* The reference length is 3 mm, or 1/40 of the volume's longest edge where that is less (teeth,
  specimens in micro-CT). It is the length in which budgets and costs are stated.
* Along each axis the working voxel is the largest whole number of voxels that spans no more than
  7/6 reference lengths (3.5 mm), at least one: a volume is coarsened, never refined. Its value is
  the mean over that length, centred on a voxel, so that clicks and working voxels coincide.
* The region reaches 32 reference lengths (96 mm) from the first positive click and 16 from every
  other, and grows where the front of a click arrives at its border, up to 128^3 working voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid

IndexArray = npt.NDArray[np.intp]

REFERENCE_MM = 3.0
REFERENCES_PER_EDGE = 40
MAX_SPAN = 7 / 6
FIRST_REACH, OTHER_REACH, GROWTH = 32, 16, 32
MAX_WORKING_VOXELS = 128**3


@dataclass(frozen=True)
class RegionBox:
    """Bounds of a region in voxels of the volume.

    Parameters
    ----------
    lower_kji, upper_kji : tuple of int
        First and last voxel along each axis, inside the volume.
    """

    lower_kji: tuple[int, int, int]
    upper_kji: tuple[int, int, int]


def reference_length_mm(grid: VolumeGrid) -> float:
    """Choose the length in which budgets and costs are stated.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the whole volume.

    Returns
    -------
    float
        3 mm, or 1/40 of the longest edge where that is less.
    """
    edges = grid.spacing_mm * np.array(grid.shape_kji[::-1])
    return min(REFERENCE_MM, float(edges.max()) / REFERENCES_PER_EDGE)


def working_factors(grid: VolumeGrid) -> tuple[int, int, int]:
    """Choose how many voxels make a working voxel along k, j and i.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the whole volume.

    Returns
    -------
    tuple of int
        At least 1 each.
    """
    span = MAX_SPAN * reference_length_mm(grid)
    # The small constant keeps 3.5 mm / 1.75 mm at 2 whatever the rounding.
    k, j, i = np.maximum(np.floor(span / grid.spacing_mm[::-1] + 1e-6), 1).astype(int)
    return int(k), int(j), int(i)


def initial_box(grid: VolumeGrid, clicks_kji: IndexArray) -> RegionBox:
    """Choose the region of a set of clicks before any growth.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the whole volume.
    clicks_kji : ndarray, shape (n, 3), intp
        Clicked voxels, the first positive one first.

    Returns
    -------
    RegionBox
    """
    length = reference_length_mm(grid) / grid.spacing_mm[::-1]
    reach = np.full((len(clicks_kji), 1), OTHER_REACH)
    reach[0] = FIRST_REACH
    margin = np.rint(reach * length).astype(np.intp)
    return _clipped(grid, (clicks_kji - margin).min(axis=0), (clicks_kji + margin).max(axis=0))


def grown_box(grid: VolumeGrid, box: RegionBox, reached: npt.NDArray[np.bool_]) -> RegionBox:
    """Grow a region on the sides where something reaches its border.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the whole volume.
    box : RegionBox
        Bounds of the region.
    reached : ndarray, shape (k, j, i), bool
        Working voxels that have been reached.

    Returns
    -------
    RegionBox
        The same box if nothing reaches its border, the volume ends there, or the region would
        exceed 128^3 working voxels.
    """
    step = np.rint(GROWTH * reference_length_mm(grid) / grid.spacing_mm[::-1]).astype(np.intp)
    lower, upper = np.array(box.lower_kji), np.array(box.upper_kji)
    for axis in range(3):
        faces = np.moveaxis(reached, axis, 0)
        lower[axis] -= step[axis] * bool(faces[0].any())
        upper[axis] += step[axis] * bool(faces[-1].any())
    larger = _clipped(grid, lower, upper)
    extent = np.array(larger.upper_kji) - larger.lower_kji + 1
    fits = np.prod(extent / np.array(working_factors(grid))) <= MAX_WORKING_VOXELS
    return larger if fits else box


def lattice_grid(
    grid: VolumeGrid,
    first_kji: npt.ArrayLike,
    shape_kji: npt.ArrayLike,
    *,
    factors_kji: npt.ArrayLike = (1, 1, 1),
) -> VolumeGrid:
    """Make the grid of every n-th voxel of a part of a grid.

    Parameters
    ----------
    grid : VolumeGrid
        Grid of the whole volume.
    first_kji : array_like, shape (3,), int
        Voxel of the whole under the first of the part.
    shape_kji : array_like, shape (3,), int
        Number of voxels of the part.
    factors_kji : array_like, shape (3,), int
        Voxels of the whole from one voxel of the part to the next.

    Returns
    -------
    VolumeGrid
    """
    affine = np.array(grid.ijk_to_ras)
    affine[:3, 3] = grid.to_ras(np.asarray(first_kji)[::-1])
    affine[:3, :3] = affine[:3, :3] * np.asarray(factors_kji)[::-1]
    return VolumeGrid(to_triple(np.asarray(shape_kji)), affine)


def _clipped(grid: VolumeGrid, lower: IndexArray, upper: IndexArray) -> RegionBox:
    """Make a box of bounds, cut at the border of the volume."""
    last = np.array(grid.shape_kji) - 1
    return RegionBox(to_triple(np.maximum(lower, 0)), to_triple(np.minimum(upper, last)))


def to_triple(values: IndexArray) -> tuple[int, int, int]:
    """Give three numbers as a tuple of int.

    Parameters
    ----------
    values : ndarray, shape (3,), intp
        Numbers along k, j, i.

    Returns
    -------
    tuple of int
    """
    k, j, i = (int(n) for n in values)
    return k, j, i
