"""Intervals that draw whole cases."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.benchmark.statistics import summarise, summarise_by_case


def test_one_target_per_case_gives_the_bootstrap_of_targets():
    values = np.random.default_rng(0).random(20)
    cases = [str(n) for n in range(20)]
    assert summarise_by_case(list(values), cases) == pytest.approx(summarise(values))


def test_equal_targets_within_cases_give_the_interval_of_the_cases():
    of_cases = [0.2, 0.5, 0.6, 0.9]
    values = [value for value in of_cases for _ in range(5)]
    cases = [str(n) for n in range(4) for _ in range(5)]
    together, alone = summarise_by_case(values, cases), summarise(of_cases)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    apart = summarise(values)
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_large_samples_meet_the_normal_law_of_the_cluster_mean():
    rng = np.random.default_rng(1)
    of_cases = rng.normal(0.5, 0.1, 200)
    values = np.repeat(of_cases, 3) + rng.normal(0, 0.02, 600)
    cases = [str(n) for n in range(200) for _ in range(3)]
    summary = summarise_by_case(list(values), cases)
    half = 1.96 * values.reshape(200, 3).mean(axis=1).std() / np.sqrt(200)
    assert summary.high - summary.mean == pytest.approx(half, rel=0.1)
    assert summary.mean - summary.low == pytest.approx(half, rel=0.1)


def test_large_cases_weigh_as_many_targets_as_they_have():
    values, cases = [1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]
    summary = summarise_by_case(values, cases)
    assert summary.mean == 0.75
    assert (summary.low, summary.high) == (0.0, 1.0)


def test_one_case_has_no_interval_and_gaps_are_refused():
    summary = summarise_by_case([0.2, 0.8], ["a", "a"])
    assert (summary.low, summary.mean, summary.high) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="needs its case, got 2 and 1"):
        summarise_by_case([0.2, 0.8], ["a"])
    with pytest.raises(ValueError, match="finite values"):
        summarise_by_case([], [])
