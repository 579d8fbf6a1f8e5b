"""Rays that are starved of photons are trusted less; without noise all are trusted alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.iterative_torch import TorchTotalVariationProblem
from NASAM3DLib.reconstruct.operator_scale import operator_scale
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase, ReconstructionSettings
from NASAM3DLib.reconstruct.tuning import held_out_error
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.noise import FLOOR_SHARE, noise_variance, noise_weights
from NASAM3DLib.scan.physics import add_noise
from NASAM3DLib.scan.projections import ProjectionSet

GEOMETRY = circular_scan(30, detector=(64, 128), pixel_mm=3.0)
GRID = VolumeGrid.centred((28, 56, 56), 4.0)
# Two hips in a pelvis: along the line through both hardly a photon comes through.
PELVIS = [
    Ellipsoid(0.022, (100.0, 70.0, 45.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.045, (22.0, 22.0, 30.0), (60.0, 0.0, 0.0)),
    Ellipsoid(0.045, (22.0, 22.0, 30.0), (-60.0, 0.0, 0.0)),
    Ellipsoid(-0.004, (12.0, 12.0, 20.0), (0.0, 20.0, 0.0)),
]
EXACT = project(PELVIS, GEOMETRY)


def scan(photons: float | None) -> ProjectionSet:
    """Measure the pelvis."""
    if photons is None:
        return ProjectionSet(EXACT, GEOMETRY)
    return ProjectionSet(add_noise(EXACT, photons, rng=np.random.default_rng(2)), GEOMETRY)


def weighted(projection_set: ProjectionSet) -> ProjectionSet:
    """Add the weights."""
    return replace(projection_set, weights=noise_weights(projection_set))


@pytest.fixture(scope="module")
def starved() -> ProjectionSet:
    return weighted(scan(500.0))


def test_exact_and_mildly_noisy_projections_need_no_weights() -> None:
    assert noise_weights(scan(None)) is None
    assert noise_weights(scan(1e6)) is None
    narrow = circular_scan(4, detector=(2, 8))
    assert noise_weights(ProjectionSet(np.ones(narrow.projections_shape), narrow)) is None


def test_weights_follow_the_variance_of_counting(starved: ProjectionSet) -> None:
    p, peak = EXACT, EXACT.max()
    expected = 1 / (np.exp(p) / 500.0 + (FLOOR_SHARE * peak) ** 2)
    inside = (p > 0.3 * peak) & (p < 0.8 * peak)
    ratio = starved.weights[inside] / expected[inside]
    assert np.std(ratio) / np.mean(ratio) < 0.25
    assert starved.weights[p > 0.03 * peak].mean() == pytest.approx(1.0, rel=0.05)
    # Fewer photons, more difference between thin and thick.
    worst = np.percentile(starved.weights, 1)
    assert worst < 0.2
    assert np.percentile(noise_weights(scan(5e3)), 1) > 2 * worst


def test_weights_go_with_their_views_and_pixels(starved: ProjectionSet) -> None:
    some = starved.select([3, 7])
    np.testing.assert_array_equal(some.weights, starved.weights[[3, 7]])
    binned = starved.binned(2)
    np.testing.assert_allclose(
        binned.weights[4, 5, 6], starved.weights[4, 10:12, 12:14].mean(), rtol=1e-6
    )
    for wrong in (np.ones((2, 2, 2)), -np.ones(EXACT.shape), np.full(EXACT.shape, np.nan)):
        with pytest.raises(ValueError, match="weights must be numbers of 0 or more"):
            replace(starved, weights=wrong)


def test_errors_and_noise_are_weighed_alike(starved: ProjectionSet) -> None:
    noise = starved.projections - EXACT
    expected = np.mean(starved.weights.astype(np.float64) * np.square(noise, dtype=np.float64))
    assert starved.mean_square(noise) == pytest.approx(expected, rel=1e-5)
    # Noise that is cut off where a single photon is left is not normal any more.
    assert noise_variance(starved) == pytest.approx(expected, rel=0.5)
    assert noise_variance(starved) < 0.75 * noise_variance(replace(starved, weights=None))
    truth = draw(PELVIS, GRID, 2)
    assert held_out_error(truth, GRID, starved) ** 2 == pytest.approx(expected, rel=0.3)


def test_the_step_bounds_the_weighted_operator(starved: ProjectionSet) -> None:
    projector = Projector(GRID, GEOMETRY)
    x = np.random.default_rng(0).random(GRID.shape_kji, dtype=np.float32)
    for _ in range(8):
        x = projector.adjoint(starved.weights * projector.forward(x))
        largest = float(np.linalg.norm(x))
        x /= np.float32(largest)
    scale = operator_scale(starved, GRID)
    assert 0.5 * scale.lipschitz < largest <= scale.lipschitz
    plain = operator_scale(replace(starved, weights=None), GRID)
    assert scale.mean_attenuation == pytest.approx(plain.mean_attenuation)
    ones = replace(starved, weights=np.ones_like(starved.weights))
    assert operator_scale(ones, GRID).lipschitz == pytest.approx(plain.lipschitz)


def test_equal_weights_change_nothing_and_others_less_noise(starved: ProjectionSet) -> None:
    truth = draw(PELVIS, GRID, 2)
    phases = (Phase(5, 6), Phase(10, 2))

    def error(projection_set: ProjectionSet, strength: float) -> float:
        """Solve, and give the root mean square error."""
        solved = TotalVariationProblem(projection_set, GRID).solve(strength, phases)
        return float(np.sqrt(np.mean((solved - truth) ** 2)))

    bare = replace(starved, weights=None)
    ones = replace(starved, weights=np.ones_like(starved.weights))
    assert error(ones, 4e-3) == pytest.approx(error(bare, 4e-3), rel=1e-6)
    strengths = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
    best = [min(error(one, strength) for strength in strengths) for one in (starved, bare)]
    assert best[0] < 0.9 * best[1]


def test_the_torch_solver_weighs_alike(starved: ProjectionSet) -> None:
    phases = (Phase(10, 2),)
    expected = TotalVariationProblem(starved, GRID).solve(2e-3, phases)
    problem = TorchTotalVariationProblem(starved, GRID, "cpu")
    difference = np.abs(problem.solve(2e-3, phases) - expected).max()
    assert difference < 1e-3 * expected.max()


def test_the_road_weighs_by_itself(starved: ProjectionSet) -> None:
    settings = ReconstructionSettings(tv_strength=4e-3, quality="preview")
    road = reconstruct(replace(starved, weights=None), GRID, settings).volume.array
    # Weights that a caller brings are kept.
    flat = np.ones_like(starved.weights)
    kept = reconstruct(replace(starved, weights=flat), GRID, settings).volume.array
    np.testing.assert_array_equal(
        road, reconstruct(starved, GRID, settings).volume.array, strict=True
    )
    assert np.abs(road - kept).max() > 1e-3
