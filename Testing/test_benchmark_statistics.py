"""Means over targets and the intervals around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NASAM3DLib.benchmark.statistics import summarise


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_interval_holds_the_mean_and_lies_within_the_values(values: list[float]):
    summary = summarise(values)
    assert summary.n == len(values)
    assert summary.low <= summary.mean <= summary.high
    assert min(values) - 1e-12 <= summary.low
    assert summary.high <= max(values) + 1e-12
    assert summary.worst == min(values)


def test_the_interval_shrinks_as_one_over_the_root_of_n():
    rng = np.random.default_rng(0)
    widths = []
    for n in (16, 64, 256):
        summary = summarise(rng.normal(0.5, 0.1, n))
        widths.append(summary.high - summary.low)
    ratios = np.array(widths[:-1]) / widths[1:]
    np.testing.assert_allclose(ratios, 2, rtol=0.35)


def test_the_interval_is_that_of_the_normal_law_for_many_values():
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    summary = summarise(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert summary.high - summary.mean == pytest.approx(half, rel=0.1)
    assert summary.mean - summary.low == pytest.approx(half, rel=0.1)


def test_it_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    summaries = [summarise(rng.uniform(0, 1, 30)) for _ in range(200)]
    covered = np.mean([s.low <= 0.5 <= s.high for s in summaries])
    # 95 % less the well-known shortfall of small samples; three standard errors are 4.6 %.
    assert 0.88 <= covered <= 0.99


def test_equal_values_have_no_width_and_one_seed_one_answer():
    same = summarise([0.7, 0.7, 0.7])
    assert (same.low, same.high) == pytest.approx((0.7, 0.7))
    values = np.random.default_rng(3).random(20)
    assert summarise(values) == summarise(values)
    assert summarise(values) != summarise(values, seed=1)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [float("inf")]])
def test_undefined_values_are_refused(values: list[float]):
    with pytest.raises(ValueError, match="needs finite values, at least one"):
        summarise(values)
