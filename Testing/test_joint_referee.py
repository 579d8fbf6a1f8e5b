"""The referee of joint refinement: what held-out rays near the surface say, and who is believed."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.joint.cutting import cut_at_edges
from NASAM3DLib.joint.referee import (
    Referee,
    Verdict,
    approved_rounds,
    judging_views,
    surface_band,
)
from NASAM3DLib.reconstruct.footprint import FootprintProjector
from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.refine import fine_grid
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

GRID = VolumeGrid.centred((24, 24, 24), 6.0)
GEOMETRY = circular_scan(3, detector=(36, 36), pixel_mm=7.0)
TARGET = Ellipsoid(0.006, (20.0, 20.0, 20.0), (24.0, 6.0, -4.0))
BODIES = [Ellipsoid(0.02, (62.0, 54.0, 60.0), (0.0, 0.0, 0.0)), TARGET]
TRUTH = draw(BODIES, GRID).astype(np.float32)
MASK = draw([TARGET], GRID) > 0.003
BAND = surface_band(MASK, GRID.spacing_mm[::-1])
SPOILED = (TRUTH * 1.05).astype(np.float32)


def predicted(array: np.ndarray) -> np.ndarray:
    """Project as the referee does."""
    projector = FootprintProjector(fine_grid(GRID), GEOMETRY, 2)
    return projector.forward(cut_at_edges(array).T)


def views(noise: float, *, seed: int = 0) -> ProjectionSet:
    """What the truth, cut at its edges, projects to, with noise."""
    exact = predicted(TRUTH)
    return ProjectionSet(
        np.maximum(exact + np.random.default_rng(seed).normal(0, noise, exact.shape), 0).astype(
            np.float32
        ),
        GEOMETRY,
    )


def referee(noise: float = 0.0, *, seed: int = 0) -> Referee:
    return Referee(views(noise, seed=seed), Volume(SPOILED, GRID), MASK)


def test_the_band_is_a_shell_around_the_surface() -> None:
    k, j, i = np.meshgrid(*(np.arange(24.0),) * 3, indexing="ij")
    from_centre = GRID.to_ras(np.stack([i, j, k], axis=-1)) - TARGET.centre_ras
    from_surface = np.abs(np.linalg.norm(from_centre, axis=-1) - 20)
    assert BAND[from_surface < 7].all()
    assert not BAND[from_surface > 16].any()
    assert surface_band(np.zeros_like(MASK), (6, 6, 6)).all()
    assert surface_band(np.ones_like(MASK), (6, 6, 6)).all()
    # One voxel at least, however large it is.
    thin = surface_band(MASK, (60.0, 60.0, 60.0))
    assert thin.any()
    assert not thin.all()


def test_errors_are_those_of_the_residuals() -> None:
    verdict = referee().judge(SPOILED)
    squares = np.square(predicted(SPOILED) - views(0.0).projections)
    assert verdict.error == pytest.approx(np.sqrt(squares.mean()))
    assert verdict.gain == verdict.spread == 0
    # A band everywhere weighs every ray by its whole length in the lattice.
    everywhere = Referee(views(0.0), Volume(SPOILED, GRID), np.zeros_like(MASK)).judge(SPOILED)
    lengths = forward_project(np.ones_like(TRUTH), GRID, GEOMETRY)
    expected = np.sqrt(np.sum(lengths * squares) / np.sum(lengths))
    assert everywhere.surface_error == pytest.approx(expected, rel=1e-5)
    assert referee().judge(TRUTH).gain == pytest.approx(1, abs=1e-6)


def test_a_change_far_from_the_surface_says_nothing_and_one_near_it_much() -> None:
    near, far = SPOILED.copy(), SPOILED.copy()
    near[BAND] = TRUTH[BAND]
    # Planes that no ray past the band reaches.
    far[:5] = TRUTH[:5]
    judge = referee().judge
    assert abs(judge(far).gain) < 1e-3
    assert judge(far).error < judge(SPOILED).error
    assert judge(near).gain > 0.1
    assert judge(near).is_better


def test_the_surface_leads_where_the_whole_says_the_opposite() -> None:
    mixed = TRUTH.copy()
    mixed[BAND] = 1.2 * TRUTH[BAND]
    verdict = referee().judge(mixed)
    assert verdict.error < referee().judge(SPOILED).error
    assert verdict.gain < 0
    assert not verdict.is_better


def test_the_spread_is_that_over_draws_of_the_noise() -> None:
    # Where noise leads, as it does between two good reconstructions.
    before, better = (Volume((TRUTH * f).astype(np.float32), GRID) for f in (1.006, 1.003))
    verdicts = [
        Referee(views(0.05, seed=seed), before, MASK).judge(better.array) for seed in range(60)
    ]
    gains = np.array([v.gain for v in verdicts])
    spread = float(np.mean([v.spread for v in verdicts]))
    assert gains.mean() > 0
    assert gains.std() == pytest.approx(spread, rel=0.35)


def test_noise_alone_is_rarely_believed() -> None:
    shift = np.zeros_like(TRUTH)
    shift[MASK] = 0.0004
    # As far from the truth as the volume from before, on the other side.
    judged = [
        Referee(views(0.05, seed=seed), Volume(TRUTH + shift, GRID), MASK).judge(TRUTH - shift)
        for seed in range(80)
    ]
    # Two standard errors are exceeded by chance in 2 % of draws.
    assert np.mean([v.is_better for v in judged]) < 0.1


def test_weights_of_the_scan_count() -> None:
    scan = views(0.0)
    weights = np.ones_like(scan.projections)
    weights[1:] = 0
    weighted = ProjectionSet(scan.projections, GEOMETRY, weights=weights)
    first = Referee(scan.select(np.array([0])), Volume(SPOILED, GRID), MASK)
    other = (TRUTH * 1.02).astype(np.float32)
    verdict = Referee(weighted, Volume(SPOILED, GRID), MASK).judge(other)
    assert verdict.gain == pytest.approx(first.judge(other).gain, rel=1e-5)


def test_one_view_in_eight_judges() -> None:
    assert judging_views(7).size == 0
    assert [judging_views(n).size for n in (8, 15, 25, 50, 400)] == [1, 2, 3, 4, 4]
    for n in (8, 15, 25, 50):
        chosen = judging_views(n)
        assert chosen.min() >= 0
        assert chosen.max() < n
        assert np.all(np.diff(chosen) > 1)


def verdict(surface_error: float, *, spread: float = 0.0, error: float = 1.0) -> Verdict:
    return Verdict(error, surface_error, 1 - surface_error**2, spread)


@pytest.mark.parametrize(
    ("later", "n_rounds"),
    [
        ([verdict(0.9), verdict(0.8), verdict(0.7)], 3),
        ([verdict(0.9), verdict(0.7), verdict(0.8)], 2),
        ([verdict(0.9), verdict(0.7), verdict(0.705)], 3),
        ([verdict(1.1), verdict(1.0), verdict(1.2)], 0),
        ([verdict(0.99, spread=0.015), verdict(0.98, spread=0.015)], 2),
        ([verdict(0.99, spread=0.025), verdict(0.98, spread=0.025)], 0),
        ([verdict(0.9), verdict(0.8), verdict(0.5, error=1.02)], 2),
        ([verdict(0.9), verdict(0.5, error=1.02)], 0),
        # The first round is without guidance.
        ([verdict(0.7), verdict(1.1), verdict(1.1)], 0),
        ([verdict(0.7), verdict(0.8), verdict(0.9)], 2),
        ([verdict(0.5)], 0),
    ],
)
def test_the_last_good_round_is_approved(later: list[Verdict], n_rounds: int) -> None:
    assert approved_rounds([Verdict(1.0, 1.0), *later], tolerance=0.01) == n_rounds


def test_the_projection_of_an_exact_body_agrees_with_its_lattice() -> None:
    exact = ProjectionSet(project(BODIES, GEOMETRY).astype(np.float32), GEOMETRY)
    judge = Referee(exact, Volume(SPOILED, GRID), MASK).judge
    assert judge(TRUTH).is_better
    assert judge(TRUTH).gain > 0.5
