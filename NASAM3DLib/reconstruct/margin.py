"""What rays cross outside the wanted voxels: objects larger than the grid or the field of view.

A ray measures everything between source and detector. What it meets outside the grid would be
pressed into the outermost voxels as a bright rim. So the surroundings are reconstructed as well.

References
----------
.. [1] A. Ziegler, T. Nielsen, M. Grass, "Iterative reconstruction of a region of interest for
   transmission tomography", Med. Phys. 35(4), 2008.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.field_of_view import lateral_mm
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.scan.truncation import (
    PEAK_PERCENTILE,
    TRUNCATED_SHARE,
    find_truncation,
    row_tails,
    widened,
)

logger = logging.getLogger(__name__)

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

FAINT_SHARE = 0.03
"""Attenuation, relative to the strongest, up to which a row or column counts as empty."""

FILLED_PERCENTILE = 99.0
FARTHEST_SHARE = 0.8
"""Part of the way to the source up to which surroundings are looked for."""

OUTSIDE_SHARE = 0.005
"""Share of all attenuation in rays that miss the grid from which on it is too small."""

VIEWS_APART = 4
"""Views between two that are looked at for it."""

COARSENING = 2
"""Voxels and pixels of the surroundings are so many times larger."""

SURROUNDINGS_STRENGTH = 1e-3
SURROUNDINGS_PHASES = (Phase(5, 4), Phase(10, 4), Phase(25, 6))
STAGE = "surroundings of the volume"


@dataclass(frozen=True, eq=False)
class Margin:
    """A grid that holds a wanted one and what rays cross around it.

    Parameters
    ----------
    grid : VolumeGrid
        The larger grid, with the same voxels.
    before_kji, after_kji : tuple of int
        Voxels added before and after along k, j and i.
    """

    grid: VolumeGrid
    before_kji: tuple[int, int, int]
    after_kji: tuple[int, int, int]

    @property
    def is_needed(self) -> bool:
        """Whether anything was added."""
        return max(*self.before_kji, *self.after_kji) > 0

    def crop(self, array: Float32Array) -> Float32Array:
        """Cut the wanted voxels out of an array on the larger grid.

        Parameters
        ----------
        array : ndarray, shape (k, j, i), float32
            Values on ``grid``.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            A view of the wanted part.
        """
        k, j, i = (
            slice(before, n - after)
            for before, after, n in zip(
                self.before_kji, self.after_kji, self.grid.shape_kji, strict=True
            )
        )
        return array[k, j, i]


def with_margin(projection_set: ProjectionSet, grid: VolumeGrid) -> Margin:
    """Enlarge a grid to hold all that attenuates the rays.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals. Poses per view without an orbit give no margin.
    grid : VolumeGrid
        Wanted voxels.

    Returns
    -------
    Margin

    Notes
    -----
    The object is taken for the cylinder about the axis that the rows and columns with attenuation
    span. Where it runs into the first or last column, the cylinder reaches as far as
    :func:`~NASAM3DLib.scan.truncation.row_tails` continues the rows; where it runs into the first
    or last row, as high as the rays get within the cylinder.
    """
    orbit = projection_set.geometry.orbit
    if orbit is None or not attenuates_outside(projection_set, grid):
        return Margin(grid, (0, 0, 0), (0, 0, 0))
    box = _object_box(projection_set, orbit)
    corners = np.array([[box[(n >> axis) & 1, axis] for axis in range(3)] for n in range(8)])
    ijk = grid.to_ijk(corners)
    shape_ijk = np.array(grid.shape_kji[::-1])
    before = np.maximum(np.ceil(-0.5 - ijk.min(axis=0) - 1e-6), 0).astype(int)
    after = np.maximum(np.ceil(ijk.max(axis=0) - shape_ijk + 0.5 - 1e-6), 0).astype(int)
    affine = np.array(grid.ijk_to_ras)
    affine[:3, 3] = grid.to_ras(-before)
    k, j, i = (int(n) for n in (shape_ijk + before + after)[::-1])
    first, last = ((int(n[2]), int(n[1]), int(n[0])) for n in (before, after))
    return Margin(VolumeGrid((k, j, i), affine), first, last)


def attenuates_outside(projection_set: ProjectionSet, grid: VolumeGrid) -> bool:
    """Tell whether the projections show attenuation outside a grid.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    grid : VolumeGrid
        Voxels.

    Returns
    -------
    bool
        Whether the object runs into an edge of the detector, or rays that miss the grid hold more
        than half a percent of all attenuation.
    """
    truncation = find_truncation(projection_set)
    if truncation.is_lateral or truncation.is_axial:
        return True
    some = projection_set.select(np.arange(0, projection_set.n_views, VIEWS_APART))
    paths = forward_project(np.ones(grid.shape_kji, dtype=np.float32), grid, some.geometry)
    missing = float(some.projections[paths <= 0].sum(dtype=np.float64))
    return bool(missing > OUTSIDE_SHARE * float(some.projections.sum(dtype=np.float64)))


def _object_box(projection_set: ProjectionSet, orbit: CircularOrbit) -> FloatArray:
    """Give the lower and upper corner of the box around the object, RAS mm, shape (2, 3)."""
    p = projection_set.projections
    n_rows, n_columns = projection_set.geometry.detector_shape
    truncation = find_truncation(projection_set)
    limit = FAINT_SHARE * float(np.percentile(p[:: max(1, len(p) // 16)], PEAK_PERCENTILE))
    wide = widened(projection_set)
    first, last = _filled(np.percentile(wide.projections, FILLED_PERCENTILE, axis=(0, 1)) > limit)
    n_first = row_tails(projection_set).first.shape[1]
    first, last = first - n_first, last - n_first
    spacing_v, spacing_u = orbit.pixel_spacing_mm
    edges_u = (np.array([first - 0.5, last + 0.5]) - (n_columns - 1) / 2) * spacing_u
    radius = float(np.abs(lateral_mm(orbit, edges_u)).max())
    low, high = _filled(np.percentile(p, FILLED_PERCENTILE, axis=(0, 2)) > limit)
    edges_v = (np.array([low - 0.5, high + 0.5]) - (n_rows - 1) / 2) * spacing_v
    heights = (edges_v + orbit.detector_offset_mm[0]) / orbit.magnification
    near = orbit.source_to_isocenter_mm
    if near is not None:
        radius = min(radius, FARTHEST_SHARE * near)
        cut_off = np.array([truncation.first_row, truncation.last_row]) > TRUNCATED_SHARE
        outwards = np.sign(heights) * np.array([-1.0, 1.0])
        heights = np.where(cut_off, heights * (1 + outwards * radius / near), heights)
    extent = np.array([[-radius, -radius, heights[0]], [radius, radius, heights[1]]])
    return np.asarray(extent + np.asarray(orbit.isocenter_ras), dtype=np.float64)


def _filled(is_filled: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Give the first and last index that is set; the middle if none is."""
    index = np.flatnonzero(is_filled)
    middle = is_filled.size // 2
    return (int(index[0]), int(index[-1])) if index.size else (middle, middle)


