"""Simulated users, who know the truth and click where the mask is wrong.

Two habits are offered. :func:`random_click` is the protocol of SAM-Med3D's published evaluation;
:func:`centre_click` is a careful user who clicks the middle of what is most wrong, and always does
the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.metrics import check_same_grid, dice
from NASAM3DLib.evaluate.surfaces import hd95_mm
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

logger = logging.getLogger(__name__)


class Click(NamedTuple):
    """One simulated click.

    Parameters
    ----------
    point_ras : ndarray, shape (3,), float64
        Centre of the clicked voxel, mm.
    positive : bool
        Whether it is placed on the object.
    """

    point_ras: npt.NDArray[np.float64]
    positive: bool


ClickStrategy = Callable[[Mask | None, Mask], Click | None]
"""Given the last prediction (None before the first click) and the truth, the next click or None."""


class Segmenter(Protocol):
    """What :func:`click_session` asks of an engine."""

    def set_volume(self, volume: Volume) -> None:
        """Take the volume to segment.

        Parameters
        ----------
        volume : Volume
            What the user sees.
        """

    def predict(self, prompts: Prompts) -> Mask:
        """Give the mask for all prompts so far.

        Parameters
        ----------
        prompts : Prompts
            All clicks, in order.

        Returns
        -------
        Mask
            On the volume's grid.
        """


@dataclass(frozen=True)
class ClickRecord:
    """How good the mask was after one more click.

    Parameters
    ----------
    n_clicks : int
        Clicks so far.
    point_ras : tuple of float
        The newest click, mm.
    positive : bool
        Whether it was placed on the object.
    dice : float
        Overlap with the truth.
    hd95_mm : float
        Robust Hausdorff distance, mm; NaN where the prediction is empty.
    seconds : float
        Wall time of the prediction.
    """

    n_clicks: int
    point_ras: tuple[float, float, float]
    positive: bool
    dice: float
    hd95_mm: float
    seconds: float


@dataclass(frozen=True)
class ClickSession:
    """What came out of a simulated user's clicks.

    Parameters
    ----------
    records : tuple of ClickRecord
        One for each click.
    masks : tuple of Mask
        The prediction after each click.
    prompts : Prompts
        All clicks, in order.
    """

    records: tuple[ClickRecord, ...]
    masks: tuple[Mask, ...]
    prompts: Prompts


def random_click(
    prediction: Mask | None, target: Mask, *, rng: np.random.Generator
) -> Click | None:
    """Click as SAM-Med3D's evaluation does.

    Parameters
    ----------
    prediction : Mask or None
        The mask so far; None before the first click.
    target : Mask
        The truth.
    rng : numpy.random.Generator
        Source of the choice.

    Returns
    -------
    Click
        A voxel drawn evenly from the target before the first click and when nothing is wrong
        (positive), else from all wrong voxels: positive where the target was missed, negative where
        the prediction exceeds it.

    Raises
    ------
    ValueError
        If the target is empty or the grids differ.
    """
    _check_target(prediction, target)
    wrong = target.array if prediction is None else prediction.array ^ target.array
    if not wrong.any():
        wrong = target.array
    candidates = np.flatnonzero(wrong)
    return _click(target, int(candidates[rng.integers(len(candidates))]))


def centre_click(prediction: Mask | None, target: Mask) -> Click | None:
    """Click the innermost voxel of what is most wrong.

    Parameters
    ----------
    prediction : Mask or None
        The mask so far; None before the first click.
    target : Mask
        The truth.

    Returns
    -------
    Click or None
        The voxel farthest (mm) from the edge of the target, or after the first click of the largest
        connected (through faces) region of missed or exceeding voxels; the first in memory of equal
        ones. None when prediction and target agree.

    Raises
    ------
    ValueError
        If the target is empty or the grids differ.
    """
    _check_target(prediction, target)
    if prediction is None:
        return _click(target, _innermost(target.array, target))
    missed = _largest_component(target.array & ~prediction.array)
    exceeding = _largest_component(prediction.array & ~target.array)
    n_missed, n_exceeding = np.count_nonzero(missed), np.count_nonzero(exceeding)
    if not max(n_missed, n_exceeding):
        return None
    return _click(target, _innermost(missed if n_missed >= n_exceeding else exceeding, target))


def click_session(
    segmenter: Segmenter,
    volume: Volume,
    *,
    target: Mask,
    n_clicks: int = 5,
    strategy: ClickStrategy = centre_click,
) -> ClickSession:
    """Let a simulated user click until satisfied or out of clicks.

    Parameters
    ----------
    segmenter : Segmenter
        The engine under test; it gets the volume and all clicks so far each time.
    volume : Volume
        What the user sees.
    target : Mask
        What the user wants, on the volume's grid.
    n_clicks : int
        Number of clicks.
    strategy : callable
        The user's habit: :func:`centre_click` or ``partial(random_click, rng=...)``.

    Returns
    -------
    ClickSession
        With fewer clicks than asked for only where the strategy found nothing to correct.

    Raises
    ------
    ValueError
        If the target is empty, not on the volume's grid, or no click was asked for.
    """
    if n_clicks < 1:
        raise ValueError(f"A session needs at least one click, got n_clicks = {n_clicks}.")
    if not volume.grid.same_as(target.grid):
        raise ValueError(
            f"The target must lie on the volume's grid ({volume.grid}), got {target.grid}: use "
            "resample_mask first."
        )
    segmenter.set_volume(volume)
    prompts, records, masks = Prompts(), list[ClickRecord](), list[Mask]()
    for _ in range(n_clicks):
        click = strategy(masks[-1] if masks else None, target)
        if click is None:
            logger.info("Nothing left to correct after %d clicks.", len(records))
            break
        prompts = prompts.with_point(click.point_ras, positive=click.positive)
        start = time.perf_counter()
        masks.append(segmenter.predict(prompts))
        seconds = time.perf_counter() - start
        records.append(_record(click, (masks[-1], target), n_clicks=len(prompts), seconds=seconds))
    return ClickSession(tuple(records), tuple(masks), prompts)


def _record(
    click: Click, masks: tuple[Mask, Mask], *, n_clicks: int, seconds: float
) -> ClickRecord:
    """Measure the mask after a click against the target."""
    mask, target = masks
    distance = hd95_mm(mask, target) if mask.n_voxels else float("nan")
    right, anterior, superior = (float(x) for x in click.point_ras)
    overlap = dice(mask, target)
    point = (right, anterior, superior)
    return ClickRecord(n_clicks, point, click.positive, overlap, distance, seconds)


def _check_target(prediction: Mask | None, target: Mask) -> None:
    """Refuse a target that nobody could click on."""
    if not target.n_voxels:
        raise ValueError("The target mask is empty, so there is nothing to click on.")
    if prediction is not None:
        check_same_grid(prediction, target)


def _click(target: Mask, flat_index: int) -> Click:
    """Make the click on one voxel; positive if it belongs to the target."""
    kji = np.unravel_index(flat_index, target.grid.shape_kji)
    point = target.grid.to_ras([float(n) for n in kji[::-1]])
    return Click(point, bool(target.array[kji]))


def _innermost(region: npt.NDArray[np.bool_], target: Mask) -> int:
    """Find the voxel of a region farthest from its edge; beyond the grid is outside."""
    from scipy.ndimage import distance_transform_edt

    box = _bounding_box(region)
    padded = np.pad(region[box], 1)
    depth = distance_transform_edt(padded, sampling=target.grid.spacing_mm[::-1])[1:-1, 1:-1, 1:-1]
    inner = np.unravel_index(int(np.argmax(depth)), depth.shape)
    kji = tuple(int(n) + side.start for n, side in zip(inner, box, strict=True))
    return int(np.ravel_multi_index(kji, region.shape))


def _bounding_box(region: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Give the slices that just hold the region."""
    voxels = np.argwhere(region)
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return k, j, i


def _largest_component(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep the largest part whose voxels connect through faces."""
    from scipy.ndimage import label

    labels, n_components = label(region)
    if n_components < 2:
        return region
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(np.argmax(sizes)))
