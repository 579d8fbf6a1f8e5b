"""What a later click may change: a mask grows by corrections, and none undoes another.

A correcting click (or scribble) changes the mask by three rules:

* In its own direction: a positive one adds voxels, a negative one takes voxels away.
* At its place: of the voxels that a new solution would add or take away, only the connected parts
  that it lies in change, and only as far as four times its distance from the other side of the mask
  before, at least four reference lengths (12 mm). The first correction is free of these two rules:
  with so little known, the whole mask may follow it. After that, a click where the mask is right
  changes nothing.
* Not where another was accepted: a voxel that an earlier correction changed stays, unless it lies
  nearer to the newer one.

Then parts without a positive click and holes without a negative one are cleared, but an accepted
voxel stays whatever happens around it. On 20 generated and 16 real targets these rules took the
clicks that lower Dice by more than 0.02 from 11.1 to 6.5 %, those that lower it by more than 0.1
from 4.0 to 1.5 %, and changed the mean Dice by +0.008 at 3 and 5 clicks and +0.005 at 10. A reach
of three depths lost 0.02 Dice at 5 clicks against 1.3 % fewer drops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import bounding_box, tidied
from NASAM3DLib.segment.fronts import LOCALITY, distances_mm
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.prompts import NEGATIVE, POSITIVE
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.region_box import IndexArray, reference_length_mm, to_triple

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FREE_PARTS = 2
"""Clicks and scribbles up to which the whole mask may follow the newest one."""

MIN_REACH = 4.0
"""How far a correction may reach at least, in reference lengths."""

CERTAIN = (0.02, 0.98)
"""Probability of voxels whose side is not the one that was computed."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What one click or scribble changed, for good.

    Parameters
    ----------
    changed : Patch
        1 where the mask changed, 0 elsewhere.
    clicks_kji : ndarray, shape (n, 3), intp
        Where it lies, in voxels of the volume.
    positive : bool
        Whether it added voxels.
    """

    changed: Patch
    clicks_kji: IndexArray
    positive: bool


@dataclass(frozen=True, eq=False)
class Accepted:
    """A mask after some clicks, and how it came about.

    Parameters
    ----------
    mask : Patch
        1 inside, 0 outside.
    probability : Patch
        Above 1/2 inside.
    corrections : tuple of Correction
        Of all clicks after the first.
    """

    mask: Patch
    probability: Patch
    corrections: tuple[Correction, ...] = ()


def accept(
    before: Accepted, solved: Accepted, prompts: ResolvedPrompts, grid: VolumeGrid
) -> Accepted:
    """Take over of a new solution what the newest click or scribble may change.

    Parameters
    ----------
    before : Accepted
        Mask before it.
    solved : Accepted
        Mask and probability that were computed with it, without regard to what was before.
    prompts : ResolvedPrompts
        All prompts up to the newest one.
    grid : VolumeGrid
        Voxels of the volume.

    Returns
    -------
    Accepted
    """
    part = prompts.parts[-1]
    newest, label = prompts.voxels_kji[part], int(prompts.clicks.labels[part.start])
    inner, outer = prompts.marked(POSITIVE), prompts.marked(NEGATIVE)
    box = _Box.around((before.mask, solved.mask), np.concatenate([inner, outer]))
    old, new = box.cut(before.mask) > 0.5, box.cut(solved.mask) > 0.5
    inner, outer = inner - box.lower_kji, outer - box.lower_kji
    change = new & ~old if label == POSITIVE else old & ~new
    change &= _reached(old if label == POSITIVE else ~old, newest - box.lower_kji, grid)
    marks = np.concatenate(prompts.marks[part]) - box.lower_kji
    own = parts_at(change, marks)
    wanted = new
    if len(prompts.parts) > FREE_PARTS:
        wanted = np.where(own, label == POSITIVE, old)
    kept_in, kept_out = _kept(before.corrections, newest, box, grid)
    kept_in[tuple(outer.T)], kept_out[tuple(inner.T)] = False, False
    # Accepted voxels anchor what they belong to, as clicks do.
    mask = tidied(
        (wanted | kept_in) & ~kept_out,
        np.concatenate([np.argwhere(kept_in), inner]),
        np.concatenate([np.argwhere(kept_out), outer]),
    )
    moved = mask & ~old if label == POSITIVE else old & ~mask
    own = moved if len(prompts.parts) > FREE_PARTS else own & moved
    own[tuple((newest - box.lower_kji).T)] = True
    correction = Correction(_trimmed(own, box.lower_kji), newest, label == POSITIVE)
    return Accepted(
        _trimmed(mask, box.lower_kji),
        _probability(mask, box, solved, before),
        (*before.corrections, correction),
    )


def _reached(other_side: BoolArray, clicks_kji: IndexArray, grid: VolumeGrid) -> BoolArray:
    """Mark what lies within four times the depth of one of some clicks on its side."""
    least_mm = MIN_REACH * reference_length_mm(grid)
    reached = np.zeros(other_side.shape, dtype=np.bool_)
    for voxel in clicks_kji:
        away_mm = distances_mm(voxel, other_side.shape, _axes_mm(grid))
        depth_mm = float(away_mm[other_side].min(initial=np.inf))
        reached |= away_mm <= max(LOCALITY * depth_mm, least_mm)
    return reached


def _axes_mm(grid: VolumeGrid) -> npt.NDArray[np.float64]:
    """Give the displacement of one step along array axes k, j, i (rows), mm."""
    return np.asarray(grid.ijk_to_ras[:3, :3].T[::-1])


def parts_at(change: BoolArray, voxels_kji: IndexArray) -> BoolArray:
    """Find the parts of a change that some voxels lie in.

    Parameters
    ----------
    change : ndarray, shape (k, j, i), bool
        Voxels that would change.
    voxels_kji : ndarray, shape (n, 3), intp
        Clicked or marked voxels.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        6-connected components of the change.
    """
    result = np.zeros_like(change)
    if not change.any():
        return result
    lower, upper = bounding_box(change)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    labels, n_parts = ndimage.label(change[box])
    inside = ((voxels_kji >= lower) & (voxels_kji <= upper)).all(axis=1)
    held = labels[tuple((voxels_kji[inside] - lower).T)]
    chosen = np.zeros(n_parts + 1, dtype=np.bool_)
    chosen[held] = True
    chosen[0] = False
    result[box] = chosen[labels]
    return result


@dataclass(frozen=True, eq=False)
class _Box:
    """A box of the volume's voxels."""

    lower_kji: IndexArray
    shape_kji: tuple[int, int, int]

    @classmethod
    def around(cls, patches: tuple[Patch, ...], voxels_kji: IndexArray) -> _Box:
        """Make the smallest box that holds patches and voxels."""
        ends = [patch.lower_kji + patch.values.shape for patch in patches]
        lower = np.min([voxels_kji.min(axis=0), *(p.lower_kji for p in patches)], axis=0)
        upper = np.max([voxels_kji.max(axis=0) + 1, *ends], axis=0)
        return cls(lower, to_triple(upper - lower))

    def cut(self, patch: Patch) -> FloatArray:
        """Give the values of a patch in the box, 0 where it has none."""
        result = np.zeros(self.shape_kji, dtype=np.float32)
        start = patch.lower_kji - self.lower_kji
        stop = start + patch.values.shape
        low, high = np.clip(start, 0, self.shape_kji), np.clip(stop, 0, self.shape_kji)
        target = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        source = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        result[target] = patch.values[source]
        return result


