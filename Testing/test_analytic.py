"""Filtered back-projection gives the right number, for every arc and beam."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.analytic import ramp_response, reconstruct_fdk
from NASAM3DLib.reconstruct.redundancy import redundancy_weights, view_steps
from NASAM3DLib.scan.field_of_view import lateral_mm, lateral_reach
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.scan.truncation import RowTails

SPHERE = Ellipsoid(0.02, (30.0, 30.0, 30.0), (15.0, -20.0, 5.0))
GRID = VolumeGrid.centred((12, 64, 64), 2.5, centre_ras=(0.0, 0.0, 5.0))


def mean_inside(arc_deg: float, parallel: bool, **orbit: object) -> tuple[float, float]:
    """Reconstruct a sphere; give mean inside and mean magnitude outside, relative to the truth."""
    scan = circular_scan(
        120, arc_deg=arc_deg, detector=(64, 160), pixel_mm=2.0, parallel=parallel, **orbit
    )
    array = reconstruct_fdk(ProjectionSet(project([SPHERE], scan), scan), GRID, hann_cutoff=0)
    k, j, i = np.indices(GRID.shape_kji)
    points = GRID.to_ras(np.stack([i, j, k], axis=-1))
    distance = np.linalg.norm(points - np.array(SPHERE.centre_ras), axis=-1)
    inside, outside = array[distance < 24], array[distance > 38]
    return float(inside.mean() / SPHERE.value), float(np.abs(outside).mean() / SPHERE.value)


@pytest.mark.parametrize("parallel", [False, True], ids=["cone", "parallel"])
@pytest.mark.parametrize("arc_deg", [360.0, 220.0])
@pytest.mark.parametrize(
    "orbit",
    [{}, {"detector_offset_mm": (4.0, 6.0)}, {"rotation_centre_shift_mm": 4.0}],
    ids=["centred", "offset", "shifted"],
)
def test_value_of_a_sphere_is_right_within_half_a_percent(arc_deg, parallel, orbit):
    inside, outside = mean_inside(arc_deg, parallel, **orbit)
    assert inside == pytest.approx(1.0, abs=0.005)
    assert outside < 0.03


def test_exactly_half_a_turn_is_exact_for_a_parallel_beam():
    inside, _ = mean_inside(180.0, True)
    assert inside == pytest.approx(1.0, abs=0.002)


def test_exactly_half_a_turn_loses_little_for_a_cone_beam():
    # Rays at the fan's edge were never measured: 2.5 % low is what is missing, not a wrong weight.
    inside, _ = mean_inside(180.0, False)
    assert inside == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("arc_deg", [360.0, 270.0, 220.0, 180.0])
def test_weights_of_both_measurements_of_a_line_add_up_to_one(arc_deg):
    # A detector of two columns at +-gamma: view beta at +gamma sees the line of beta' at -gamma.
    n_views = 3600
    orbit = CircularOrbit(
        np.arange(n_views) * np.deg2rad(arc_deg) / n_views, (1.0, 40.0), 500.0, 800.0
    )
    scan = ConeBeamGeometry.circular(orbit, (1, 2))
    weights = redundancy_weights(scan)[:, 0]
    gamma = np.arctan(20.0 / 800.0)
    checked = 0
    for view in range(n_views):
        partner = (orbit.angles_rad[view] + np.pi - 2 * gamma) % (2 * np.pi)
        other = int(np.argmin(np.abs(orbit.angles_rad - partner)))
        if abs(orbit.angles_rad[other] - partner) < np.deg2rad(0.06):
            assert weights[view, 1] + weights[other, 0] == pytest.approx(1.0, abs=0.02)
            checked += 1
    assert checked > 0


def test_a_short_scan_without_a_partner_counts_fully():
    scan = circular_scan(90, arc_deg=180.0)
    assert redundancy_weights(scan)[45, 0, 0] == pytest.approx(1.0)


def test_view_steps_fill_the_arc_for_uneven_and_unsorted_views():
    random = np.random.default_rng(0)
    full = np.sort(random.random(40)) * 2 * np.pi
    orbit = CircularOrbit(random.permutation(full), (1.0, 1.0))
    assert view_steps(orbit).min() > 0
    even = CircularOrbit(np.arange(50) * 2 * np.pi / 50, (1.0, 1.0))
    np.testing.assert_allclose(view_steps(even), 2 * np.pi / 50)
    half = CircularOrbit(np.arange(50) * np.pi / 50, (1.0, 1.0))
    assert view_steps(half).sum() == pytest.approx(np.pi)


def test_ramp_filter_takes_out_the_mean_and_grows_linearly():
    response = ramp_response(128, 0.5, hann_cutoff=0)
    frequency = np.arange(response.size) / (2 * (response.size - 1) * 0.5)
    np.testing.assert_allclose(response[10:-10], frequency[10:-10], rtol=0.02)
    assert response[0] < 0.01


def test_filtered_back_projection_says_what_it_cannot_do():
    scan = circular_scan(20)
    general = ConeBeamGeometry(
        scan.sources_ras,
        scan.detector_centres_ras,
        scan.detector_u_ras,
        scan.detector_v_ras,
        scan.detector_shape,
    )
    for geometry, message in (
        (general, "needs a circular orbit"),
        (circular_scan(20, detector_tilt_rad=(0.2, 0.0, 0.0)), "upright detector"),
        (circular_scan(20, arc_deg=60.0), "cover only 60 degrees"),
    ):
        projections = ProjectionSet(np.zeros(geometry.projections_shape), geometry)
        with pytest.raises(ValueError, match=message):
            reconstruct_fdk(projections, GRID)


def test_cancelling_ends_the_job():
    scan = circular_scan(20)

    def cancel(stage: str, fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct_fdk(
            ProjectionSet(np.zeros(scan.projections_shape), scan), GRID, progress=cancel
        )


BODY = [
    Ellipsoid(0.02, (95.0, 75.0, 90.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.01, (20.0, 15.0, 20.0), (40.0, -30.0, 0.0)),
    Ellipsoid(-0.01, (15.0, 15.0, 30.0), (-50.0, 20.0, 0.0)),
]
SLAB = VolumeGrid.centred((2, 66, 80), 2.5)


def body_error(n_columns: int, offset_mm: float = 0.0, **scan: object) -> float:
    """Reconstruct the body; give the root mean square error in it relative to its value."""
    geometry = circular_scan(
        120,
        detector=(6, n_columns),
        pixel_mm=2.0,
        detector_offset_mm=(0.0, offset_mm),
        **scan,
    )
    array = reconstruct_fdk(ProjectionSet(project(BODY, geometry), geometry), SLAB)
    truth = draw(BODY, SLAB, 2)
    inside = draw(BODY[:1], SLAB, 1) > 0
    return float(np.sqrt(np.mean((array - truth)[inside] ** 2)) / BODY[0].value)


@pytest.mark.parametrize("parallel", [False, True], ids=["cone", "parallel"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_detector_shifted_by_45_percent_is_as_good_as_a_wide_one(parallel, sign):
    wide = body_error(220, parallel=parallel)
    assert body_error(122, sign * 98.0, parallel=parallel) < 1.05 * wide


def test_without_its_weights_a_shifted_detector_fails(monkeypatch):
    def even(geometry: ConeBeamGeometry, *, columns: np.ndarray) -> np.ndarray:
        return np.full((geometry.n_views, 1, len(columns)), 0.5, dtype=np.float32)

    monkeypatch.setattr("NASAM3DLib.reconstruct.analytic.redundancy_weights", even)
    assert body_error(122, 98.0) > 0.5


def test_weights_of_a_narrow_overlap_are_those_of_wang():
    scan = circular_scan(60, detector=(1, 110), pixel_mm=2.0, detector_offset_mm=(0.0, 100.0))
    orbit = scan.orbit
    place = lateral_mm(orbit, (np.arange(110) - 54.5) * 2.0)
    near = lateral_reach(scan).shorter_mm
    wang = (1 + np.sin(np.pi / 2 * np.clip(place / near, -1, 1))) / 2
    np.testing.assert_allclose(redundancy_weights(scan)[7, 0], wang, atol=1e-6)


@pytest.mark.parametrize("offset_mm", [0.0, 20.0, 70.0])
def test_weights_of_opposite_rays_of_a_shifted_detector_add_up_to_one(offset_mm):
    scan = circular_scan(
        60, detector=(1, 100), pixel_mm=2.0, parallel=True, detector_offset_mm=(0.0, offset_mm)
    )
    columns = np.arange(-110, 210)
    weights = redundancy_weights(scan, columns=columns)[0, 0]
    mirrored = np.round(99 - offset_mm - columns).astype(int)
    seen = np.isin(mirrored, columns)
    partner = weights[mirrored[seen] - columns[0]]
    np.testing.assert_allclose(weights[seen] + partner, 1.0, atol=1e-6)


def test_a_detector_beside_the_axis_is_refused():
    scan = circular_scan(20, detector=(4, 20), pixel_mm=2.0, detector_offset_mm=(0.0, 30.0))
    with pytest.raises(ValueError, match="does not show the rotation axis"):
        redundancy_weights(scan)


def rim_and_middle(n_columns: int, parallel: bool) -> tuple[float, float]:
    """Give the mean error in a ring at the border of the field of view, and in its middle."""
    scan = circular_scan(120, detector=(6, n_columns), pixel_mm=2.0, parallel=parallel)
    array = reconstruct_fdk(ProjectionSet(project(BODY, scan), scan), SLAB)
    error = (array - draw(BODY, SLAB, 2)) / BODY[0].value
    points = SLAB.to_ras(np.moveaxis(np.indices(SLAB.shape_kji)[::-1], 0, -1))
    distance = np.hypot(points[..., 0], points[..., 1])
    radius = lateral_reach(scan).longer_mm
    ring = (distance > radius - 10) & (distance < radius - 1)
    return float(error[ring].mean()), float(error[distance < radius / 2].mean())


@pytest.mark.parametrize(("parallel", "n_columns"), [(False, 80), (False, 100), (True, 60)])
def test_an_object_wider_than_the_field_of_view_has_no_bright_rim(parallel, n_columns, monkeypatch):
    rim, middle = rim_and_middle(n_columns, parallel)
    assert abs(rim) < 0.07
    assert abs(middle) < 0.03

    def cut(projection_set: ProjectionSet) -> RowTails:
        nothing = np.zeros((projection_set.n_views, 0), dtype=np.float32)
        return RowTails(nothing, nothing)

    monkeypatch.setattr("NASAM3DLib.reconstruct.analytic.row_tails", cut)
    plain, _ = rim_and_middle(n_columns, parallel)
    assert plain > 0.8


@pytest.mark.parametrize("parallel", [False, True], ids=["cone", "parallel"])
@pytest.mark.parametrize("arc_deg", [194.0, -180.0, -220.0, -360.0])
def test_short_scans_and_scans_the_other_way_round(arc_deg, parallel):
    # 194 degrees is half a turn plus the fan that the sphere fills.
    inside, outside = mean_inside(arc_deg, parallel)
    missing = 0.04 if abs(arc_deg) == 180.0 and not parallel else 0.005
    assert inside == pytest.approx(1.0, abs=missing)
    assert outside < 0.05


def test_a_scan_of_more_than_a_turn_counts_its_overlap_once():
    orbit = CircularOrbit(np.arange(130) * 2 * np.pi / 100 + 0.01, (1.0, 1.0))
    steps = view_steps(orbit)
    assert steps.min() >= 0
    assert steps.sum() == pytest.approx(2 * np.pi)
    inside, _ = mean_inside(468.0, False)
    assert inside == pytest.approx(1.0, abs=0.005)


def test_a_long_object_stays_even_beyond_the_last_row():
    body = Ellipsoid(0.02, (60.0, 60.0, 400.0), (0.0, 0.0, 0.0))
    scan = circular_scan(60, detector=(20, 80), pixel_mm=4.0)
    grid = VolumeGrid.centred((17, 40, 40), 3.0)
    array = reconstruct_fdk(ProjectionSet(project([body], scan), scan), grid)
    middle, end = array[8, 12:28, 12:28].mean(), array[0, 12:28, 12:28].mean()
    assert middle == pytest.approx(0.02, rel=0.03)
    assert end == pytest.approx(middle, rel=0.05)
