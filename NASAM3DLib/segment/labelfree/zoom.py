"""Automatic zoom: voxels as fine as the object of the first click allows, around all clicks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import bounding_box, keep_components
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.region import WorkingRegion, make_region
from NASAM3DLib.segment.region_box import (
    FIRST_REACH,
    IndexArray,
    RegionBox,
    grown_box,
    initial_box,
    to_triple,
    working_factors,
)

SURROUND = 2.5
"""Edge of the region, in the extent of the object."""

CROP = 64
"""Working voxels along the edge of a region; larger objects have more."""

MARGIN = 12
"""Working voxels between a click and the end of the region."""


@dataclass(frozen=True)
class Zoom:
    """Where and how finely the network works.

    Parameters
    ----------
    factors_kji : tuple of int
        Voxels of the volume from one working voxel to the next.
    box : RegionBox
        Bounds in voxels of the volume.
    """

    factors_kji: tuple[int, int, int]
    box: RegionBox


def find_zoom(volume_hu: Volume, first_kji: IndexArray, *, guided: bool = True) -> Zoom:
    """Choose voxels and region from the first positive click alone.

    Parameters
    ----------
    volume_hu : Volume
        Volume in HU.
    first_kji : ndarray, shape (3,), intp
        Voxel of the first positive click.
    guided : bool
        Whether the front of the click may say how large the object is; without it the voxels are
        the coarsest and the region reaches 32 of them.

    Returns
    -------
    Zoom

    Notes
    -----
    The density front of the click is run at the coarsest working resolution, in a region that grows
    until it holds the front. With e the longest edge of what the front reaches within its budget,
    a working voxel spans at most ``2.5 e / 64``, a whole number of voxels and never more than the
    coarsest, and the region is 64 working voxels around the reached part, or more if it is larger.
    """
    grid = volume_hu.grid
    coarsest = working_factors(grid)
    if not guided:
        reach = FIRST_REACH * np.array(coarsest)
        return Zoom(coarsest, _clipped(grid, first_kji - reach, first_kji + reach))
    lower, upper = _reached(volume_hu, first_kji)
    spacing = grid.spacing_mm[::-1]
    extent_mm = float(((upper - lower + 1) * spacing).max())
    wanted = np.floor(SURROUND * extent_mm / CROP / spacing).astype(np.intp)
    factors = np.clip(wanted, 1, coarsest)
    half = np.maximum((upper - lower) // 2 + MARGIN * factors, CROP // 2 * factors)
    centre = (lower + upper) // 2
    box = _clipped(grid, centre - half, centre + half - 1)
    return with_clicks(Zoom(to_triple(factors), box), grid, first_kji[None])


def with_clicks(zoom: Zoom, grid: VolumeGrid, clicks_kji: IndexArray) -> Zoom:
    """Enlarge a region until it holds all clicks and their surroundings.

    Parameters
    ----------
    zoom : Zoom
        Of the first click.
    grid : VolumeGrid
        Grid of the volume.
    clicks_kji : ndarray, shape (n, 3), intp
        Voxels of all clicks.

    Returns
    -------
    Zoom
        The same if all clicks lie well inside.
    """
    margin = MARGIN * np.array(zoom.factors_kji)
    lower = np.minimum(zoom.box.lower_kji, clicks_kji.min(axis=0) - margin)
    upper = np.maximum(zoom.box.upper_kji, clicks_kji.max(axis=0) + margin)
    return replace(zoom, box=_clipped(grid, lower, upper))


def zoomed_region(volume_hu: Volume, zoom: Zoom, *, anchor_kji: IndexArray) -> WorkingRegion:
    """Cut the region out of a volume.

    Parameters
    ----------
    volume_hu : Volume
        Volume in HU.
    zoom : Zoom
        Where and how finely.
    anchor_kji : ndarray, shape (3,), intp
        Voxel of the first positive click, on which a working voxel lies.

    Returns
    -------
    WorkingRegion
        Its reference length is its longest voxel edge, as in training.
    """
    region = make_region(volume_hu, zoom.box, anchor_kji=anchor_kji, factors_kji=zoom.factors_kji)
    return replace(region, reference_mm=float(region.grid.spacing_mm.max()))


def _reached(volume_hu: Volume, first_kji: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Find the first and last voxel that the front of the first click reaches in its budget."""
    grid = volume_hu.grid
    box = initial_box(grid, first_kji[None])
    while True:
        region = make_region(volume_hu, box, anchor_kji=first_kji)
        working = region.to_working(first_kji[None])
        reached = DensityFronts(region).positive(working) < 1
        larger = grown_box(grid, box, reached)
        if larger == box:
            break
        box = larger
    lower, upper = bounding_box(keep_components(reached, working))
    first, factors = np.array(region.first_kji), np.array(region.factors_kji)
    return first + lower * factors, first + upper * factors


def _clipped(grid: VolumeGrid, lower: IndexArray, upper: IndexArray) -> RegionBox:
    """Make a box of bounds, cut at the border of the volume."""
    last = np.array(grid.shape_kji) - 1
    return RegionBox(
        to_triple(np.maximum(lower, 0).astype(np.intp)),
        to_triple(np.minimum(upper, last).astype(np.intp)),
    )
