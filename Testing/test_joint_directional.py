"""Directional total variation: its limits, its minimum, its energy, and the guide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.joint.cutting import cut_up
from NASAM3DLib.joint.directional import (
    Course,
    DirectionalProx,
    GuidedProblem,
    as_guide,
    directional_variation,
    no_guide,
)
from NASAM3DLib.joint.guide import EDGE_STEP, LONGEST, guide_of
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.iterative import IterationState, TotalVariationProblem
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.total_variation import TotalVariationProx
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

SHAPE = (9, 12, 7)
GRID = VolumeGrid.centred((14, 18, 16), 8.0)
GEOMETRY = circular_scan(12, detector=(24, 30), pixel_mm=10.0)
SCAN = ProjectionSet(
    project(
        [
            Ellipsoid(0.02, (50.0, 40.0, 45.0), (0.0, 0.0, 0.0)),
            Ellipsoid(0.02, (14.0, 14.0, 14.0), (15.0, 10.0, -8.0)),
        ],
        GEOMETRY,
    ),
    GEOMETRY,
)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 1.5, SHAPE).astype(np.float32)


def random_guide(seed: int = 1, length: float = 0.95) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(3, *SHAPE))
    return as_guide(length * vectors / np.linalg.norm(vectors, axis=0))


def denoised(b: np.ndarray, guide: np.ndarray, weight: float, n_iterations: int) -> np.ndarray:
    prox = DirectionalProx(np.zeros((3, *b.shape), dtype=np.int16), guide)
    return prox.apply(b, weight, n_iterations=n_iterations).copy()


def denoising_energy(x: np.ndarray, b: np.ndarray, guide: np.ndarray, weight: float) -> float:
    return 0.5 * float(np.sum((x - b) ** 2, dtype=np.float64)) + weight * directional_variation(
        x, guide
    )


def test_without_a_guide_it_is_the_usual_total_variation() -> None:
    usual = TotalVariationProx(SHAPE).apply(image(), 0.1, n_iterations=60)
    np.testing.assert_allclose(denoised(image(), no_guide(SHAPE), 0.1, 60), usual, atol=2e-4)


def test_no_weight_changes_nothing() -> None:
    np.testing.assert_array_equal(denoised(image(), random_guide(), 0.0, 3), image())
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        denoised(image(), random_guide(), -1.0, 3)


def test_the_result_is_a_minimum() -> None:
    b, guide = image(), random_guide()
    best = denoised(b, guide, 0.1, 300)
    lowest = denoising_energy(best, b, guide, 0.1)
    assert lowest < denoising_energy(b, b, guide, 0.1)
    assert lowest <= denoising_energy(denoised(b, no_guide(SHAPE), 0.1, 300), b, guide, 0.1)
    random = np.random.default_rng(2)
    for size in (1e-3, 1e-2, 1e-1):
        moved = np.maximum(best + size * random.normal(size=SHAPE), 0)
        assert lowest < denoising_energy(moved, b, guide, 0.1) + 1e-6


def test_values_pass_across_the_guide_and_not_along_it() -> None:
    step = np.ones(SHAPE, dtype=np.float32)
    step[5:] = 2.0
    across = np.zeros((3, *SHAPE))
    across[0] = LONGEST
    along = np.roll(across, 1, axis=0)
    assert directional_variation(step, as_guide(across)) < 0.12 * directional_variation(
        step, no_guide(SHAPE)
    )
    assert directional_variation(step, as_guide(along)) == pytest.approx(
        directional_variation(step, no_guide(SHAPE))
    )
    heights = [np.ptp(denoised(step, as_guide(g), 0.5, 200)) for g in (across, along)]
    assert heights[0] > 0.85
    assert heights[1] < 0.8


def test_a_constant_has_no_variation_even_at_the_border() -> None:
    flat = np.full(SHAPE, 0.7, dtype=np.float32)
    assert directional_variation(flat, random_guide()) == 0
    np.testing.assert_allclose(denoised(flat, random_guide(), 0.3, 20), flat, atol=1e-6)


def test_a_guide_longer_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at most one long, got 2"):
        as_guide(np.stack([np.full(SHAPE, 2.0), np.zeros(SHAPE), np.zeros(SHAPE)]))


WEIGHTS = np.random.default_rng(3).uniform(0.2, 2.0, SCAN.projections.shape).astype(np.float32)


@pytest.mark.parametrize("scan", [SCAN, replace(SCAN, weights=WEIGHTS)], ids=["even", "weighted"])
def test_the_problem_without_a_guide_is_the_usual_problem(scan: ProjectionSet) -> None:
    phases = (Phase(4, 6), Phase(12, 4))
    usual = TotalVariationProblem(scan, GRID).solve(1e-3, phases)
    state = IterationState.starting(GRID)
    problem = GuidedProblem(scan, GRID)
    problem.solve(Course(1e-3, phases), no_guide(state.volume.shape), state=state)
    np.testing.assert_allclose(state.volume.T, usual, atol=2e-3 * float(usual.max()))


def test_weights_count_in_the_energy() -> None:
    zero, guide = np.zeros(GRID.shape_kji), no_guide(GRID.shape_kji[::-1])
    scan = replace(SCAN, weights=WEIGHTS)
    expected = 0.5 * np.sum(WEIGHTS * SCAN.projections**2, dtype=np.float64)
    assert GuidedProblem(scan, GRID).energy(zero, guide, strength=1.0) == pytest.approx(expected)


def test_the_energy_falls_round_by_round() -> None:
    problem = GuidedProblem(SCAN, GRID)
    state = IterationState.starting(GRID)
    # All views in every step: then nothing but the problem itself moves the volume.
    course = Course(1e-2, (Phase(12, 4),))
    guide = random_guide_of(state.volume.shape)
    energies = [problem.energy(state.volume.T, guide, strength=1e-2)]
    for _ in range(4):
        state.n_steps = 0
        problem.solve(course, guide, state=state)
        energies.append(problem.energy(state.volume.T, guide, strength=1e-2))
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < 0.05 * energies[0]


def random_guide_of(shape: tuple[int, ...]) -> np.ndarray:
    vectors = np.random.default_rng(5).normal(size=(3, *shape))
    return as_guide(0.9 * vectors / np.linalg.norm(vectors, axis=0))


def test_a_cancelled_step_leaves_the_state_whole() -> None:
    problem, state = GuidedProblem(SCAN, GRID), IterationState.starting(GRID)
    guide, course = no_guide(state.volume.shape), Course(1e-3, (Phase(4, 3),))
    whole = IterationState.starting(GRID)
    problem.solve(course, guide, state=whole)
    calls = 0

    def stop(_: str, __: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise Cancelled

    with pytest.raises(Cancelled):
        problem.solve(course, guide, state=state, progress=stop)
    assert state.is_whole
    assert 0 < state.n_steps < 9
    problem.solve(course, guide, state=state)
    assert state.volume.tobytes() == whole.volume.tobytes()


def test_the_guide_points_out_of_the_mask() -> None:
    soft = np.zeros((12, 12, 12), dtype=np.float32)
    soft[3:9, 3:9, 3:9] = 1
    guide = guide_of(np.zeros((24, 24, 24), dtype=np.float32), soft) / 127
    length = np.linalg.norm(guide, axis=0)
    # In (i, j, k): faces at fine planes 6 and 18, the middle and the corners are free.
    assert length[5, 12, 12] > 0.9
    assert abs(guide[0, 5, 12, 12]) == pytest.approx(length[5, 12, 12])
    assert guide[0, 5, 12, 12] * guide[0, 17, 12, 12] < 0
    assert length[12, 12, 12] < 0.1
    assert length[0, 0, 0] == 0


def test_an_unsure_boundary_and_an_uncertain_edge_steer_less() -> None:
    hard = np.zeros((12, 12, 12), dtype=np.float32)
    hard[6:] = 1
    soft = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32)[:, None, None], (12, 12, 12))
    nothing = np.zeros((24, 24, 24), dtype=np.float32)
    hard_xi, soft_xi = (guide_of(nothing, m)[:, 12, 12, 11] / 127 for m in (hard, 0.2 * soft))
    assert np.linalg.norm(hard_xi) > 0.9 > 0.5 > np.linalg.norm(soft_xi)
    edge = np.zeros((24, 24, 24), dtype=np.float32)
    edge[12:] = 10 * EDGE_STEP
    no_mask = np.zeros((12, 12, 12), dtype=np.float32)
    spread = np.full((12, 12, 12), 10 * EDGE_STEP, dtype=np.float32)
    sure, unsure = guide_of(edge, no_mask), guide_of(edge, no_mask, uncertainty=spread)
    assert abs(sure[0, 11, 12, 12]) > 2 * abs(int(unsure[0, 11, 12, 12])) > 0


def test_the_guide_has_no_seams() -> None:
    """An even slope has the same direction everywhere, also where one slab meets the next."""
    slope = np.broadcast_to(np.arange(40.0)[:, None, None] * EDGE_STEP, (40, 6, 8))
    spread = np.full((4, 3, 20), EDGE_STEP, dtype=np.float32)
    no_mask = np.zeros((4, 3, 20), dtype=np.float32)
    for uncertainty in (None, spread):
        guide = guide_of(slope.astype(np.float32), no_mask, uncertainty=uncertainty)
        assert guide.shape == (3, 40, 6, 8)
        assert np.unique(guide[0, 6:-6]).tolist() == [int(127 * LONGEST / np.sqrt(2))]
        assert not guide[1:].any()
        assert not guide[0, -1].any()


def test_cutting_up_repeats_each_voxel() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    fine = cut_up(array)
    assert fine.shape == (8, 6, 4)
    assert fine.flags.c_contiguous
    for first in np.ndindex(2, 2, 2):
        np.testing.assert_array_equal(fine[first[0] :: 2, first[1] :: 2, first[2] :: 2], array.T)
