"""Pixels, rows and columns of the detector that do not measure.

Only what is one or two pixels wide and cannot be anatomy is called a defect: a pixel that does not
follow its neighbours from view to view, or one that sticks out of all of them in every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.projections import ProjectionSet

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

FEWEST_VIEWS = 8
"""Below, the change from view to view says too little."""

STUCK_SHARE = 0.1
"""Change over the views, relative to the neighbours', below which a pixel is stuck."""

NOISY_FACTOR = 5.0
"""Change over the views, relative to the neighbours', above which a pixel flickers."""

DEVIATION_SIGMAS, DEVIATION_SHARE = 12.0, 0.04
"""Deviation from all neighbours, in deviations usual on this detector and of the peak."""

SHARPNESS = 0.6
"""Part of a deviation that must lie within one pixel: the shadow of a small ball is rounder."""

LINE_SHARE = 0.8
"""Part of a row or column that must be defective for all of it to count."""

PEAK_PERCENTILE = 99.5
SMALLEST_DETECTOR = 8
LOOKS = 3


@dataclass(frozen=True, eq=False)
class Defects:
    """What does not measure.

    Parameters
    ----------
    mask : ndarray, shape (n_rows, n_cols), bool
        True for pixels to be replaced.
    rows, columns : tuple of int
        Rows and columns that are defective as a whole, included in the mask.
    """

    mask: BoolArray
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def n_single(self) -> int:
        """Number of defective pixels outside of defective rows and columns."""
        alone = self.mask.copy()
        alone[list(self.rows)] = False
        alone[:, list(self.columns)] = False
        return int(np.count_nonzero(alone))


def find_defects(projection_set: ProjectionSet) -> Defects:
    """Find dead, stuck, flickering and wrongly scaled pixels, rows and columns.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals of at least eight views; with fewer nothing is found.

    Returns
    -------
    Defects

    Notes
    -----
    Of each pixel's mean and standard deviation s over the views: *stuck* is s below a tenth of both
    neighbouring pairs' s, *flickering* five times above all of them, *off* a mean that differs from
    all eight neighbours in the same direction by more than 12 times the usual difference and 4 % of
    the strongest attenuation, 60 % of it within one pixel. A row or column is defective if 80 % of
    it differs from the rows or columns beside it.
    """
    mask = np.zeros(projection_set.geometry.detector_shape, dtype=bool)
    rows: set[int] = set()
    columns: set[int] = set()
    if projection_set.n_views < FEWEST_VIEWS or min(mask.shape) < SMALLEST_DETECTOR:
        return Defects(mask, (), ())
    # A defect may hide another beside it, so what was found is repaired before the next look.
    p = projection_set.projections
    for _ in range(LOOKS):
        found, found_rows, found_columns = _look(p)
        if not (found & ~mask).any():
            break
        mask |= found
        rows |= set(found_rows)
        columns |= set(found_columns)
        p = repaired(projection_set.projections, mask)
    return Defects(mask, tuple(sorted(rows)), tuple(sorted(columns)))


