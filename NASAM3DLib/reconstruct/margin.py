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
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.projector import Projector, forward_project
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.field_of_view import lateral_mm
from NASAM3DLib.scan.geometry import ConeBeamGeometry
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
"""Attenuation, relative to the strongest, up to which a ray, row or column counts as empty."""

FILLED_PERCENTILE = 99.0
FARTHEST_SHARE = 0.8
"""Part of the way to the source up to which surroundings are looked for."""

OUTSIDE_SHARE = 0.005
"""Share of all attenuation in rays that miss the grid from which on it is too small."""

VIEWS_APART = 4
"""Views between two that are looked at for it."""

BOX_SIDE = 128
"""Voxels along each side, at most, of the box that rays meet or miss."""

COARSENING = 2
"""Voxels and pixels of the surroundings are so many times larger."""

GUARD_VOXELS = 4
"""Voxels around the wanted ones that are reconstructed as finely: 1.5 dB better on a cut-off CT."""

SURROUNDINGS_STRENGTH = 1e-3
SURROUNDINGS_PHASES = (Phase(5, 4), Phase(10, 4), Phase(25, 6))
STAGE = "surroundings of the volume"
LOOK_PART = 0.1


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


def with_margin(
    projection_set: ProjectionSet, grid: VolumeGrid, *, progress: ProgressCallback = no_progress
) -> Margin:
    """Enlarge a grid to hold all that attenuates the rays.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals. Poses per view without an orbit give no margin, but a warning.
    grid : VolumeGrid
        Wanted voxels.
    progress : callable
        Called before every fraction of a second of work.

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
    none = Margin(grid, (0, 0, 0), (0, 0, 0))
    if not attenuates_outside(projection_set, grid, progress=progress):
        return none
    if orbit is None:
        logger.warning(
            "The rays cross attenuation outside the volume, which is taken into account for "
            "circular orbits only, and this scan has one pose per view: expect a bright rim, or "
            "choose a grid that holds the whole object."
        )
        return none
    box = _object_box(projection_set, orbit)
    corners = np.array([[box[(n >> axis) & 1, axis] for axis in range(3)] for n in range(8)])
    ijk = grid.to_ijk(corners)
    before = np.maximum(np.ceil(-0.5 - ijk.min(axis=0) - 1e-6), 0)
    after = np.maximum(np.ceil(ijk.max(axis=0) - np.array(grid.shape_kji[::-1]) + 0.5 - 1e-6), 0)
    return _enlarged(grid, tuple(before[::-1].astype(int)), tuple(after[::-1].astype(int)))


def _enlarged(grid: VolumeGrid, before_kji: tuple[int, ...], after_kji: tuple[int, ...]) -> Margin:
    """Add voxels before and after along each axis."""
    affine = np.array(grid.ijk_to_ras)
    affine[:3, 3] = grid.to_ras(-np.array(before_kji[::-1]))
    sizes = zip(before_kji, grid.shape_kji, after_kji, strict=True)
    k, j, i = (int(sum(size)) for size in sizes)
    first, last = ((int(n[0]), int(n[1]), int(n[2])) for n in (before_kji, after_kji))
    return Margin(VolumeGrid((k, j, i), affine), first, last)


def attenuates_outside(
    projection_set: ProjectionSet, grid: VolumeGrid, *, progress: ProgressCallback = no_progress
) -> bool:
    """Tell whether the projections show attenuation outside a grid.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    grid : VolumeGrid
        Voxels.
    progress : callable
        Called before every fraction of a second of work.

    Returns
    -------
    bool
        Whether the object runs into an edge of the detector, or rays that miss the grid hold more
        than half a percent of all attenuation.

    Notes
    -----
    Of the rays that miss the grid only those count that cross more than 3 % of the strongest
    attenuation. Noise in air has a positive mean once negative values are cut off: around a body
    that leaves little air it sums up to 1.4 % at 1e4 photons, of which 0.05 % is left.
    """
    progress(STAGE, 0.0)
    truncation = find_truncation(projection_set)
    progress(STAGE, 0.1)
    if truncation.is_lateral or truncation.is_axial:
        return True
    some = projection_set.select(np.arange(0, projection_set.n_views, VIEWS_APART))
    box = grid.resampled(tuple(min(n, BOX_SIDE) for n in grid.shape_kji))
    # In the order of axes that the projector takes without a copy.
    ones = np.ones(box.shape_kji[::-1], dtype=np.float32).T
    part = sub_progress(progress, 0.2, 0.9)
    paths = Projector(box, some.geometry).forward(ones, progress=part)
    progress(STAGE, 0.9)
    p = some.projections
    missing = float(p[(paths <= 0) & (p > _faint(p))].sum(dtype=np.float64))
    return bool(missing > OUTSIDE_SHARE * float(p.sum(dtype=np.float64)))


def _faint(projections: Float32Array) -> float:
    """Give the line integral up to which a ray counts as empty."""
    return FAINT_SHARE * float(np.percentile(projections, PEAK_PERCENTILE))


def _object_box(projection_set: ProjectionSet, orbit: CircularOrbit) -> FloatArray:
    """Give the lower and upper corner of the box around the object, RAS mm, shape (2, 3)."""
    p = projection_set.projections
    n_rows, n_columns = projection_set.geometry.detector_shape
    truncation = find_truncation(projection_set)
    limit = _faint(p[:: max(1, len(p) // 16)])
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


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What attenuates around wanted voxels, on a coarse grid.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Attenuation of the wanted part and all around it, 1/mm.
    coarse_grid : VolumeGrid
        Its voxels.
    guard : Margin
        The wanted grid with a few voxels more on each side: the grid to reconstruct on.
    """

    array: Float32Array
    coarse_grid: VolumeGrid
    guard: Margin

    @property
    def grid(self) -> VolumeGrid:
        """The grid to reconstruct on: the wanted one and a few voxels more on each side."""
        return self.guard.grid

    def line_integrals(
        self, geometry: ConeBeamGeometry, *, outside: VolumeGrid | None = None
    ) -> Float32Array:
        """Compute what rays meet outside a grid.

        Parameters
        ----------
        geometry : ConeBeamGeometry
            Views, not necessarily those that were measured.
        outside : VolumeGrid, optional
            What is left out; by default the grid to reconstruct on.

        Returns
        -------
        ndarray, shape (n_views, n_rows, n_cols), float32
            Line integrals.

        Notes
        -----
        With x_c the coarse volume and I its interpolation to the grid it is ``A_c x_c - A I x_c``.
        """
        inside = outside or self.grid
        whole = forward_project(self.array, self.coarse_grid, geometry)
        part = _interpolated(self.array, self.coarse_grid, inside)
        return np.asarray(whole - forward_project(part, inside, geometry), dtype=np.float32)

    def subtracted_from(self, projection_set: ProjectionSet) -> ProjectionSet:
        """Take out of projections what the rays met outside the grid to reconstruct on.

        Parameters
        ----------
        projection_set : ProjectionSet
            Line integrals.

        Returns
        -------
        ProjectionSet
        """
        outside = self.line_integrals(projection_set.geometry)
        return replace(projection_set, projections=projection_set.projections - outside)

    def cropped(self, volume: Volume) -> Volume:
        """Cut the wanted voxels out of a volume on the grid to reconstruct on.

        Parameters
        ----------
        volume : Volume
            On ``grid``.

        Returns
        -------
        Volume
            On the wanted grid.
        """
        arrays = [volume.array] + ([] if volume.uncertainty is None else [volume.uncertainty])
        array, *spread = (np.ascontiguousarray(self.guard.crop(values)) for values in arrays)
        affine = np.array(self.grid.ijk_to_ras)
        affine[:3, 3] = self.grid.to_ras(self.guard.before_kji[::-1])
        k, j, i = array.shape
        return Volume(
            array, VolumeGrid((k, j, i), affine), volume.quantity, spread[0] if spread else None
        )


