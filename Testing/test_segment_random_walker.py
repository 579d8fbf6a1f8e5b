"""Random walker: against a dense solution of its equations, and analytic cases."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.segment.random_walker import FREE, edge_conductances, random_walker

SHAPE = (4, 5, 6)


def problem(seed: int) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Random edges, seeds and prior."""
    rng = np.random.default_rng(seed)
    feature = rng.normal(0, 0.1, SHAPE).astype(np.float32)
    conductances = edge_conductances(feature, beta=200.0, relative_spacing=(1.3, 1.0, 0.7))
    seeds = np.full(SHAPE, FREE, dtype=np.int8)
    seeds[0, 0, 0], seeds[3, 4, 5], seeds[2, 2, 2] = 1, 0, 1
    return conductances, seeds, rng.uniform(0, 1, SHAPE).astype(np.float32)


def dense_solution(conductances, seeds, prior, gamma) -> np.ndarray:
    """The same minimum by forming the matrix and solving it."""
    n = seeds.size
    index = np.arange(n).reshape(seeds.shape)
    matrix = np.diag(np.full(n, gamma, dtype=np.float64))
    for axis, weight in enumerate(conductances):
        ends = np.moveaxis(index, axis, 0)
        for a, b in zip(ends[:-1].ravel(), ends[1:].ravel(), strict=True):
            w = weight.ravel()[a]
            matrix[[a, b], [a, b]] += w
            matrix[[a, b], [b, a]] -= w
    right = gamma * prior.ravel().astype(np.float64)
    fixed = np.flatnonzero(seeds.ravel() != FREE)
    matrix[fixed] = np.eye(n)[fixed]
    right[fixed] = seeds.ravel()[fixed]
    return np.linalg.solve(matrix, right).reshape(seeds.shape)


@pytest.mark.parametrize("gamma", [0.0, 0.001, 0.5])
def test_it_solves_its_equations(gamma):
    conductances, seeds, prior = problem(0)
    got = random_walker(conductances, seeds, prior=prior, prior_weight=gamma, tolerance=1e-6)
    expected = dense_solution(conductances, seeds, prior, gamma)
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_seeds_keep_their_values_exactly():
    conductances, seeds, prior = problem(1)
    got = random_walker(conductances, seeds, prior=prior, prior_weight=0.02)
    np.testing.assert_array_equal(got[seeds != FREE], seeds[seeds != FREE])
    assert 0 <= got.min() <= got.max() <= 1


def test_a_uniform_bar_between_two_seeds_is_a_straight_line():
    conductances = edge_conductances(np.zeros((1, 1, 11), np.float32), beta=1.0)
    seeds = np.full((1, 1, 11), FREE, dtype=np.int8)
    seeds[0, 0, 0], seeds[0, 0, -1] = 0, 1
    prior = np.full(seeds.shape, 0.5, dtype=np.float32)
    got = random_walker(conductances, seeds, prior=prior, prior_weight=0.0, tolerance=1e-7)
    np.testing.assert_allclose(got[0, 0], np.linspace(0, 1, 11), atol=1e-4)


def test_an_overwhelming_prior_is_the_answer():
    conductances, seeds, prior = problem(2)
    got = random_walker(conductances, seeds, prior=prior, prior_weight=1e6)
    np.testing.assert_allclose(got[seeds == FREE], prior[seeds == FREE], atol=1e-3)


def test_edges_weigh_less_across_a_difference_and_over_a_distance():
    feature = np.zeros((2, 2, 3), np.float32)
    feature[..., 2] = 0.1
    along_k, along_j, along_i = edge_conductances(
        feature, beta=100.0, relative_spacing=(2.0, 1.0, 0.5)
    )
    assert along_k[0, 0, 0] == pytest.approx((1 + 1e-5) / 4)
    assert along_j[0, 0, 0] == pytest.approx(1 + 1e-5)
    assert along_i[0, 0, 0] == pytest.approx(4 * (1 + 1e-5))
    assert along_i[0, 0, 1] == pytest.approx(4 * (np.exp(-1) + 1e-5))
    assert not along_k[1].any()
    assert not along_i[..., 2].any()


def test_without_a_prior_seeds_of_both_kinds_are_needed():
    conductances, seeds, prior = problem(3)
    seeds[seeds == 0] = FREE
    with pytest.raises(ValueError, match="seeds of both kinds, missing: \\['background'\\]"):
        random_walker(conductances, seeds, prior=prior, prior_weight=0.0)


def test_arrays_of_different_shapes_are_refused():
    conductances, seeds, prior = problem(4)
    with pytest.raises(ValueError, match="must have one shape"):
        random_walker(conductances, seeds, prior=prior[1:], prior_weight=1.0)
