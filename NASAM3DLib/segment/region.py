"""The part of a volume around the clicks, at the resolution an engine works at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.region_box import (
    IndexArray,
    RegionBox,
    lattice_grid,
    reference_length_mm,
    to_triple,
    working_factors,
)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class WorkingRegion:
    """A box of a volume on a coarser lattice of its voxels.

    Working voxel n lies on voxel ``first_kji + n * factors_kji`` of the volume.

    Parameters
    ----------
    array_hu : ndarray, shape (k, j, i), float32
        Working voxels, HU.
    uncertainty_hu : ndarray, shape (k, j, i), float32 or None
        One standard deviation of each working voxel, HU.
    grid : VolumeGrid
        Where the working voxels lie.
    first_kji : tuple of int
        Voxel of the volume under the first working voxel.
    factors_kji : tuple of int
        Voxels of the volume from one working voxel to the next.
    reference_mm : float
        Length in which budgets and costs are stated, mm.
    """

    array_hu: FloatArray
    uncertainty_hu: FloatArray | None
    grid: VolumeGrid
    first_kji: tuple[int, int, int]
    factors_kji: tuple[int, int, int]
    reference_mm: float

    @property
    def axes_mm(self) -> npt.NDArray[np.float64]:
        """Displacement of one step along array axes k, j, i (rows), mm, shape (3, 3)."""
        return self.grid.ijk_to_ras[:3, :3].T[::-1]

    @property
    def relative_spacing_kji(self) -> npt.NDArray[np.float64]:
        """Spacing along k, j, i in reference lengths, shape (3,)."""
        return self.grid.spacing_mm[::-1] / self.reference_mm

    def to_working(self, voxels_kji: npt.ArrayLike) -> IndexArray:
        """Find the working voxels nearest to voxels of the volume.

        Parameters
        ----------
        voxels_kji : array_like, shape (..., 3), int
            Voxels of the volume.

        Returns
        -------
        ndarray, shape (..., 3), intp
            Working voxels, at the border if the voxel lies outside.
        """
        steps = (np.asarray(voxels_kji) - self.first_kji) / np.array(self.factors_kji)
        last = np.array(self.grid.shape_kji) - 1
        return np.asarray(np.clip(np.rint(steps), 0, last), dtype=np.intp)

    def cut(self, lower_kji: IndexArray, upper_kji: IndexArray) -> WorkingRegion:
        """Give a part of the region.

        Parameters
        ----------
        lower_kji, upper_kji : ndarray, shape (3,), intp
            First working voxel of the part, and the one after its last.

        Returns
        -------
        WorkingRegion
        """
        box = tuple(slice(a, b) for a, b in zip(lower_kji, upper_kji, strict=True))
        return replace(
            self,
            array_hu=self.array_hu[box],
            uncertainty_hu=None if self.uncertainty_hu is None else self.uncertainty_hu[box],
            grid=lattice_grid(self.grid, lower_kji, upper_kji - lower_kji),
            first_kji=to_triple(self.first_kji + lower_kji * np.array(self.factors_kji)),
        )

    def upsample(
        self, values: FloatArray, lower_kji: IndexArray, upper_kji: IndexArray
    ) -> FloatArray:
        """Interpolate working voxels trilinearly at a box of the volume's voxels.

        Parameters
        ----------
        values : ndarray, shape (k, j, i), float32
            Working voxels.
        lower_kji, upper_kji : ndarray, shape (3,), intp
            First and last voxel of the box along each axis, both inside the volume.

        Returns
        -------
        ndarray, shape upper - lower + 1, float32
            Values; beyond the lattice those of its border.
        """
        result = values
        for axis in range(3):
            voxels = np.arange(lower_kji[axis], upper_kji[axis] + 1)
            steps = (voxels - self.first_kji[axis]) / self.factors_kji[axis]
            steps = np.clip(steps, 0, values.shape[axis] - 1)
            below = np.minimum(steps.astype(np.intp), max(values.shape[axis] - 2, 0))
            above = np.minimum(below + 1, values.shape[axis] - 1)
            shape = [-1 if a == axis else 1 for a in range(3)]
            weight = (steps - below).astype(np.float32).reshape(shape)
            low = np.take(result, below, axis=axis)
            result = low + weight * (np.take(result, above, axis=axis) - low)
        return result


def make_region(
    volume_hu: Volume,
    box: RegionBox,
    *,
    anchor_kji: npt.ArrayLike,
    factors_kji: tuple[int, int, int] | None = None,
) -> WorkingRegion:
    """Cut a region out of a volume and bring it to the working resolution.

    Parameters
    ----------
    volume_hu : Volume
        Volume in HU.
    box : RegionBox
        Bounds of the region.
    anchor_kji : array_like, shape (3,), int
        Voxel of the volume on which a working voxel shall lie, inside the box.
    factors_kji : tuple of int, optional
        Voxels of the volume from one working voxel to the next; by default those of
        :func:`~NASAM3DLib.segment.region_box.working_factors`.

    Returns
    -------
    WorkingRegion
    """
    factors = np.array(factors_kji or working_factors(volume_hu.grid))
    anchor, lower, upper = np.asarray(anchor_kji), np.array(box.lower_kji), np.array(box.upper_kji)
    before, after = (anchor - lower) // factors, (upper - anchor) // factors
    first, shape = anchor - before * factors, before + after + 1
    spread = volume_hu.uncertainty
    return WorkingRegion(
        array_hu=_coarsened(volume_hu.array, first, shape, factors),
        uncertainty_hu=None if spread is None else _coarsened(spread, first, shape, factors),
        grid=lattice_grid(volume_hu.grid, first, shape, factors_kji=factors),
        first_kji=to_triple(first),
        factors_kji=to_triple(factors),
        reference_mm=reference_length_mm(volume_hu.grid),
    )


def _coarsened(
    array: FloatArray, first: IndexArray, shape: IndexArray, factors: IndexArray
) -> FloatArray:
    """Average over one working voxel around each lattice point."""
    last = first + (shape - 1) * factors
    # A margin of real voxels, so that averages at the region's border do not repeat its edge.
    start = np.maximum(first - factors, 0)
    stop = np.minimum(last + factors + 1, array.shape)
    result = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    for axis, factor in enumerate(factors):
        if factor > 1:
            # Symmetric around the voxel for even factors too: half a voxel at either end.
            kernel = np.ones(factor + 1 - factor % 2, dtype=np.float32)
            if factor % 2 == 0:
                kernel[[0, -1]] = 0.5
            result = ndimage.correlate1d(result, kernel / factor, axis=axis, mode="nearest")
        picked = first[axis] - start[axis] + factor * np.arange(shape[axis])
        result = np.take(result, picked, axis=axis)
    return np.ascontiguousarray(result, dtype=np.float32)
