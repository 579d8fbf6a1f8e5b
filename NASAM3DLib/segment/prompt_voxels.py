"""What engines work with: clicks derived from scribbles and boxes, and the voxels they mark.

Engines understand clicks. Rules by which the other prompts become clicks, in this order:

* A scribble marks every voxel that its polyline passes; the mask agrees with all of them. As clicks
  it counts for one per 4 reference lengths (12 mm), at least one and at most five, evenly spread,
  those of the most typical density first: the first positive click describes the object.
* A box cuts the mask. If nothing else is positive, a click is put in it: of the voxels in its
  middle third whose density is no farther from the median there than half of them are, the one
  nearest to the middle. It comes before all other clicks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import CLICK, NEGATIVE, POSITIVE, Prompts
from NASAM3DLib.segment.region_box import IndexArray, lattice_grid, reference_length_mm

CLICK_STEP, MAX_CLICKS = 4.0, 5
"""Reference lengths of a scribble to one click, and the most clicks of a scribble."""

MIDDLE = 1 / 3
"""Part of a box along each edge in which its click is looked for."""


@dataclass(frozen=True, eq=False)
class ResolvedPrompts:
    """Prompts as clicks and marked voxels.

    Parameters
    ----------
    clicks : Prompts
        Clicks alone, and the box; at least one is positive.
    voxels_kji : ndarray, shape (n, 3), intp
        Clicked voxels.
    marks : tuple of ndarray, shape (m, 3), intp
        For each click, the voxels that the mask must agree with because of it. All voxels of a
        scribble are with its last click.
    parts : tuple of slice
        Clicks that stand for each click, scribble or box of the prompts.
    """

    clicks: Prompts
    voxels_kji: IndexArray
    marks: tuple[IndexArray, ...]
    parts: tuple[slice, ...]

    def __len__(self) -> int:
        return len(self.clicks)

    @property
    def positive_kji(self) -> IndexArray:
        """Voxels of the positive clicks, shape (n, 3)."""
        return np.asarray(self.voxels_kji[self.clicks.labels == POSITIVE])

    @property
    def negative_kji(self) -> IndexArray:
        """Voxels of the negative clicks, shape (n, 3)."""
        return np.asarray(self.voxels_kji[self.clicks.labels == NEGATIVE])

    @property
    def first_positive(self) -> int:
        """Index of the first positive click."""
        return int(np.argmax(self.clicks.labels == POSITIVE))

    def marked(self, label: int) -> IndexArray:
        """Collect the voxels that must be in the mask, or those that must not.

        Parameters
        ----------
        label : int
            1 or 0, as in :class:`Prompts`.

        Returns
        -------
        ndarray, shape (m, 3), intp
        """
        pairs = zip(self.marks, self.clicks.labels, strict=True)
        chosen = [mark for mark, own in pairs if own == label]
        return np.concatenate([np.zeros((0, 3), dtype=np.intp), *chosen])

    def first(self, n_clicks: int) -> ResolvedPrompts:
        """Give the first clicks alone.

        Parameters
        ----------
        n_clicks : int
            How many.

        Returns
        -------
        ResolvedPrompts
        """
        clicks = self.clicks
        shown = Prompts(clicks.points_ras[:n_clicks], clicks.labels[:n_clicks], clicks.box_ras)
        parts = (slice(part.start, min(part.stop, n_clicks)) for part in self.parts)
        return ResolvedPrompts(
            shown,
            self.voxels_kji[:n_clicks],
            self.marks[:n_clicks],
            tuple(part for part in parts if part.start < part.stop),
        )

    def key(self) -> bytes:
        """Give what tells these prompts from all others on the same volume.

        Returns
        -------
        bytes
        """
        clicks, box_ras = self.clicks, self.clicks.box_ras
        pieces = [self.voxels_kji.tobytes(), clicks.labels.tobytes(), repr(self.parts).encode()]
        pieces += [mark.tobytes() for mark in self.marks]
        return b"|".join([*pieces, b"" if box_ras is None else box_ras.tobytes()])


def marked_voxels(prompts: Prompts, grid: VolumeGrid) -> tuple[IndexArray, ...]:
    """Find the voxels that clicks and scribbles pass.

    Parameters
    ----------
    prompts : Prompts
        Inside the grid.
    grid : VolumeGrid
        Voxels of the volume.

    Returns
    -------
    tuple of ndarray, shape (m, 3), intp
        Voxels (k, j, i) of each part of the prompts, in the order in which they are passed.

    Raises
    ------
    ValueError
        If a point lies outside the volume, or one voxel is marked as both on the object and beside
        it.
    """
    prompts.voxels(grid)
    marks = tuple(_passed(prompts.points_ras[part], grid) for part in prompts.parts)
    sides: tuple[set[tuple[int, ...]], ...] = (set(), set())
    for part, mark in zip(prompts.parts, marks, strict=True):
        sides[int(prompts.labels[part.start])].update(map(tuple, mark.tolist()))
    both = sides[POSITIVE] & sides[NEGATIVE]
    if both:
        point = ", ".join(f"{x:.1f}" for x in grid.to_ras(np.array(min(both)[::-1], dtype=float)))
        raise ValueError(
            f"A voxel at RAS ({point}) mm is marked both on the object and beside it, by a "
            "scribble that crosses another or a point: remove one of the two."
        )
    return marks


def resolve(prompts: Prompts, volume: Volume) -> ResolvedPrompts:
    """Turn prompts into what engines work with.

    Parameters
    ----------
    prompts : Prompts
        Clicks, scribbles, box.
    volume : Volume
        What was clicked on.

    Returns
    -------
    ResolvedPrompts

    Raises
    ------
    ValueError
        If there is neither anything positive nor a box, something lies outside the volume, a
        positive point outside the box, or one voxel is marked as both on the object and beside it.
    """
    grid = volume.grid
    prompts.checked_voxels(grid)
    parts = list(_parts(prompts, volume))
    if not (prompts.labels == POSITIVE).any():
        parts.insert(0, _box_part(prompts, volume, [part.mark for part in parts]))
    clicks = Prompts(
        np.concatenate([part.points_ras for part in parts]),
        np.concatenate([np.full(len(part.voxels_kji), part.label) for part in parts]),
        prompts.box_ras,
    )
    marks: list[IndexArray] = []
    for part in parts:
        marks += [*np.split(part.voxels_kji, len(part.voxels_kji))[:-1], part.mark]
    stops = np.cumsum([len(part.voxels_kji) for part in parts]).tolist()
    spans = tuple(slice(a, b) for a, b in itertools.pairwise([0, *stops]))
    voxels = np.concatenate([part.voxels_kji for part in parts])
    return ResolvedPrompts(clicks, voxels, tuple(marks), spans)


@dataclass(frozen=True, eq=False)
class _Part:
    """The clicks that stand for one click, scribble or box, and the voxels it marks."""

    points_ras: npt.NDArray[np.float64]
    voxels_kji: IndexArray
    mark: IndexArray
    label: int


def _parts(prompts: Prompts, volume: Volume) -> Iterator[_Part]:
    """Give the clicks that stand for each part of the prompts."""
    grid = volume.grid
    for part, mark in zip(prompts.parts, marked_voxels(prompts, grid), strict=True):
        points, label = prompts.points_ras[part], int(prompts.labels[part.start])
        if prompts.scribbles[part.start] == CLICK:
            yield _Part(points, mark, mark, label)
            continue
        voxels = _spread(points, mark, volume)
        yield _Part(grid.to_ras(voxels[:, ::-1].astype(np.float64)), voxels, mark, label)


def _passed(points_ras: npt.NDArray[np.float64], grid: VolumeGrid) -> IndexArray:
    """List the voxels that a polyline passes, each once."""
    ijk = grid.to_ijk(points_ras)
    samples = [ijk[:1]]
    for start, end in itertools.pairwise(ijk):
        n_steps = max(int(np.ceil(2 * np.abs(end - start).max())), 1)
        samples.append(start + (end - start) * np.linspace(0, 1, n_steps + 1)[1:, None])
    kji = np.rint(np.concatenate(samples)).astype(np.intp)[:, ::-1]
    _, first = np.unique(kji, axis=0, return_index=True)
    return np.asarray(kji[np.sort(first)], dtype=np.intp)


def _spread(points_ras: npt.NDArray[np.float64], mark: IndexArray, volume: Volume) -> IndexArray:
    """Choose the voxels of a scribble that serve as clicks, the most typical density first."""
    length_mm = float(np.linalg.norm(np.diff(points_ras, axis=0), axis=1).sum())
    wanted = round(length_mm / (CLICK_STEP * reference_length_mm(volume.grid)))
    n_clicks = min(max(wanted, 1), MAX_CLICKS, len(mark))
    chosen = mark[((np.arange(n_clicks) + 0.5) * len(mark) / n_clicks).astype(np.intp)]
    typical = float(np.median(volume.array[tuple(mark.T)]))
    around = [tuple(slice(max(n - 1, 0), n + 2) for n in voxel) for voxel in chosen]
    deviation = [abs(float(volume.array[box].mean()) - typical) for box in around]
    return np.asarray(chosen[np.argsort(deviation, kind="stable")], dtype=np.intp)


def _box_part(prompts: Prompts, volume: Volume, barred: list[IndexArray]) -> _Part:
    """Put a click into a box that is all there is."""
    if prompts.box_ras is None:
        raise ValueError("There is no box to put a click in.")
    grid = volume.grid
    low, high = prompts.box_ras
    centre = (low + high) / 2
    if not grid.contains(centre):
        point = ", ".join(f"{x:.1f}" for x in centre)
        raise ValueError(
            f"The middle of the box, RAS ({point}) mm, lies outside the volume: put the box around "
            "the object, or a point on it."
        )
    candidates = _typical_voxels(prompts.box_ras, volume)
    taken = {tuple(voxel) for mark in barred for voxel in mark.tolist()}
    free = np.array([voxel for voxel in candidates.tolist() if tuple(voxel) not in taken])
    if not len(free):
        raise ValueError(
            "Every voxel in the middle of the box is marked as beside the object: put a point on "
            "the object."
        )
    points = grid.to_ras(free[:, ::-1].astype(np.float64))
    nearest = int(np.linalg.norm(points - centre, axis=1).argmin())
    voxel = free[nearest : nearest + 1]
    return _Part(points[nearest : nearest + 1], voxel, voxel, POSITIVE)


def _typical_voxels(box_ras: npt.NDArray[np.float64], volume: Volume) -> IndexArray:
    """List voxels in the middle of a box whose density is near the median there."""
    grid = volume.grid
    low, high = box_ras
    margin = (high - low) * (1 - MIDDLE) / 2
    third = np.array([low + margin, high - margin])
    corners = [
        [third[a, 0], third[b, 1], third[c, 2]] for a, b, c in itertools.product((0, 1), repeat=3)
    ]
    kji = grid.to_ijk(corners)[:, ::-1]
    lower = np.clip(np.floor(kji.min(axis=0)), 0, grid.shape_kji).astype(np.intp)
    upper = np.clip(np.ceil(kji.max(axis=0)) + 1, 0, grid.shape_kji).astype(np.intp)
    part = lattice_grid(grid, lower, upper - lower)
    inside = Prompts(box_ras=third).inside_box(part)
    values = volume.array[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
    if not inside.any():
        middle = np.rint(grid.to_ijk((low + high) / 2)[::-1])
        return middle.astype(np.intp)[None]
    deviation = np.abs(values - np.median(values[inside]))
    near = inside & (deviation <= np.median(deviation[inside]))
    return np.asarray(np.argwhere(near) + lower, dtype=np.intp)
