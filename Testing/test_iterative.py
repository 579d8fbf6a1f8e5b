"""Total variation: the proximal step against its optimality, the solver, the choice of strength."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.analytic import reconstruct_fdk
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.operator_scale import operator_scale
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import PHASES, Phase, ReconstructionSettings
from NASAM3DLib.reconstruct.total_variation import INNER_ITERATIONS, TotalVariationProx
from NASAM3DLib.reconstruct.tuning import (
    DEFAULT_STRENGTH,
    choose_strength,
    held_out_error,
    held_out_views,
)
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

BODIES = [
    Ellipsoid(0.02, (50.0, 40.0, 45.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.01, (12.0, 12.0, 12.0), (15.0, 10.0, 5.0)),
    Ellipsoid(-0.015, (10.0, 8.0, 14.0), (-20.0, -5.0, 0.0)),
]
GRID = VolumeGrid.centred((36, 48, 48), 3.0)


def objective(x: np.ndarray, b: np.ndarray, weight: float) -> float:
    """Evaluate the denoising functional with NumPy."""
    differences = [
        np.diff(x, axis=axis, append=np.take(x, [-1], axis=axis)) for axis in range(x.ndim)
    ]
    variation = np.sqrt(sum(d.astype(np.float64) ** 2 for d in differences)).sum()
    return float(0.5 * ((x - b).astype(np.float64) ** 2).sum() + weight * variation)


def noisy_block(seed: int = 0) -> np.ndarray:
    image = np.zeros((20, 24, 28), dtype=np.float32)
    image[5:12, 6:18, 8:20] = 1.0
    return image + 0.1 * np.random.default_rng(seed).standard_normal(image.shape).astype(np.float32)


def test_proximal_step_is_a_minimum():
    b, weight = noisy_block(), 0.08
    x = TotalVariationProx(b.shape).apply(b, weight, n_iterations=400)
    best = objective(x, b, weight)
    random = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(5):
            step = size * random.standard_normal(b.shape).astype(np.float32)
            assert objective(np.maximum(x + step, 0), b, weight) > best - 1e-3


def test_proximal_step_agrees_with_scikit_image():
    from skimage.restoration import denoise_tv_chambolle

    b = noisy_block() + 1.0
    ours = TotalVariationProx(b.shape).apply(b, 0.1, n_iterations=400)
    theirs = denoise_tv_chambolle(b, weight=0.1, max_num_iter=2000, eps=1e-8)
    assert objective(ours, b, 0.1) <= objective(theirs, b, 0.1) * (1 + 1e-4)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_proximal_step_keeps_mean_and_sign_and_is_identity_at_zero():
    b = noisy_block() + 1.0
    prox = TotalVariationProx(b.shape)
    assert prox.apply(b, 0.2, n_iterations=50).mean() == pytest.approx(b.mean(), rel=1e-4)
    np.testing.assert_array_equal(prox.apply(b, 0.0), b)
    assert prox.apply(b - 2.0, 0.1).min() >= 0
    with pytest.raises(ValueError, match="must not be negative"):
        prox.apply(b, -1.0)


def test_the_fused_step_is_proximal_step_and_extrapolation():
    b, weight = noisy_block() + 1.0, 0.08
    plain, fused = TotalVariationProx(b.shape), TotalVariationProx(b.shape)
    before = noisy_block(3)
    volume, ahead = before.copy(), np.empty_like(before)
    expected = plain.apply(b, weight, n_iterations=INNER_ITERATIONS)
    fused.advance(b, weight, volume, ahead=ahead, extrapolation=0.7)
    np.testing.assert_array_equal(volume, expected)
    np.testing.assert_allclose(ahead, expected + 0.7 * (expected - before), atol=1e-6)
    np.testing.assert_array_equal(fused.dual, plain.dual)


def test_a_warm_start_goes_on_where_it_was():
    b, weight = noisy_block(), 0.08
    best = objective(TotalVariationProx(b.shape).apply(b, weight, n_iterations=400), b, weight)
    cold = TotalVariationProx(b.shape)
    first = objective(cold.apply(b, weight, n_iterations=3), b, weight) - best
    warm = TotalVariationProx(b.shape, cold.dual.copy())
    for _ in range(10):
        x = warm.apply(b, weight, n_iterations=3)
    assert objective(x, b, weight) - best < 0.1 * first


@pytest.fixture(scope="module")
def scan():
    geometry = circular_scan(24, detector=(64, 80), pixel_mm=4.0)
    return ProjectionSet(project(BODIES, geometry), geometry), draw(BODIES, GRID, 3)


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b).astype(np.float64) ** 2)))


def test_total_variation_beats_filtered_back_projection(scan):
    projection_set, truth = scan
    analytic = reconstruct_fdk(projection_set, GRID)
    problem = TotalVariationProblem(projection_set, GRID)
    iterated = problem.solve(2e-3, PHASES["standard"])
    # More than 3 dB; what is left is the grid of 3 mm itself.
    assert rms(iterated, truth) < 0.7 * rms(analytic, truth)
    assert iterated.min() >= 0


def test_scaling_the_projections_scales_the_volume(scan):
    projection_set, _ = scan
    doubled = ProjectionSet(2 * projection_set.projections, projection_set.geometry)
    phases = (Phase(6, 3),)
    once = TotalVariationProblem(projection_set, GRID).solve(1e-3, phases)
    twice = TotalVariationProblem(doubled, GRID).solve(1e-3, phases)
    np.testing.assert_allclose(twice, 2 * once, atol=1e-5 * once.max())


def test_mean_attenuation_of_a_constant_is_that_constant():
    from NASAM3DLib.reconstruct.projector import forward_project

    geometry = circular_scan(6)
    constant = forward_project(np.full(GRID.shape_kji, 0.017), GRID, geometry)
    problem = TotalVariationProblem(ProjectionSet(constant, geometry), GRID)
    assert problem.mean_attenuation == pytest.approx(0.017, rel=1e-4)


def test_a_given_scale_saves_measuring_it(scan):
    projection_set, _ = scan
    scale = operator_scale(projection_set, GRID)
    problem = TotalVariationProblem(projection_set, GRID)
    assert (problem.lipschitz, problem.mean_attenuation) == (
        scale.lipschitz,
        scale.mean_attenuation,
    )
    given = TotalVariationProblem(projection_set, GRID, scale)
    phases = (Phase(6, 1),)
    np.testing.assert_array_equal(given.solve(1e-3, phases), problem.solve(1e-3, phases))
    # L bounds the largest eigenvalue, which power iteration approaches from below.
    projector = Projector(GRID, projection_set.geometry)
    x = np.ones(GRID.shape_kji, dtype=np.float32)
    for _ in range(5):
        x = projector.adjoint(projector.forward(x))
        largest = float(np.linalg.norm(x.astype(np.float64)))
        x = x / np.float32(largest)
    assert 0.2 * scale.lipschitz < largest <= scale.lipschitz


def test_a_grid_beside_the_beam_and_empty_projections_are_refused(scan):
    projection_set, _ = scan
    with pytest.raises(ValueError, match="No ray crosses the volume"):
        TotalVariationProblem(
            projection_set, VolumeGrid.centred((8, 8, 8), 1.0, centre_ras=(0, 0, 9000.0))
        )
    nothing = ProjectionSet(np.zeros_like(projection_set.projections), projection_set.geometry)
    with pytest.raises(ValueError, match="hold no attenuating object"):
        TotalVariationProblem(nothing, GRID)


def test_progress_never_runs_backwards_and_cancelling_stops(scan):
    projection_set, _ = scan
    seen: list[float] = []
    choose_strength(projection_set, GRID, progress=lambda stage, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def cancel(stage: str, fraction: float) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        TotalVariationProblem(projection_set, GRID).solve(1e-3, PHASES["standard"], progress=cancel)


def test_noise_asks_for_more_smoothing(scan):
    projection_set, truth = scan
    random = np.random.default_rng(0)
    noise = 0.05 * random.standard_normal(projection_set.projections.shape)
    noisy = ProjectionSet(projection_set.projections + noise, projection_set.geometry)
    clean_choice, noisy_choice = choose_strength(projection_set, GRID), choose_strength(noisy, GRID)
    assert noisy_choice.strength > clean_choice.strength
    problem = TotalVariationProblem(noisy, GRID)
    errors = {
        factor: rms(problem.solve(noisy_choice.strength * factor, PHASES["standard"]), truth)
        for factor in (1 / 16, 1, 16)
    }
    assert errors[1] == min(errors.values())


def test_few_views_take_the_default_strength(scan):
    projection_set, _ = scan
    choice = choose_strength(projection_set.sparse(6), GRID)
    assert choice.strength == DEFAULT_STRENGTH
    assert choice.held_out_views == ()


def test_held_out_views_are_few_and_distinct():
    for n_views in range(1, 400):
        views = held_out_views(n_views)
        assert len(views) <= 4
        assert len(views) == len(set(views.tolist()))
        assert not len(views) or (views.min() >= 0 and views.max() < n_views)


def test_held_out_error_of_the_truth_is_small(scan):
    projection_set, truth = scan
    views = projection_set.select([3, 11])
    assert held_out_error(truth, GRID, views) < 0.02 * projection_set.projections.max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "sart"}, "method must be one of fdk, tv, field, naf, got 'sart'"),
        ({"quality": "ultra"}, "quality must be one of preview, standard, best"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda"),
        ({"tv_strength": -1.0}, "must be zero or positive"),
    ],
)
def test_settings_refuse_what_is_unknown(change, message):
    with pytest.raises(ValueError, match=message):
        ReconstructionSettings(**change)