def find_surroundings(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    progress: ProgressCallback = no_progress,
) -> Surroundings | None:
    """Reconstruct what the rays meet outside a grid.

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
    Surroundings or None
        None if the grid holds all that attenuates; then it needs no more than itself.

    Notes
    -----
    The surroundings are reconstructed together with the wanted part on voxels twice as large
    from pixels twice as large, at a small part of the cost ([1]_), with rows continued by
    :func:`~NASAM3DLib.scan.truncation.row_tails`: without them, mass would gather at the outer
    border and be missing at the inner one.
    """
    margin = with_margin(
        projection_set, grid, progress=sub_progress(progress, 0.0, LOOK_PART, stage=STAGE)
    )
    if not margin.is_needed:
        return None
    from NASAM3DLib.reconstruct.iterative import TotalVariationProblem

    logger.info("The rays cross attenuation outside %s: it is reconstructed as well.", grid)
    guard = _enlarged(
        grid,
        tuple(min(n, GUARD_VOXELS) for n in margin.before_kji),
        tuple(min(n, GUARD_VOXELS) for n in margin.after_kji),
    )
    shape = tuple(-(-n // COARSENING) for n in margin.grid.shape_kji)
    coarse_grid = margin.grid.resampled(shape)
    factor = min(COARSENING, *projection_set.geometry.detector_shape)
    problem = TotalVariationProblem(widened(projection_set).binned(factor), coarse_grid)
    part = sub_progress(progress, LOOK_PART, 1.0, stage=STAGE)
    coarse = problem.solve(SURROUNDINGS_STRENGTH, SURROUNDINGS_PHASES, progress=part)
    return Surroundings(np.asarray(coarse, dtype=np.float32), coarse_grid, guard)


def _interpolated(array: Float32Array, source: VolumeGrid, target: VolumeGrid) -> Float32Array:
    """Interpolate linearly from one grid to another whose axes are parallel and inside it."""
    matrix = source.ras_to_ijk @ target.ijk_to_ras
    scale, start = np.diag(matrix)[:3][::-1], matrix[:3, 3][::-1]
    return np.asarray(
        ndimage.affine_transform(
            array, scale, start, target.shape_kji, order=1, mode="nearest", output=np.float32
        )
    )
