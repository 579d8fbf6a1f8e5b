"""Poses, grids and projections: round trips, invariances and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project
from hypothesis import given
from hypothesis import strategies as st

from NASAM3DLib.scan.alignment import rotation_centre_column, with_rotation_centre
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet, line_integrals, sparse_views


@given(
    st.tuples(*[st.floats(-100, 100)] * 3),
    st.booleans(),
    st.tuples(*[st.floats(-0.2, 0.2)] * 3),
)
def test_a_point_projects_onto_the_pixel_whose_ray_meets_it(point, parallel, tilt):
    scan = circular_scan(3, parallel=parallel, detector_tilt_rad=tilt, detector_offset_mm=(3, -8))
    for view in range(scan.n_views):
        row, column = scan.project_points(view, point)
        origin, direction = scan.rays(view, row, column)
        to_point = np.asarray(point) - origin
        off_axis = to_point - (to_point @ direction) * direction
        assert np.linalg.norm(off_axis) < 1e-6


def test_source_starts_on_the_right_and_turns_towards_anterior():
    orbit = CircularOrbit(np.array([0.0, np.pi / 2]), (1.0, 1.0), 500.0, 800.0)
    scan = ConeBeamGeometry.circular(orbit, (5, 7))
    np.testing.assert_allclose(scan.sources_ras[:, :3], [[500, 0, 0], [0, 500, 0]], atol=1e-9)
    np.testing.assert_allclose(scan.detector_centres_ras, [[-300, 0, 0], [0, -300, 0]], atol=1e-9)
    np.testing.assert_allclose(scan.detector_u_ras, [[0, 1, 0], [-1, 0, 0]], atol=1e-9)
    np.testing.assert_allclose(scan.detector_v_ras, [[0, 0, 1], [0, 0, 1]], atol=1e-9)


def test_a_parallel_beam_is_the_limit_of_a_far_source():
    near = circular_scan(4, parallel=True)
    orbit = CircularOrbit(near.orbit.angles_rad, (4.0, 4.0), 1e7, 1e7 + 300)
    far = ConeBeamGeometry.circular(orbit, near.detector_shape)
    point = np.array([20.0, -30.0, 10.0])
    for view in range(4):
        np.testing.assert_allclose(
            far.project_points(view, point), near.project_points(view, point), atol=1e-3
        )


def test_selected_views_keep_their_poses():
    scan = circular_scan(10)
    part = scan.select([7, 2])
    np.testing.assert_array_equal(part.sources_ras, scan.sources_ras[[7, 2]])
    np.testing.assert_array_equal(part.orbit.angles_rad, scan.orbit.angles_rad[[7, 2]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles_rad": np.arange(0.0, 360.0, 7.2)}, "look like degrees.*deg2rad"),
        ({"angles_rad": np.array([0.0, np.nan])}, "one finite angle per view"),
        ({"pixel_spacing_mm": (1.0, -2.0)}, "two positive numbers"),
        ({"source_to_detector_mm": None}, "Give both"),
        ({"source_to_isocenter_mm": -500.0}, "must be positive"),
        ({"source_to_isocenter_mm": 1500.0, "source_to_detector_mm": 500.0}, "exchanged"),
    ],
)
def test_impossible_orbits_are_refused(change, message):
    settings = {
        "angles_rad": np.array([0.0, 1.0]),
        "pixel_spacing_mm": (1.0, 1.0),
        "source_to_isocenter_mm": 500.0,
        "source_to_detector_mm": 800.0,
    }
    with pytest.raises(ValueError, match=message):
        CircularOrbit(**(settings | change))


def test_source_in_the_detector_plane_is_refused():
    scan = circular_scan(3)
    with pytest.raises(ValueError, match="View 0: the source lies in the plane of the detector"):
        ConeBeamGeometry(
            scan.sources_ras,
            scan.detector_centres_ras,
            scan.detector_centres_ras,
            scan.detector_v_ras,
            scan.detector_shape,
        )


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((4, 0, 4), np.eye(4), "three positive integers"),
        ((4, 4, 4), np.eye(3), r"shape \(4, 4\)"),
        ((4, 4, 4), np.diag([1.0, 0.0, 1.0, 1.0]), "invertible"),
        ((4, 4, 4), np.full((4, 4), np.nan), "finite"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, message):
    with pytest.raises(ValueError, match=message):
        VolumeGrid(shape, affine)


def test_negative_spacing_is_refused():
    with pytest.raises(ValueError, match="spacing must be positive"):
        VolumeGrid.centred((4, 4, 4), (1.0, -1.0, 1.0))


@given(st.tuples(*[st.floats(-50, 50)] * 3), st.floats(0.2, 5.0), st.floats(-3.0, 3.0))
def test_points_survive_the_way_to_voxels_and_back(point, spacing, turn):
    cosine, sine = np.cos(turn), np.sin(turn)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, sine, 0], [sine, -cosine, 0], [0, 0, 1]]) * spacing
    grid = VolumeGrid((5, 6, 7), affine)
    np.testing.assert_allclose(grid.to_ras(grid.to_ijk(point)), point, atol=1e-9)


def test_a_resampled_grid_covers_the_same_box():
    grid = VolumeGrid.centred((5, 7, 9), (1.0, 2.0, 3.0), centre_ras=(4.0, 5.0, 6.0))
    np.testing.assert_allclose(grid.refined(3).corners_ras, grid.corners_ras)
    np.testing.assert_allclose(grid.resampled((2, 3, 4)).corners_ras, grid.corners_ras)
    assert VolumeGrid.from_dict(grid.to_dict()).same_as(grid)
    assert not grid.same_as(grid.refined(2))


@pytest.mark.parametrize("parallel", [False, True])
def test_the_default_grid_is_seen_by_every_view(parallel):
    scan = circular_scan(9, parallel=parallel, isocenter_ras=(10.0, 20.0, 30.0))
    grid = default_grid(scan)
    np.testing.assert_allclose(grid.centre_ras, (10.0, 20.0, 30.0), atol=1e-6)
    k, j, i = grid.shape_kji
    radius = (i - 1) / 2
    for view in range(scan.n_views):
        for turn in np.linspace(0, 2 * np.pi, 13):
            for end in (0, k - 1):
                ijk = (
                    (i - 1) / 2 + radius * np.cos(turn),
                    (j - 1) / 2 + radius * np.sin(turn),
                    end,
                )
                pixel = scan.project_points(view, grid.to_ras(ijk))
                assert (pixel >= -1).all()
                assert (pixel <= scan.detector_shape).all()


def test_beer_lambert_recovers_the_line_integrals():
    random = np.random.default_rng(0)
    expected = random.random((3, 8, 9)).astype(np.float32) * 4
    flat, dark = 1000 + 100 * random.random((8, 9)), 20 + random.random((8, 9))
    counts = dark + (flat - dark) * np.exp(-expected)
    np.testing.assert_allclose(line_integrals(counts, flat, dark_field=dark), expected, atol=2e-4)


def test_dead_pixels_take_their_neighbours_median():
    counts = np.full((2, 6, 6), 500.0)
    flat = np.full((6, 6), 1000.0)
    flat[2, 3] = 0.0
    counts[1, 4, 4] = np.nan
    np.testing.assert_allclose(line_integrals(counts, flat), np.log(2.0), rtol=1e-6)


def test_exchanged_flat_and_dark_fields_are_refused():
    with pytest.raises(ValueError, match="are flat and dark field exchanged"):
        line_integrals(np.full((2, 4, 4), 500.0), np.zeros((4, 4)), dark_field=np.ones((4, 4)))


def test_projections_of_wrong_shape_or_with_nan_are_refused():
    scan = circular_scan(3)
    with pytest.raises(ValueError, match=r"\(3, 48, 64\).*got \(48, 64, 3\): views come first"):
        ProjectionSet(np.zeros((48, 64, 3)), scan)
    values = np.zeros(scan.projections_shape)
    values[0, 0, :5] = np.nan
    with pytest.raises(ValueError, match="5 values that are NaN or infinite"):
        ProjectionSet(values, scan)


def test_raw_counts_taken_for_line_integrals_are_noticed(caplog):
    scan = circular_scan(2)
    ProjectionSet(np.full(scan.projections_shape, 3000.0), scan)
    assert "Are these raw counts?" in caplog.text


def test_sparse_views_are_spread_evenly():
    np.testing.assert_array_equal(sparse_views(360, 50)[:4], [0, 7, 14, 21])
    assert len(np.unique(sparse_views(91, 23))) == 23
    with pytest.raises(ValueError, match="Cannot choose 51 of 50"):
        sparse_views(50, 51)


@pytest.mark.parametrize("shift_columns", [0.0, 6.5, -3.25])
def test_the_rotation_axis_is_found_from_opposite_views(shift_columns):
    scan = circular_scan(
        13, arc_deg=195.0, parallel=True, detector_offset_mm=(0.0, -4.0 * shift_columns)
    )
    bodies = [
        Ellipsoid(0.02, (60.0, 40.0, 60.0), (5.0, 10.0, 0.0)),
        Ellipsoid(0.05, (12.0, 12.0, 20.0), (-25.0, 15.0, 10.0)),
    ]
    measured = ProjectionSet(project(bodies, scan), scan)
    column = rotation_centre_column(measured)
    assert column == pytest.approx(31.5 + shift_columns, abs=0.1)
    moved = with_rotation_centre(measured, column).geometry
    np.testing.assert_allclose(moved.detector_centres_ras, scan.detector_centres_ras, atol=0.4)


def test_without_opposite_views_the_axis_must_be_given():
    scan = circular_scan(5, arc_deg=90.0, parallel=True)
    with pytest.raises(ValueError, match="No two views are half a turn apart"):
        rotation_centre_column(ProjectionSet(np.zeros(scan.projections_shape), scan))
    cone = circular_scan(4)
    with pytest.raises(ValueError, match="parallel beam"):
        rotation_centre_column(ProjectionSet(np.zeros(cone.projections_shape), cone))


@pytest.mark.parametrize("parallel", [False, True], ids=["cone", "parallel"])
@pytest.mark.parametrize("shift_mm", [-90.0, 90.0])
def test_a_full_turn_with_a_shifted_detector_sees_farther(parallel, shift_mm):
    # Every point of the wider circle is on the detector in at least half of the views.
    scan = circular_scan(
        60, detector=(16, 60), parallel=parallel, detector_offset_mm=(0.0, shift_mm)
    )
    centred = circular_scan(60, detector=(16, 60), parallel=parallel)
    half_width = default_grid(scan).shape_kji[2] * default_grid(scan).spacing_mm[0] / 2
    assert half_width > 1.6 * default_grid(centred).shape_kji[2] * (
        default_grid(centred).spacing_mm[0] / 2
    )
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    border = (half_width - 3) * np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    columns = np.stack([scan.project_points(view, border)[:, 1] for view in range(60)])
    seen = (columns > -0.5) & (columns < 59.5)
    assert seen.mean(axis=0).min() > 0.4
    half_turn = circular_scan(
        60, arc_deg=180.0, detector=(16, 60), parallel=parallel, detector_offset_mm=(0.0, shift_mm)
    )
    assert default_grid(half_turn).same_as(default_grid(centred))
