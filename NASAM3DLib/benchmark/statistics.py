"""Means over targets with the intervals that resampling the targets or the cases gives."""

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


def summarise_by_case(
    values: Sequence[float], cases: Sequence[str], *, seed: int = SEED
) -> Summary:
    """Summarise one value per target, with an interval that draws whole cases.

    Parameters
    ----------
    values : sequence of float
        One for each target.
    cases : sequence of str
        The case of each target.
    seed : int
        Decides the resamples.

    Returns
    -------
    Summary
        Mean over the targets.

    Raises
    ------
    ValueError
        If there is no value, one is not finite, or the sequences differ in length.

    Notes
    -----
    Targets of one patient share its noise and its anatomy. So the bootstrap draws cases with
    replacement, each with all of its targets, and takes the mean over the targets drawn: wider than
    :func:`summarise` where targets of a case are alike, equal to it where each case has one target.
    One case alone has no interval: both ends are the mean.

    References
    ----------
    A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", Cambridge University
    Press, 1997, section 3.8.

    Examples
    --------
    >>> summarise_by_case([0.4, 0.6], ["a", "a"])[1:4] == (0.5, 0.5, 0.5)
    True
    """
    if len(values) != len(cases):
        raise ValueError(f"Every value needs its case, got {len(values)} and {len(cases)}.")
    whole = summarise(values, seed=seed)
    array = np.asarray(values, dtype=np.float64)
    names = list(dict.fromkeys(cases))
    member = np.array([[case == name for case in cases] for name in names])
    sums, counts = member @ array, member.sum(axis=1)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(names), (N_RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return whole._replace(low=min(float(low), whole.mean), high=max(float(high), whole.mean))
