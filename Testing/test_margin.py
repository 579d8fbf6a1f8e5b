"""What rays meet outside the wanted voxels does not end up in them."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.margin import attenuates_outside, find_surroundings, with_margin
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase, ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.field_of_view import default_grid, lateral_reach
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.scan.truncation import find_truncation, row_tails, widened

LONG_BODY = [
    Ellipsoid(0.02, (95.0, 75.0, 200.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.01, (20.0, 15.0, 20.0), (40.0, -30.0, 0.0)),
    Ellipsoid(-0.01, (15.0, 15.0, 30.0), (-50.0, 20.0, 0.0)),
    Ellipsoid(0.015, (12.0, 12.0, 60.0), (0.0, 50.0, 0.0)),
    Ellipsoid(-0.012, (20.0, 20.0, 25.0), (10.0, 10.0, 60.0)),
]
ALL_OF_IT = circular_scan(24, detector=(110, 110), pixel_mm=4.0)
TOO_SHORT = circular_scan(50, detector=(40, 104), pixel_mm=4.0)
TOO_SMALL = circular_scan(50, detector=(40, 56), pixel_mm=4.0)


def scanned(geometry: ConeBeamGeometry) -> ProjectionSet:
    return ProjectionSet(project(LONG_BODY, geometry), geometry)


def solved(scan: ProjectionSet, grid: VolumeGrid, *, with_surroundings: bool) -> np.ndarray:
    """Reconstruct by total variation."""
    phases = (Phase(5, 4), Phase(10, 4))
    if not with_surroundings:
        return TotalVariationProblem(scan, grid).solve(1e-3, phases)
    found = find_surroundings(scan, grid)
    problem = TotalVariationProblem(found.subtracted_from(scan), found.grid)
    volume = found.cropped(Volume(problem.solve(1e-3, phases), found.grid))
    assert volume.grid.same_as(grid)
    return volume.array


def errors(
    scan: ProjectionSet, grid: VolumeGrid, *, with_surroundings: bool
) -> tuple[float, float, float]:
    """Give rms error in the field of view, mean in its rim and mean in the end caps, relative."""
    array = solved(scan, grid, with_surroundings=with_surroundings)
    error = (array - draw(LONG_BODY, grid, 2)) / LONG_BODY[0].value
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
    radius = min(lateral_reach(scan.geometry).longer_mm, 75.0)
    distance = np.hypot(points[..., 0], points[..., 1])
    seen = distance < radius - 3
    caps = np.zeros_like(seen)
    caps[:2] = caps[-2:] = True
    rms = np.sqrt(np.mean(error[seen] ** 2))
    rim = error[seen & ~caps & (distance > radius - 10)].mean()
    return float(rms), float(rim), float(error[seen & caps].mean())


def test_edges_tell_what_is_cut_off():
    whole = scanned(circular_scan(8, detector=(200, 110), pixel_mm=4.0))
    assert not find_truncation(whole).is_lateral
    assert not find_truncation(whole).is_axial
    short = find_truncation(scanned(TOO_SHORT))
    assert short.is_axial
    assert not short.is_lateral
    small = find_truncation(scanned(TOO_SMALL))
    assert small.is_axial
    assert small.is_lateral


def test_the_nearer_edge_of_a_shifted_detector_cuts_nothing_off():
    shifted = circular_scan(60, detector=(8, 64), detector_offset_mm=(0.0, 90.0))
    assert not find_truncation(scanned(shifted)).is_lateral
    half_turn = circular_scan(60, arc_deg=180.0, detector=(8, 64), detector_offset_mm=(0.0, 90.0))
    assert find_truncation(scanned(half_turn)).is_lateral


def test_an_object_within_the_grid_leaves_projections_untouched():
    small = [Ellipsoid(0.02, (30.0, 30.0, 30.0), (0.0, 0.0, 0.0))]
    scan = ProjectionSet(project(small, ALL_OF_IT), ALL_OF_IT)
    grid = VolumeGrid.centred((30, 30, 30), 3.0)
    margin = with_margin(scan, grid)
    assert not margin.is_needed
    assert margin.grid.same_as(grid)
    assert find_surroundings(scan, grid) is None


def test_noise_in_the_air_around_the_grid_is_no_attenuation():
    rng = np.random.default_rng(0)
    grid = VolumeGrid.centred((60, 60, 60), 3.0)
    for radius, reaches_out in ((84.0, False), (125.0, True)):
        ball = [Ellipsoid(0.02, (radius,) * 3, (0.0, 0.0, 0.0))]
        exact = project(ball, ALL_OF_IT)
        noisy = np.maximum(exact + rng.normal(0.0, 0.02 * exact.max(), exact.shape), 0.0)
        paths = Projector(grid, ALL_OF_IT).forward(np.ones(grid.shape_kji, np.float32))
        share = noisy[paths <= 0].sum() / noisy.sum()
        assert share > 0.01  # Noise and all: more than what is taken for an object.
        assert attenuates_outside(ProjectionSet(noisy, ALL_OF_IT), grid) == reaches_out


def test_poses_without_an_orbit_get_no_margin_but_a_warning(caplog):
    whole = scanned(TOO_SMALL)
    bare = whole.binned(1)
    assert bare.geometry.orbit is None
    assert find_surroundings(bare, VolumeGrid.centred((4, 4, 4), 3.0)) is None
    assert "choose a grid that holds the whole object" in caplog.text


def test_the_margin_holds_the_grid_and_crops_back_to_it():
    grid = VolumeGrid.centred((10, 20, 30), (2.0, 3.0, 4.0), centre_ras=(5.0, -4.0, 2.0))
    margin = with_margin(scanned(TOO_SMALL), grid)
    assert margin.is_needed
    k, j, i = np.indices(margin.grid.shape_kji)
    points = margin.grid.to_ras(np.stack([i, j, k], axis=-1))
    wanted = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
    for axis in range(3):
        cropped = margin.crop(points[..., axis].astype(np.float32))
        np.testing.assert_allclose(cropped, wanted[..., axis], atol=1e-3)
    # All that the rays cross in the field of view lies within.
    assert margin.grid.contains([[90.0, 0.0, 0.0], [0.0, -70.0, 0.0], [60.0, 0.0, 45.0]]).all()


def test_an_object_that_goes_on_above_and_below_leaves_the_end_caps_alone():
    scan, grid = scanned(TOO_SHORT), default_grid(TOO_SHORT, spacing_mm=4.5)
    plain, _, plain_caps = errors(scan, grid, with_surroundings=False)
    ours, _, caps = errors(scan, grid, with_surroundings=True)
    assert plain_caps > 0.2
    assert abs(caps) < 0.02
    assert ours < 0.1 * plain


def test_an_object_wider_than_the_field_of_view_leaves_no_rim():
    scan, grid = scanned(TOO_SMALL), default_grid(TOO_SMALL, spacing_mm=3.0)
    plain, plain_rim, _ = errors(scan, grid, with_surroundings=False)
    ours, rim, _ = errors(scan, grid, with_surroundings=True)
    assert plain_rim > 0.2
    assert abs(rim) < 0.04
    assert ours < 0.1 * plain


def test_a_region_smaller_than_the_object_comes_out_right():
    scan = scanned(ALL_OF_IT)
    grid = VolumeGrid.centred((16, 24, 24), 3.0, centre_ras=(20.0, 0.0, 0.0))
    array = solved(scan, grid, with_surroundings=True)
    error = (array - draw(LONG_BODY, grid, 2)) / LONG_BODY[0].value
    assert np.sqrt(np.mean(error**2)) < 0.06


def test_tails_continue_a_row_as_if_the_detector_were_wide():
    scan = scanned(TOO_SMALL)
    ellipse = [LONG_BODY[0]]
    cut = ProjectionSet(project(ellipse, TOO_SMALL), TOO_SMALL)
    tails = row_tails(cut)
    n_first, n_last = tails.first.shape[1], tails.last.shape[1]
    wide = widened(cut)
    truth = project(ellipse, wide.geometry)
    peak = truth.max()
    assert np.sqrt(np.mean((wide.projections - truth) ** 2)) < 0.03 * peak
    kept = wide.projections[:, :, n_first : wide.geometry.detector_shape[1] - n_last]
    np.testing.assert_array_equal(kept, cut.projections)
    np.testing.assert_allclose(
        wide.geometry.pixel_centres_ras(3, 5, n_first + 7),
        scan.geometry.pixel_centres_ras(3, 5, 7),
    )


def test_binned_pixels_lie_where_their_blocks_were():
    scan = circular_scan(3, detector=(9, 11))
    whole = ProjectionSet(np.random.default_rng(0).random(scan.projections_shape), scan)
    halved = whole.binned(2)
    assert halved.geometry.detector_shape == (4, 5)
    np.testing.assert_allclose(
        halved.geometry.pixel_centres_ras(1, 2, 3), scan.pixel_centres_ras(1, 4.5, 6.5)
    )
    assert halved.projections[1, 2, 3] == pytest.approx(whole.projections[1, 4:6, 6:8].mean())
    with pytest.raises(ValueError, match="can be binned by 1 to 9, not by 10"):
        whole.binned(10)


def test_only_the_surroundings_are_taken_out():
    wanted = VolumeGrid.centred((16, 24, 24), 3.0)
    scan = scanned(ALL_OF_IT)
    found = find_surroundings(scan, wanted)
    for grid, left in (
        (found.grid, found.subtracted_from(scan).projections),
        (wanted, scan.projections - found.line_integrals(ALL_OF_IT, outside=wanted)),
    ):
        truth = Projector(grid, ALL_OF_IT).forward(draw(LONG_BODY, grid, 2))
        assert np.sqrt(np.mean((left - truth) ** 2)) < 0.03 * truth.max()


def test_a_cropped_volume_keeps_its_uncertainty():
    grid = VolumeGrid.centred((16, 24, 24), 3.0)
    found = find_surroundings(scanned(ALL_OF_IT), grid)
    numbers = np.arange(np.prod(found.grid.shape_kji)).reshape(found.grid.shape_kji)
    volume = found.cropped(Volume(numbers, found.grid, uncertainty=numbers + 1))
    np.testing.assert_array_equal(volume.uncertainty, volume.array + 1)
    assert volume.array[0, 0, 0] == numbers[found.guard.before_kji]


def test_the_road_takes_surroundings_out_by_itself():
    grid = default_grid(TOO_SHORT, spacing_mm=5.0)
    settings = ReconstructionSettings(tv_strength=1e-3, quality="preview")
    done = reconstruct(scanned(TOO_SHORT), grid, settings)
    assert done.volume.grid.same_as(grid)
    assert done.report["surroundings"]
    caps = (done.volume.array - draw(LONG_BODY, grid, 2))[[0, -1]] / LONG_BODY[0].value
    assert np.abs(caps.mean()) < 0.05
    whole = circular_scan(8, detector=(200, 110), pixel_mm=4.0)
    inside = VolumeGrid.centred((70, 40, 40), 6.0)
    assert reconstruct(scanned(whole), inside, settings).report["surroundings"] == ""
