"""Voxels half as large: the lattice, the plan, what is gained, and the road with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.refine import (
    Base,
    RefinementPlan,
    can_be_refined,
    cell_means,
    fine_grid,
    plan_refinement,
    refine,
    starting_state,
)
from NASAM3DLib.reconstruct.settings import PHASES, Phase, ReconstructionSettings
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate
from NASAM3DLib.reconstruct.solvers import make_problem
from NASAM3DLib.reconstruct.stages import SMOOTHING_VOXELS
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.presets import default_scan
from NASAM3DLib.scan.projections import ProjectionSet

N_VOXELS = 32
STRENGTHS = {None: 2.5e-4, 1e4: 1e-3}
"""What held-out views choose for this patient, without noise and with 1e4 photons."""


@dataclass(frozen=True, eq=False)
class Case:
    """A small patient, its scan and total variation on the wanted voxels."""

    truth: np.ndarray
    scan: ProjectionSet
    grid: VolumeGrid
    base: Base

    def psnr(self, array: np.ndarray) -> float:
        """Peak signal to noise ratio in dB."""
        error = np.mean((array - self.truth) ** 2, dtype=np.float64)
        return float(10 * np.log10(self.truth.max() ** 2 / error))

    @property
    def smoothed(self) -> np.ndarray:
        """What is returned where nothing is refined."""
        return gaussian_filter(self.base.array, SMOOTHING_VOXELS, mode="nearest")


def make_case(photons: float | None) -> Case:
    """Scan a patient drawn on voxels half as large, interpolated to a quarter; pixels average."""
    drawn = phantom_grid(2 * N_VOXELS)
    body = make_phantom(3, drawn, region="abdomen").volume.to_attenuation()
    geometry = default_scan(drawn, n_views=40, arc_rad=2 * np.pi, detector_shape=(64, 64))
    settings = SimulationSettings(photons)
    scan = simulate(body, geometry, settings=settings, rng=np.random.default_rng(0))
    grid = drawn.resampled((N_VOXELS,) * 3)
    problem = make_problem(scan, grid)
    array = problem.solve(STRENGTHS[photons], PHASES["best"])
    return Case(cell_means(body.array), scan, grid, Base(problem, STRENGTHS[photons], array))


@pytest.fixture(scope="module")
def clean() -> Case:
    return make_case(None)


@pytest.fixture(scope="module")
def noisy() -> Case:
    return make_case(1e4)


@pytest.fixture(scope="module")
def refined(clean: Case) -> np.ndarray:
    return refine(clean.base, plan_refinement(clean.base))


def test_the_fine_lattice_fills_the_same_box() -> None:
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]], dtype=float)
    grid = VolumeGrid((5, 3, 4), affine)
    fine = fine_grid(grid)
    assert fine.shape_kji == (10, 6, 8)
    np.testing.assert_allclose(fine.corners_ras, grid.corners_ras)
    np.testing.assert_allclose(fine.spacing_mm, grid.spacing_mm / 2)
    # The centre of a voxel is the middle of its eight parts.
    parts = fine.to_ras(np.argwhere(np.ones((2, 2, 2))) + 2 * np.array([3, 1, 2]))
    np.testing.assert_allclose(parts.mean(axis=0), grid.to_ras((3, 1, 2)))


def test_means_over_cells_undo_the_cutting(clean: Case) -> None:
    state = starting_state(clean.base)
    assert state.volume.shape == tuple(2 * n for n in clean.base.array.T.shape)
    np.testing.assert_array_equal(state.volume, state.ahead)
    assert (state.n_steps, state.momentum, state.dual.any()) == (0, 1.0, False)
    for first in np.ndindex(2, 2, 2):
        part = state.volume.T[first[0] :: 2, first[1] :: 2, first[2] :: 2]
        np.testing.assert_array_equal(part, clean.base.array)
    np.testing.assert_allclose(cell_means(state.volume.T), clean.base.array, rtol=1e-6)
    numbers = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)
    expected = numbers.reshape(2, 2, 3, 2, 1, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(cell_means(numbers), expected)


def test_the_state_is_not_tied_to_the_base(clean: Case) -> None:
    before = clean.base.array.tobytes()
    state = starting_state(clean.base)
    state.volume += 1
    assert clean.base.array.tobytes() == before
    assert not np.shares_memory(state.volume, state.ahead)


def test_the_plan_gets_more_careful_with_noise() -> None:
    plans = [RefinementPlan(share) for share in np.linspace(0, 1, 11)]
    factors = [plan.strength_factor for plan in plans]
    weights = [plan.weight for plan in plans]
    sweeps = [sum(phase.n_sweeps for phase in plan.phases) for plan in plans]
    assert factors == sorted(factors)
    assert weights == sorted(weights, reverse=True)
    assert sweeps == sorted(sweeps, reverse=True)
    assert 0 < factors[0] < 1 < factors[-1] <= 2
    assert 0 < weights[-1] < weights[0] <= 1
    for plan in plans:
        assert min(phase.n_sweeps for phase in plan.phases) >= 1


def test_the_plan_sees_how_much_is_noise(clean: Case, noisy: Case) -> None:
    few, many = plan_refinement(clean.base), plan_refinement(noisy.base)
    assert 0 <= few.noise_share < 0.3
    assert 0.5 < many.noise_share <= 1


def test_nothing_unexplained_means_no_noise(clean: Case) -> None:
    class Exact:
        """A problem that its base solves exactly."""

        grid = clean.grid
        projection_set = ProjectionSet(np.zeros_like(clean.scan.projections), clean.scan.geometry)

    base = Base(Exact(), 1e-3, np.zeros(clean.grid.shape_kji, np.float32))  # type: ignore[arg-type]
    assert plan_refinement(base).noise_share == 0.0


def test_a_clean_scan_gains_clearly(clean: Case, refined: np.ndarray) -> None:
    # Measured: 32.5 dB, 33.5 dB smoothed, 37.2 dB refined.
    assert clean.psnr(refined) > clean.psnr(clean.base.array) + 3.0
    assert clean.psnr(refined) > clean.psnr(clean.smoothed) + 2.5


def test_a_noisy_scan_does_not_lose(noisy: Case) -> None:
    result = refine(noisy.base, plan_refinement(noisy.base))
    # Measured: 30.7 dB, 31.3 dB smoothed, 31.9 dB refined.
    assert noisy.psnr(result) > noisy.psnr(noisy.base.array) + 0.5
    assert noisy.psnr(result) > noisy.psnr(noisy.smoothed) - 0.1


def test_attenuation_stays_positive_and_single_precision(refined: np.ndarray) -> None:
    assert refined.dtype == np.float32
    assert refined.min() >= 0


def test_the_result_is_the_weighted_mean(clean: Case) -> None:
    plan = RefinementPlan(0.5)
    state = starting_state(clean.base)
    result = refine(clean.base, plan, state=state)
    total = sum(round(40 / p.views_per_subset) * p.sweeps(40) for p in plan.phases)
    assert state.n_steps == total
    expected = plan.weight * cell_means(state.volume.T) + (1 - plan.weight) * clean.base.array
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-9)


def test_progress_never_goes_back_and_cancels(clean: Case) -> None:
    seen: list[tuple[str, float]] = []
    plan = RefinementPlan(1.0)
    refine(clean.base, plan, progress=lambda stage, fraction: seen.append((stage, fraction)))
    fractions = [fraction for _, fraction in seen]
    assert {stage for stage, _ in seen} == {"refining"}
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    state = starting_state(clean.base)

    def cancel(stage: str, fraction: float) -> None:
        """Cancel in the middle."""
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        refine(clean.base, plan, state=state, progress=cancel)
    assert state.is_whole
    assert state.n_steps > 0


def test_large_grids_are_not_refined(clean: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_be_refined(VolumeGrid.centred((256, 256, 256), 1.0))
    assert not can_be_refined(VolumeGrid.centred((300, 300, 300), 1.0))
    assert not can_be_refined(VolumeGrid.centred((4096, 4096, 4096), 1.0))
    monkeypatch.setattr("NASAM3DLib.reconstruct.refine.MOST_FINE_VOXELS", 2.0**18 - 1)
    settings = ReconstructionSettings(quality="best", tv_strength=clean.base.strength)
    done = reconstruct(clean.scan, clean.grid, settings)
    assert done.report["refined"] is False
    assert "noise_share" not in done.report
    assert "the volume is too large to be refined" in done.report["why"]
    np.testing.assert_array_equal(done.volume.array, clean.smoothed)


def test_the_best_quality_refines_and_tells(clean: Case, refined: np.ndarray) -> None:
    settings = ReconstructionSettings(quality="best", tv_strength=clean.base.strength)
    done = reconstruct(clean.scan, clean.grid, settings)
    assert done.report["refined"] is True
    assert done.report["noise_share"] == plan_refinement(clean.base).noise_share
    assert "refined on voxels half as large" in done.report["why"]
    assert done.report["seconds"]["refinement"] > 0
    # The same bits again, and not smoothed on top of it.
    np.testing.assert_array_equal(done.volume.array, refined)


@pytest.mark.parametrize("quality", ["preview", "standard"])
def test_other_qualities_are_smoothed(clean: Case, quality: str) -> None:
    settings = ReconstructionSettings(quality=quality, tv_strength=1e-3)  # type: ignore[arg-type]
    done = reconstruct(clean.scan, clean.grid, settings)
    assert done.report["refined"] is False
    plain = clean.base.problem.solve(1e-3, PHASES[settings.quality])
    expected = gaussian_filter(plain, SMOOTHING_VOXELS, mode="nearest")
    np.testing.assert_array_equal(done.volume.array, expected)


def test_a_single_sweep_explains_more(clean: Case) -> None:
    fine = make_problem(clean.scan, fine_grid(clean.grid))
    projector = Projector(fine.grid, clean.scan.geometry)
    state = starting_state(clean.base)

    def misfit() -> float:
        """Root mean square of what is unexplained."""
        left = projector.forward(state.volume.T) - clean.scan.projections
        return float(np.sqrt(np.mean(left**2)))

    before = misfit()
    fine.solve(clean.base.strength, (Phase(5, 1),), state=state)
    assert misfit() < 0.9 * before
