"""Cutting voxels at their edges: means kept, range kept, edges put back, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import circular_scan
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from NASAM3DLib.joint import rounds as rounds_module
from NASAM3DLib.joint.cutting import cut_at_edges, cut_up
from NASAM3DLib.joint.referee import Referee
from NASAM3DLib.joint.rounds import Clicks, Rounds
from NASAM3DLib.reconstruct.footprint import FootprintProjector
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.refine import RefinementPlan, cell_means, fine_grid
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((24, 24, 24), 6.0)
GEOMETRY = circular_scan(9, detector=(48, 48), pixel_mm=6.0)
SMALL = arrays(np.float32, (4, 3, 5), elements=st.floats(0, 1, width=32))


def means_of(fine: np.ndarray) -> np.ndarray:
    """Average fine voxels (2 i, 2 j, 2 k) to wanted ones (k, j, i)."""
    return cell_means(fine.T)


@settings(max_examples=40, deadline=None)
@given(array=SMALL)
def test_means_are_kept_and_nothing_leaves_the_range_of_the_neighbours(array: np.ndarray) -> None:
    fine = cut_at_edges(array)
    assert fine.shape == (10, 6, 8)
    assert fine.dtype == np.float32
    assert fine.flags.c_contiguous
    np.testing.assert_allclose(means_of(fine), array, atol=1e-6)
    cross = ndimage.generate_binary_structure(3, 1)
    least, most = (
        cut_up(f(array, footprint=cross, mode="nearest"))
        for f in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    assert np.all(fine >= least - 1e-6)
    assert np.all(fine <= most + 1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("edge", [5, 6])
def test_a_plane_edge_is_where_it_was(axis: int, edge: int) -> None:
    fine = np.ones((12, 10, 14), dtype=np.float32)
    np.moveaxis(fine, axis, 0)[edge:] = 0.25
    np.testing.assert_array_equal(cut_at_edges(means_of(fine)), fine)


@settings(max_examples=20, deadline=None)
@given(array=SMALL)
def test_the_axes_and_their_senses_are_alike(array: np.ndarray) -> None:
    fine = cut_at_edges(array)
    np.testing.assert_allclose(cut_at_edges(array[::-1]), fine[:, :, ::-1], atol=1e-6)
    turned = cut_at_edges(array.transpose(1, 2, 0))
    np.testing.assert_allclose(turned, fine.transpose(2, 0, 1), atol=1e-6)


def test_what_rises_goes_on_rising() -> None:
    steps = np.random.default_rng(0).uniform(0, 1, 20).astype(np.float32)
    array = np.broadcast_to(np.cumsum(steps)[:, None, None], (20, 3, 3))
    assert np.all(np.diff(cut_at_edges(array)[0, 0]) >= -1e-5)


def test_even_voxels_and_extremes_stay_even() -> None:
    array = np.zeros((5, 5, 5), dtype=np.float32)
    np.testing.assert_array_equal(cut_at_edges(array + 3), cut_up(array + 3))
    array[2, 2, 2] = 1
    np.testing.assert_array_equal(cut_at_edges(array), cut_up(array))


def flat_limb() -> tuple[np.ndarray, ProjectionSet]:
    """Draw a cylinder on fine voxels whose flat ends are in the middle of wanted ones; scan it."""
    fine = np.zeros((48, 48, 48), dtype=np.float32)
    x, y = np.indices((48, 48)) - 23.5
    fine[7:41] = 0.02 * (np.hypot(x, y) < 17)
    fine[7:41] += 0.01 * (np.hypot(x - 5, y) < 5)
    projector = FootprintProjector(fine_grid(GRID), GEOMETRY, 4)
    return fine, ProjectionSet(projector.forward(fine), GEOMETRY)


def test_the_flat_end_of_a_body_survives_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    fine, scan = flat_limb()
    truth = cell_means(fine)
    clicks = Clicks(Prompts().with_point(tuple(GRID.to_ras((14.0, 11.5, 12.0)))))

    def error_after_a_round() -> float:
        """Give the error of the means in the half-filled planes."""
        rounds = Rounds(
            scan, Volume(truth, GRID), RefinementPlan(0.0), clicks=clicks, strength=1e-3
        )
        volume, _ = rounds.run(rounds.begin(np.zeros(GRID.shape_kji, dtype=bool)))
        return float(np.sqrt(np.mean((volume.array - truth)[[2, 3, 4, 19, 20, 21]] ** 2)))

    kept = error_after_a_round()
    monkeypatch.setattr(rounds_module, "cut_at_edges", cut_up)
    assert kept < 0.5 * error_after_a_round()


def test_the_referee_believes_the_true_means() -> None:
    fine, scan = flat_limb()
    truth = cell_means(fine)
    # What fits best in whole voxels with one ray to a pixel is not what the voxels hold.
    fitted = TotalVariationProblem(scan, GRID).solve(1e-5, (Phase(9, 40),))
    held_out = scan.select(np.array([0, 4]))

    def error(array: np.ndarray) -> float:
        predicted = Projector(GRID, held_out.geometry).forward(array)
        return float(np.square(predicted - held_out.projections).mean())

    assert error(truth) > error(fitted)
    mask = truth > 0.025
    verdict = Referee(held_out, Volume(fitted, GRID), mask).judge(truth)
    assert verdict.gain > 0.5
    assert verdict.is_better