def without_surroundings(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    progress: ProgressCallback = no_progress,
) -> ProjectionSet:
    """Take out of the projections what the rays met outside a grid.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    grid : VolumeGrid
        Wanted voxels.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    ProjectionSet
        The same object if the grid holds all that attenuates.

    Notes
    -----
    The surroundings are reconstructed together with the wanted part on voxels twice as large
    from pixels twice as large, at a small part of the cost ([1]_). With x_c that volume and I its
    interpolation to the wanted grid, the result is ``p - (A_c x_c - A I x_c)``: interpolation
    stands for the wanted part on both sides, so only the surroundings are subtracted.
    """
    margin = with_margin(projection_set, grid)
    if not margin.is_needed:
        return projection_set
    from NASAM3DLib.reconstruct.iterative import TotalVariationProblem

    logger.info("The rays cross attenuation outside %s: it is reconstructed as well.", grid)
    shape = tuple(-(-n // COARSENING) for n in margin.grid.shape_kji)
    coarse_grid = margin.grid.resampled(shape)
    factor = min(COARSENING, *projection_set.geometry.detector_shape)
    problem = TotalVariationProblem(widened(projection_set).binned(factor), coarse_grid)
    part = sub_progress(progress, 0.0, 0.9, stage=STAGE)
    coarse = problem.solve(SURROUNDINGS_STRENGTH, SURROUNDINGS_PHASES, progress=part)
    geometry = projection_set.geometry
    whole = forward_project(coarse, coarse_grid, geometry)
    wanted = forward_project(_interpolated(coarse, coarse_grid, grid), grid, geometry)
    progress(STAGE, 1.0)
    return ProjectionSet(projection_set.projections - (whole - wanted), geometry)


def _interpolated(array: Float32Array, source: VolumeGrid, target: VolumeGrid) -> Float32Array:
    """Interpolate linearly from one grid to another whose axes are parallel and inside it."""
    matrix = source.ras_to_ijk @ target.ijk_to_ras
    scale, start = np.diag(matrix)[:3][::-1], matrix[:3, 3][::-1]
    return np.asarray(
        ndimage.affine_transform(
            array, scale, start, target.shape_kji, order=1, mode="nearest", output=np.float32
        )
    )