def repaired(
    projections: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Interpolate across defective pixels, the same ones in all views.

    Parameters
    ----------
    projections : ndarray, shape (n_views, n_rows, n_cols), float32
        Line integrals.
    mask : ndarray, shape (n_rows, n_cols), bool
        True for pixels to be replaced.

    Returns
    -------
    ndarray, shape (n_views, n_rows, n_cols), float32
        A copy. Each defective pixel lies on the straight line between the nearest living ones in
        its row or its column, whichever are closer together; at an edge it repeats the nearest.

    Raises
    ------
    ValueError
        If all pixels are defective.
    """
    out = projections.copy()
    # Where a dead row crosses a dead column only what was repaired before is left to use.
    rows_dead, columns_dead = np.all(mask, axis=1), np.all(mask, axis=0)
    crossing = np.outer(rows_dead, columns_dead)
    if mask.all():
        raise ValueError("All pixels are marked as defective: nothing is left to repair them from.")
    for row, column in np.argwhere(mask & ~crossing):
        along_row = _living_pair(mask[row], int(column))
        along_column = _living_pair(mask[:, column], int(row))
        if along_column is None or (along_row is not None and along_row[2] <= along_column[2]):
            image, pair = projections[:, row], along_row
        else:
            image, pair = projections[:, :, column], along_column
        if pair is not None:
            lower, upper, _, weight = pair
            step = image[:, upper] - image[:, lower]
            out[:, row, column] = image[:, lower] + np.float32(weight) * step
    return repaired(out, crossing) if crossing.any() else out


def _living_pair(is_dead: BoolArray, place: int) -> tuple[int, int, int, float] | None:
    """Give the living pixels on both sides of a place, their distance and the second's weight."""
    living = np.flatnonzero(~is_dead)
    if not living.size:
        return None
    split = int(np.searchsorted(living, place))
    if split == 0 or split == living.size:
        # One-sided: a pair across the edge is worth more, so this counts as farther apart.
        nearest = int(living[min(split, living.size - 1)])
        return nearest, nearest, 2 * abs(nearest - place) + 1, 0.0
    lower, upper = int(living[split - 1]), int(living[split])
    return lower, upper, upper - lower, (place - lower) / (upper - lower)


def _look(
    p: npt.NDArray[np.float32],
) -> tuple[BoolArray, tuple[int, ...], tuple[int, ...]]:
    """Find defects that stand out as they are: mask, rows and columns."""
    mean = p.mean(axis=0, dtype=np.float64)
    spread = p.std(axis=0, dtype=np.float64)
    peak = float(np.percentile(p[:: max(1, len(p) // 16)], PEAK_PERCENTILE))
    columns = _lines(mean, spread, peak)
    rows = _lines(mean.T, spread.T, peak)
    stuck = _beside(spread, STUCK_SHARE) & _beside(spread.T, STUCK_SHARE).T
    mask = stuck | _flickers(spread) | _sticks_out(mean, peak)
    mask[list(rows)] = True
    mask[:, list(columns)] = True
    return mask, rows, columns


def _pairs_beside(image: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the larger of the two columns to the left and to the right of each pixel."""
    padded = np.pad(image, ((0, 0), (2, 2)), mode="reflect")
    n = image.shape[1]
    left = np.maximum(padded[:, :n], padded[:, 1 : n + 1])
    right = np.maximum(padded[:, 3 : n + 3], padded[:, 4 : n + 4])
    return left, right


def _beside(spread: FloatArray, share: float) -> BoolArray:
    """Tell which pixels change less than a share of what the columns on both sides do."""
    left, right = _pairs_beside(spread)
    return np.asarray(spread < share * np.minimum(left, right))


def _flickers(spread: FloatArray) -> BoolArray:
    """Tell which pixels change much more than all columns and rows beside them."""
    beside = [*_pairs_beside(spread), *(image.T for image in _pairs_beside(spread.T))]
    highest = np.max(beside, axis=0)
    return np.asarray((spread > NOISY_FACTOR * highest) & (highest > 0))


def _neighbours(image: FloatArray) -> FloatArray:
    """Give the eight pixels around each, shape (8, n_rows, n_cols)."""
    padded = np.pad(image, 1, mode="reflect")
    n_rows, n_columns = image.shape
    shifts = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    return np.stack([padded[r : r + n_rows, c : c + n_columns] for r, c in shifts])


def _sticks_out(mean: FloatArray, peak: float) -> BoolArray:
    """Tell which pixels differ sharply from all eight neighbours in one direction."""
    around = _neighbours(mean)
    excess = np.maximum(mean - around.max(axis=0), around.min(axis=0) - mean)
    middle = np.median(around, axis=0)
    usual = float(np.median(np.abs(mean - middle))) / 0.6745
    limit = max(DEVIATION_SIGMAS * usual, DEVIATION_SHARE * peak)
    return np.asarray((excess > limit) & (excess > SHARPNESS * np.abs(mean - middle)))


def _lines(mean: FloatArray, spread: FloatArray, peak: float) -> tuple[int, ...]:
    """Find defective columns, one or two wide."""
    padded = np.pad(mean, ((0, 0), (3, 3)), mode="reflect")
    n = mean.shape[1]
    left = np.median([padded[:, d : d + n] for d in (0, 1, 2)], axis=0)
    right = np.median([padded[:, d : d + n] for d in (4, 5, 6)], axis=0)
    excess = np.maximum(mean - np.maximum(left, right), np.minimum(left, right) - mean)
    usual = float(np.median(np.abs(mean - (left + right) / 2))) / 0.6745
    off = excess > max(DEVIATION_SIGMAS * usual, DEVIATION_SHARE * peak)
    defective = off | _beside(spread, STUCK_SHARE)
    return tuple(int(n) for n in np.flatnonzero(defective.mean(axis=0) >= LINE_SHARE))
