"""Means over targets with the interval that resampling the targets gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

N_RESAMPLES = 4000
LEVEL = 0.95
SEED = 2026


class Summary(NamedTuple):
    """Mean of some values and how far it can be trusted.

    Parameters
    ----------
    n : int
        Number of values.
    mean, low, high : float
        Mean and ends of its 95 % interval.
    median : float
        Median.
    worst : float
        The least of the values.
    """

    n: int
    mean: float
    low: float
    high: float
    median: float
    worst: float


def summarise(values: Sequence[float] | npt.NDArray[np.float64], *, seed: int = SEED) -> Summary:
    """Summarise one value per target.

    Parameters
    ----------
    values : sequence of float
        One for each target.
    seed : int
        Decides the resamples.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If there is no value, or one is not finite.

    Notes
    -----
    Percentile bootstrap: the ends are the 2.5 and 97.5 percentiles of the means of 4000 samples
    drawn from the values with replacement, moved to the mean where they would exclude it. The
    targets are what is drawn, not voxels or clicks.

    References
    ----------
    B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall, 1993, section
    13.3.

    Examples
    --------
    >>> summary = summarise([0.5, 0.7, 0.9])
    >>> round(summary.mean, 3), summary.low < 0.7 < summary.high
    (0.7, True)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"A summary needs finite values, at least one, got {array.size} of shape "
            f"{array.shape}: leave out what is not defined."
        )
    rng = np.random.default_rng(seed)
    means = array[rng.integers(0, array.size, (N_RESAMPLES, array.size))].mean(axis=1)
    mean = float(array.mean())
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Summary(
        int(array.size),
        mean,
        min(float(low), mean),
        max(float(high), mean),
        float(np.median(array)),
        float(array.min()),
    )
