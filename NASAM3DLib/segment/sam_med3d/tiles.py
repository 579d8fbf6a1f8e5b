"""Structures larger than one region: a coarse look at the whole, then tiles at full resolution.

One region spans 192 mm. If a click lies outside the region around the first one, or the object
reaches a face of it behind which the volume goes on, the region is placed anew with voxels of 3, 6
or 12 mm, averaged from those of 1.5 mm, until the object fits. That gives the extent of the object
but a coarse boundary. Then every tile of 128^3 voxels of 1.5 mm that the boundary passes is decoded
once: its mask prompt is the coarse logits, its points are the clicks inside it, or the innermost
voxel of the coarse object if there is no positive one. Tiles overlap by a quarter and are blended
with weights that fall linearly to their faces; where there is no tile, the coarse logits stay.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.region_box import lattice_grid
from NASAM3DLib.segment.sam_med3d.canonical import Triple
from NASAM3DLib.segment.sam_med3d.config import UPSCALING
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels
from NASAM3DLib.segment.sam_med3d.paste import sample_on
from NASAM3DLib.segment.sam_med3d.session import (
    LogitField,
    PlacedRegion,
    VolumeSession,
    anchor_of,
)

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

COARSE_FACTORS = (2, 4, 8)
"""Voxel edges of the coarse looks, in units of 1.5 mm."""

MAX_TILES = 27
"""Tiles that are refined; of more, those with the most of the object."""

OVERLAP_PART = 4
"""Tiles overlap by one part of so many."""

COARSE_WEIGHT = 1e-3
"""Weight of the coarse logits where there is a tile."""


@dataclass(frozen=True, eq=False)
class _Canvas:
    """Sums of weighted logits on a box of the canonical volume.

    ``lower_kji`` is the first voxel of the box, ``coarse`` the coarse logits on it.
    """

    lower_kji: IndexArray
    coarse: LogitField
    total: FloatArray
    weight: FloatArray


def whole_object(
    session: VolumeSession, prompts: Prompts, *, progress: ProgressCallback = no_progress
) -> LogitField:
    """Predict the logits of an object of any size.

    Parameters
    ----------
    session : VolumeSession
        The volume.
    prompts : Prompts
        All clicks, at least one positive.
    progress : callable
        Called with stage and fraction; may raise to cancel.

    Returns
    -------
    LogitField
        On the region around the first click if that is enough, else on a box around the object.
    """
    progress("looking", 0.0)
    region = session.place_around(anchor_of(prompts))
    field = session.clicked(region, prompts)
    if session.is_whole(region, field, prompts):
        return field
    for number, factor in enumerate(COARSE_FACTORS):
        progress("looking from farther away", 0.05 * (number + 1))
        wide = session.place_around(anchor_of(prompts), factor=factor)
        coarse = session.clicked(wide, prompts)
        if session.is_whole(wide, coarse, prompts):
            break
    canvas = _canvas(session, coarse, prompts, factor)
    if canvas is None:
        return field
    tiles = list(_tiles(canvas, region.begin_ijk, session.predictor.region_size))
    if len(tiles) > MAX_TILES:
        logger.warning("Of %d tiles, %d are refined.", len(tiles), MAX_TILES)
    for number, begin in enumerate(tiles[:MAX_TILES]):
        progress("refining", 0.2 + 0.8 * number / min(len(tiles), MAX_TILES))
        try:
            tile = session.place(begin)
        except ValueError as error:
            # Nothing above 0 HU in the tile: the coarse logits stay.
            logger.info("A tile is left out: %s", error)
            continue
        _add_tile(session, canvas, tile, prompts)
    return LogitField(canvas.total / canvas.weight, canvas.coarse.grid)


def _canvas(
    session: VolumeSession, coarse: LogitField, prompts: Prompts, factor: int
) -> _Canvas | None:
    """Lay out the box around the coarse object; None if there is none."""
    found = coarse.object_of(prompts)
    if not found.any():
        return None
    fine = session.canonical().grid
    corners = np.array(bounding_box(found))[:, ::-1] + np.array([[-1.0], [1.0]])
    lower, upper = fine.to_ijk(coarse.grid.to_ras(corners))[:, ::-1]
    first = np.maximum(np.floor(lower), 0).astype(np.intp)
    last = np.minimum(np.ceil(upper) + 1, fine.shape_kji).astype(np.intp)
    grid = lattice_grid(fine, first, np.maximum(last - first, 1))
    low = float(coarse.values.min())
    values = sample_on(coarse.values, coarse.grid, grid, outside=low)
    logger.info("Coarse object found with voxels of %g mm.", factor * fine.spacing_mm[0])
    weight = np.full(values.shape, COARSE_WEIGHT, dtype=np.float32)
    return _Canvas(first, LogitField(values, grid), values * weight, weight)


def _tiles(canvas: _Canvas, home_ijk: Triple, size: int) -> Iterator[Triple]:
    """Give the first voxels of the tiles that the boundary passes, most of the object first."""
    overlap = size // OVERLAP_PART
    stride = size - overlap
    inside = canvas.coarse.values > 0
    # Cores of stride^3 voxels, without the halves of the overlaps, share the volume among them.
    origin = np.array(home_ijk[::-1]) + overlap // 2 - canvas.lower_kji
    ranges = [
        range((0 - start) // stride, (count - 1 - start) // stride + 1)
        for start, count in zip(origin, inside.shape, strict=True)
    ]
    found = []
    for place in itertools.product(*ranges):
        core = origin + np.array(place) * stride
        part = inside[_overlap(core, core + stride, inside.shape)]
        if part.any() and not part.all():
            first = core - overlap // 2 + canvas.lower_kji
            found.append((int(part.sum()), tuple(int(n) for n in first[::-1])))
    for _, (i, j, k) in sorted(found, reverse=True):
        yield i, j, k


def _add_tile(
    session: VolumeSession, canvas: _Canvas, tile: PlacedRegion, prompts: Prompts
) -> None:
    """Decode a tile and add its logits to the canvas."""
    size = session.predictor.region_size
    start = np.array(tile.begin_ijk[::-1]) - canvas.lower_kji
    place = _overlap(start, start + size, canvas.total.shape)
    own = tuple(slice(s.start - a, s.stop - a) for s, a in zip(place, start, strict=True))
    clicks = tile.shown(prompts)
    if not (clicks.labels == POSITIVE).any():
        deepest = _deepest(canvas.coarse.values[place] > 0)
        voxel = (deepest + [s.start for s in own])[::-1]
        clicks = ClickedVoxels(
            np.concatenate([[voxel], clicks.voxels_ijk]).astype(np.float64),
            np.insert(clicks.labels, 0, np.int8(POSITIVE)),
        )
    low = session.predictor.decode(tile.loop.embedding, clicks, low=_low_start(canvas, tile, size))
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    ramp = np.minimum(ramp / (size // OVERLAP_PART), 1).astype(np.float32)
    weight = (ramp[:, None, None] * ramp[:, None] * ramp)[own]
    canvas.total[place] += weight * session.predictor.upsampled(low)[own]
    canvas.weight[place] += weight


def _low_start(canvas: _Canvas, tile: PlacedRegion, size: int) -> FloatArray:
    """Give the coarse logits at the cells of a tile's mask prompt, axes i, j, k."""
    n_cells = tile.loop.predictor.model.config.mask_size
    cells = tile.grid.resampled((n_cells,) * 3)
    outside = float(canvas.coarse.values.min())
    values = sample_on(canvas.coarse.values, canvas.coarse.grid, cells, outside=outside)
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def _deepest(found: BoolArray) -> IndexArray:
    """Find a voxel far from the surface of an object, and from the box's border."""
    from scipy.ndimage import distance_transform_edt

    # Every fourth voxel is as fine as the mask that the network makes, at a fiftieth of the time.
    thinned = found[::UPSCALING, ::UPSCALING, ::UPSCALING]
    if not thinned.any():
        return np.asarray(np.argwhere(found)[np.count_nonzero(found) // 2])
    depth = distance_transform_edt(np.pad(thinned, 1))[1:-1, 1:-1, 1:-1]
    return UPSCALING * np.array(np.unravel_index(int(np.argmax(depth)), depth.shape))


def _overlap(
    lower: npt.ArrayLike, upper: npt.ArrayLike, shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Slice the part of a box that lies in an array."""
    low, high = np.clip(lower, 0, shape), np.clip(upper, 0, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
