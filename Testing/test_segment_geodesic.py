"""Geodesic distance: against another library's Dijkstra, straight lines, and its invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from NASAM3DLib.segment.geodesic import geodesic_distance

SHEARED_MM = np.array([[3.0, 0.2, 0.0], [0.0, 2.0, 0.5], [0.3, 0.0, 1.0]])


def reference(cost: np.ndarray, seed: tuple[int, int, int], axes_mm: np.ndarray) -> np.ndarray:
    """Distances by SciPy's Dijkstra on the explicit graph of 26 neighbours."""
    index = np.arange(cost.size).reshape(cost.shape)
    rows, columns, weights = [], [], []
    for step in itertools.product((-1, 0, 1), repeat=3):
        if not any(step):
            continue
        here = tuple(
            slice(max(0, -s), n - max(0, s)) for s, n in zip(step, cost.shape, strict=True)
        )
        there = tuple(
            slice(max(0, s), n + min(0, s)) for s, n in zip(step, cost.shape, strict=True)
        )
        length = np.linalg.norm(np.array(step) @ axes_mm)
        rows.append(index[here].ravel())
        columns.append(index[there].ravel())
        weights.append((0.5 * (cost[here] + cost[there]) * length).ravel())
    graph = coo_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(cost.size, cost.size),
    ).tocsr()
    return dijkstra(graph, indices=index[seed]).reshape(cost.shape)


def random_cost(seed: int, shape: tuple[int, int, int] = (7, 8, 9)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.03, 1.03, shape).astype(np.float32)


@given(seed=st.integers(0, 2**31), axes=st.sampled_from([np.eye(3), SHEARED_MM]))
def test_it_equals_dijkstra_on_the_explicit_graph(seed, axes):
    cost = random_cost(seed)
    start = tuple(int(n) for n in np.random.default_rng(seed).integers(0, cost.shape))
    distance = geodesic_distance(cost, [start], axes_mm=axes, budget=1000.0)
    np.testing.assert_allclose(distance, reference(cost, start, axes), rtol=1e-5, atol=1e-6)


def test_along_an_axis_of_uniform_cost_it_is_cost_times_length():
    cost = np.full((1, 1, 20), 0.25, dtype=np.float32)
    distance = geodesic_distance(cost, [(0, 0, 0)], axes_mm=3 * np.eye(3), budget=100.0)
    np.testing.assert_allclose(distance[0, 0], 0.25 * 3 * np.arange(20), rtol=1e-6)


def test_beyond_the_budget_it_is_infinite_and_below_it_unchanged():
    cost = random_cost(1)
    whole = geodesic_distance(cost, [(3, 4, 4)], axes_mm=np.eye(3), budget=1000.0)
    budget = float(np.median(whole))
    part = geodesic_distance(cost, [(3, 4, 4)], axes_mm=np.eye(3), budget=budget)
    np.testing.assert_array_equal(part, np.where(whole <= np.float32(budget), whole, np.inf))
    assert np.isinf(part).any()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flip", [False, True])
def test_permuted_and_mirrored_arrays_give_the_same_bytes(order, flip):
    cost = random_cost(2, (9, 9, 9))
    seeds = np.array([(2, 3, 4), (7, 1, 5)])
    axes = np.diag([3.0, 2.0, 1.0])
    expected = geodesic_distance(cost, seeds, axes_mm=axes, budget=5.0)
    turn = (lambda a: a[::-1, ::-1]) if flip else (lambda a: a)
    moved = seeds[:, list(order)]
    if flip:
        moved[:, :2] = 8 - moved[:, :2]
    got = geodesic_distance(
        np.ascontiguousarray(turn(cost.transpose(order))),
        moved,
        axes_mm=axes[list(order)],
        budget=5.0,
    )
    np.testing.assert_array_equal(got, turn(expected.transpose(order)))


def test_more_seeds_never_lengthen_a_path():
    cost = random_cost(3)
    one = geodesic_distance(cost, [(0, 0, 0)], axes_mm=np.eye(3), budget=50.0)
    two = geodesic_distance(cost, [(0, 0, 0), (6, 7, 8)], axes_mm=np.eye(3), budget=50.0)
    assert (two <= one).all()
    assert two[6, 7, 8] == 0 < one[6, 7, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds_kji": np.zeros((0, 3), int)}, "shape \\(n, 3\\) with n >= 1"),
        ({"seeds_kji": [(0, 0, 9)]}, "inside the cost volume of shape \\(7, 8, 9\\)"),
        ({"cost": np.zeros((7, 8, 9), np.float32)}, "positive and finite per mm.*small constant"),
        ({"budget": np.inf}, "budget must be positive and finite, got inf"),
    ],
)
def test_what_has_no_distance_is_refused(change, message):
    arguments = {"cost": random_cost(4), "seeds_kji": [(0, 0, 0)], "budget": 1.0} | change
    cost, seeds = arguments.pop("cost"), arguments.pop("seeds_kji")
    with pytest.raises(ValueError, match=message):
        geodesic_distance(cost, seeds, axes_mm=np.eye(3), **arguments)