def _kept(
    corrections: tuple[Correction, ...], newest_kji: IndexArray, box: _Box, grid: VolumeGrid
) -> tuple[BoolArray, BoolArray]:
    """Mark the voxels that earlier corrections added, and those they took, and still hold."""
    kept = np.zeros((2, *box.shape_kji), dtype=np.bool_)
    for correction in corrections:
        patch = correction.changed
        away = _away_mm(patch, newest_kji, grid) < _away_mm(patch, correction.clicks_kji, grid)
        held = Patch(patch.values * ~away, patch.lower_kji)
        kept[int(correction.positive)] |= box.cut(held) > 0.5
        kept[1 - int(correction.positive)] &= ~(box.cut(held) > 0.5)
    return kept[POSITIVE], kept[NEGATIVE]


def _away_mm(patch: Patch, clicks_kji: IndexArray, grid: VolumeGrid) -> FloatArray:
    """Measure the distance of a patch's voxels from the nearest of some clicks."""
    start, shape, axes_mm = patch.lower_kji, patch.values.shape, _axes_mm(grid)
    distances = (distances_mm(voxel - start, shape, axes_mm) for voxel in clicks_kji)
    return np.asarray(np.minimum.reduce(list(distances)), dtype=np.float32)


def _probability(mask: BoolArray, box: _Box, solved: Accepted, before: Accepted) -> Patch:
    """Give a probability that agrees with a mask: the new one where it does, or the one before."""
    low, high = (np.float32(value) for value in CERTAIN)
    result = np.where(mask, high, low)
    for source in (before.probability, solved.probability):
        values = box.cut(source)
        result = np.where((values > 0.5) == mask, values, result)
    return Patch(result.astype(np.float32), box.lower_kji)


def _trimmed(array: BoolArray, lower_kji: IndexArray) -> Patch:
    """Make a patch of the voxels that are set, of which there is at least one."""
    lower, upper = bounding_box(array)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    return Patch(array[box].astype(np.float32), lower_kji + lower)
