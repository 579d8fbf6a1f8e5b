"""The laws of the projector: exactness, transpose, equivariance, agreement with a peer."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from analytic_objects import (
    Ellipsoid,
    box_line_integrals,
    circular_scan,
    draw,
    project,
    shepp_logan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from NASAM3DLib.reconstruct.projector import Projector, back_project, forward_project
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit

SCANS = {
    "cone": circular_scan(),
    "offset detector": circular_scan(detector_offset_mm=(7.0, 21.0)),
    "shifted centre": circular_scan(rotation_centre_shift_mm=5.0),
    "parallel": circular_scan(parallel=True),
    "tilted detector": circular_scan(detector_tilt_rad=(0.05, 0.1, -0.07)),
    "tilted parallel": circular_scan(parallel=True, detector_tilt_rad=(0.1, 0.0, 0.0)),
}


def turned_grid(turn_rad: float, about: str) -> VolumeGrid:
    """Make an anisotropic grid turned about one of the RAS axes."""
    cosine, sine = np.cos(turn_rad), np.sin(turn_rad)
    matrix = {
        "S": [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]],
        "R": [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]],
    }[about]
    affine = np.eye(4)
    affine[:3, :3] = np.array(matrix) @ np.diag([3.0, 4.0, 5.0])
    shape = (22, 30, 36)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return VolumeGrid(shape, affine)


GRIDS = {
    "aligned": VolumeGrid.centred((24, 32, 32), 4.0),
    "anisotropic, turned about S": turned_grid(0.4, "S"),
    "oblique": turned_grid(0.3, "R"),
}


def relative_mismatch(projector: Projector, seed: int) -> float:
    """Compare <A x, y> with <x, A^T y> for random x and y."""
    random = np.random.default_rng(seed)
    x = random.random(projector.grid.shape_kji, dtype=np.float32)
    y = random.random(projector.geometry.projections_shape, dtype=np.float32)
    left = np.vdot(projector.forward(x).astype(np.float64), y.astype(np.float64))
    right = np.vdot(x.astype(np.float64), projector.adjoint(y).astype(np.float64))
    return float(abs(left - right) / abs(left))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_adjoint_is_the_transpose(scan, grid):
    assert relative_mismatch(Projector(grid, scan), 0) < 1e-6


@settings(max_examples=15, deadline=None)
@given(
    shift_v=st.floats(-20, 20),
    shift_u=st.floats(-20, 20),
    near=st.floats(150, 900),
    ratio=st.floats(1.05, 3.0),
    seed=st.integers(0, 2**16),
)
def test_adjoint_is_the_transpose_for_any_distances(shift_v, shift_u, near, ratio, seed):
    orbit = CircularOrbit(
        np.linspace(0, 5, 6), (3.0, 5.0), near, near * ratio, detector_offset_mm=(shift_v, shift_u)
    )
    scan = ConeBeamGeometry.circular(orbit, (17, 23))
    assert relative_mismatch(Projector(GRIDS["aligned"], scan), seed) < 1e-6


@pytest.mark.parametrize("name", ["cone", "offset detector", "shifted centre", "parallel"])
@pytest.mark.parametrize("grid_name", ["aligned", "anisotropic, turned about S"])
def test_both_kernels_agree(name, grid_name):
    grid, scan = GRIDS[grid_name], SCANS[name]
    fast, general = Projector(grid, scan), Projector(grid, scan, separable=False)
    assert fast.separable
    random = np.random.default_rng(1)
    x = random.random(grid.shape_kji, dtype=np.float32)
    y = random.random(scan.projections_shape, dtype=np.float32)
    forward, reference = fast.forward(x), general.forward(x)
    np.testing.assert_allclose(forward, reference, atol=2e-5 * reference.max())
    back, reference = fast.adjoint(y), general.adjoint(y)
    np.testing.assert_allclose(back, reference, atol=2e-5 * reference.max())


def test_the_fast_kernel_takes_rows_that_run_down_as_well():
    scan = SCANS["offset detector"]
    flipped = ConeBeamGeometry(
        scan.sources_ras,
        scan.detector_centres_ras,
        scan.detector_u_ras,
        -scan.detector_v_ras,
        scan.detector_shape,
    )
    grid = GRIDS["aligned"]
    x = np.random.default_rng(2).random(grid.shape_kji, dtype=np.float32)
    expected = forward_project(x, grid, scan)
    np.testing.assert_allclose(
        forward_project(x, grid, flipped), expected[:, ::-1], atol=1e-5 * expected.max()
    )
    assert Projector(grid, flipped).separable
    assert relative_mismatch(Projector(grid, flipped), 3) < 1e-6


def test_tilted_detectors_and_oblique_grids_take_the_general_kernel():
    assert not Projector(GRIDS["aligned"], SCANS["tilted detector"]).separable
    assert not Projector(GRIDS["oblique"], SCANS["cone"]).separable
    with pytest.raises(ValueError, match="rows along the grid's k axis"):
        Projector(GRIDS["oblique"], SCANS["cone"], separable=True)


@pytest.fixture(scope="module")
def drawn_sphere():
    sphere = Ellipsoid(0.02, (30.0, 30.0, 30.0), (18.0, -12.0, 5.0))
    grid = VolumeGrid.centred((72, 100, 100), 1.0, centre_ras=(12.0, -6.0, 3.0))
    return sphere, grid, draw([sphere], grid, 3)


@pytest.mark.parametrize("name", SCANS)
def test_off_centre_sphere_is_within_four_thousandths(name, drawn_sphere):
    scan = SCANS[name]
    sphere, grid, array = drawn_sphere
    exact = project([sphere], scan)
    computed = forward_project(array, grid, scan)
    rms = np.sqrt(np.mean((computed - exact) ** 2))
    assert rms <= 0.004 * exact.max()


def rtk_test_scan(near_mm: np.ndarray, angles_rad: np.ndarray) -> ConeBeamGeometry:
    """Make the views of rtkforwardprojectiontest: 64 x 64 pixels of 4 mm, detector at 1 m."""
    views = [
        CircularOrbit(np.array([angle]), (4.0, 4.0), near, 1000.0).poses()
        for near, angle in zip(near_mm, angles_rad, strict=True)
    ]
    sources, centres, steps_u, steps_v = (np.concatenate(part) for part in zip(*views, strict=True))
    return ConeBeamGeometry(sources, centres, steps_u, steps_v, (64, 64))


def assert_rtk_quality(computed: np.ndarray, exact: np.ndarray) -> None:
    """Apply the limits of RTK's test: mean absolute error 1.28, PSNR 44 dB at a peak of 255."""
    error = (computed - exact).astype(np.float64)
    assert np.abs(error).mean() < 1.28
    assert 10 * np.log10(255.0**2 / np.mean(error**2)) > 44.0


FULL_TURN = np.arange(45) * np.deg2rad(8.0)
QUARTER = np.deg2rad(-45.0 + 2.0 * np.arange(45))


@pytest.mark.parametrize("quarter", range(4))
def test_box_seen_from_inside_as_in_rtks_own_test(quarter):
    scan = rtk_test_scan(47.6 / np.cos(QUARTER), QUARTER + quarter * np.pi / 2)
    assert_rtk_quality(*project_box(scan))


def test_box_seen_from_outside_as_in_rtks_own_test():
    assert_rtk_quality(*project_box(rtk_test_scan(np.full(45, 500.0), FULL_TURN)))


def project_box(scan: ConeBeamGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Project a cube of ones and give the exact lengths beside it."""
    computed = forward_project(np.ones((64,) * 3), VolumeGrid.centred((64,) * 3, 4.0), scan)
    exact = np.empty_like(computed)
    rows, columns = np.indices(scan.detector_shape)
    for view in range(scan.n_views):
        origins, directions = scan.rays(view, rows, columns)
        far = np.linalg.norm(scan.pixel_centres_ras(view, rows, columns) - origins, axis=-1)
        # The value falls to zero within a voxel, which moves the edge half a voxel outwards.
        exact[view] = box_line_integrals(origins, directions, 128.0, far=far)
    return computed, exact


def test_shepp_logan_as_in_rtks_own_test():
    bodies = shepp_logan(128.0)
    grid = VolumeGrid.centred((128,) * 3, 2.0)
    scan = rtk_test_scan(np.full(45, 500.0), FULL_TURN)
    assert_rtk_quality(forward_project(draw(bodies, grid, 1), grid, scan), project(bodies, scan))


def test_moving_object_and_scanner_together_changes_nothing():
    grid, move = GRIDS["aligned"], np.array([31.0, -12.0, 57.0])
    affine = np.array(grid.ijk_to_ras)
    affine[:3, 3] += move
    moved_scan = circular_scan(isocenter_ras=tuple(move))
    x = np.random.default_rng(4).random(grid.shape_kji, dtype=np.float32)
    expected = forward_project(x, grid, SCANS["cone"])
    moved = forward_project(x, VolumeGrid(grid.shape_kji, affine), moved_scan)
    np.testing.assert_allclose(moved, expected, atol=1e-4 * expected.max())


def test_turning_by_a_quarter_turns_the_projections():
    scan = circular_scan(4)
    grid = VolumeGrid.centred((24, 32, 32), 4.0)
    x = np.random.default_rng(5).random(grid.shape_kji, dtype=np.float32)
    # A counter-clockwise turn takes +R to +A: new[j, i] = old[-i, j].
    turned = np.rot90(x, k=-1, axes=(1, 2))
    expected = forward_project(x, grid, scan)
    np.testing.assert_allclose(
        forward_project(turned, grid, scan),
        np.roll(expected, 1, axis=0),
        atol=1e-4 * expected.max(),
    )


def test_three_balls_appear_where_the_geometry_says():
    grid = VolumeGrid.centred((48, 64, 64), 2.0)
    scan = circular_scan(7, detector_offset_mm=(5.0, -9.0), rotation_centre_shift_mm=3.0)
    for centre in ((30.0, 5.0, 10.0), (-8.0, 35.0, -20.0), (0.0, -25.0, 25.0)):
        ball = draw([Ellipsoid(1.0, (6.0, 6.0, 6.0), centre)], grid, 3)
        images = forward_project(ball, grid, scan).astype(np.float64)
        for view, image in enumerate(images):
            rows, columns = np.indices(image.shape)
            found = np.array([(rows * image).sum(), (columns * image).sum()]) / image.sum()
            np.testing.assert_allclose(found, scan.project_points(view, centre), atol=0.1)


@pytest.mark.parametrize("name", ["cone", "tilted detector"])
def test_result_does_not_depend_on_the_number_of_threads(name):
    grid, scan = GRIDS["aligned"], SCANS[name]
    random = np.random.default_rng(6)
    x = random.random(grid.shape_kji, dtype=np.float32)
    y = random.random(scan.projections_shape, dtype=np.float32)
    both = forward_project(x, grid, scan), back_project(y, grid, scan)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        single = forward_project(x, grid, scan), back_project(y, grid, scan)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(single[0], both[0])
    np.testing.assert_array_equal(single[1], both[1])


@pytest.mark.parametrize("name", ["cone", "tilted detector"])
def test_small_chunks_yield_often_and_change_no_bit(name, monkeypatch):
    grid, scan = GRIDS["aligned"], SCANS[name]
    projector = Projector(grid, scan)
    random = np.random.default_rng(8)
    x = random.random(grid.shape_kji, dtype=np.float32)
    y = random.random(scan.projections_shape, dtype=np.float32)
    forward, back = projector.forward(x), projector.adjoint(y)
    monkeypatch.setattr("NASAM3DLib.reconstruct.projector.MOST_SAMPLES", 7 * 48 * 64 * 32)
    seen = []
    chunked = projector.forward(x, progress=lambda stage, fraction: seen.append(fraction))
    assert seen == [0.0, 7 / 20, 14 / 20]
    np.testing.assert_array_equal(chunked, forward)
    seen.clear()
    chunked = projector.adjoint(y, progress=lambda stage, fraction: seen.append(fraction))
    assert len(seen) == 3 * (2 if projector.separable else 3)
    assert seen == sorted(seen)
    np.testing.assert_array_equal(chunked, back)


@pytest.mark.parametrize("name", ["cone", "tilted detector"])
def test_given_memory_is_used_and_overwritten(name):
    grid, scan = GRIDS["aligned"], SCANS[name]
    projector = Projector(grid, scan)
    x = np.random.default_rng(9).random(grid.shape_kji, dtype=np.float32)
    images = projector.forward(x)
    back = projector.adjoint(images)
    again = projector.forward(np.ones(grid.shape_kji))
    assert np.shares_memory(projector.forward(x, out=again), again)
    np.testing.assert_array_equal(again, images)
    volume = projector.adjoint(np.ones_like(images))
    assert np.shares_memory(projector.adjoint(images, out=volume), volume)
    np.testing.assert_array_equal(volume, back)
    with pytest.raises(ValueError, match="memory order that the same method returns"):
        projector.adjoint(images, out=np.zeros(grid.shape_kji, dtype=np.float32))
    with pytest.raises(ValueError, match="out must be a float32 array of shape"):
        projector.forward(x, out=again.astype(np.float64))


def test_rays_that_graze_borders_keep_the_transpose_exact():
    # The detector is inside the grid and the source beside it: runs begin, end and cross borders.
    random = np.random.default_rng(10)
    poses = []
    for _ in range(6):
        source = np.append(random.uniform(-70, 70, 3), 1.0)
        poses.append((source, *(random.uniform(-40, 40, 3), *random.uniform(-6, 6, (2, 3)))))
    scan = ConeBeamGeometry(
        *(np.array(part) for part in zip(*poses, strict=True)), detector_shape=(11, 13)
    )
    projector = Projector(GRIDS["oblique"], scan)
    assert not projector.separable
    assert relative_mismatch(projector, 11) < 1e-6
    assert projector.forward(np.ones(GRIDS["oblique"].shape_kji)).max() > 30.0


def test_wrong_shapes_are_named():
    grid, scan = GRIDS["aligned"], SCANS["cone"]
    with pytest.raises(ValueError, match=r"shape \(k, j, i\) = \(24, 32, 32\).*got \(32, 32, 24\)"):
        forward_project(np.zeros((32, 32, 24)), grid, scan)
    with pytest.raises(ValueError, match=r"\(20, 48, 64\).*got \(48, 64, 20\)"):
        back_project(np.zeros((48, 64, 20)), grid, scan)


def test_agrees_with_rtk_on_a_random_volume_with_offsets():
    itk = pytest.importorskip("itk", reason="itk-rtk is not installed")
    if not hasattr(itk, "RTK"):
        pytest.skip("itk is installed without RTK")
    rtk, image_type = itk.RTK, itk.Image[itk.F, 3]
    n, spacing, offset_v, offset_u = 48, 4.0, 9.0, -14.0
    random = np.random.default_rng(7)
    x = np.zeros((n, n, n), dtype=np.float32)
    # A margin of zeros: the two projectors treat the outermost half voxel differently.
    x[2:-2, 2:-2, 2:-2] = random.random((n - 4,) * 3, dtype=np.float32)
    angles = np.arange(16) * 2 * np.pi / 16 + 0.01
    orbit = CircularOrbit(angles, (5.0, 5.0), 500.0, 800.0, detector_offset_mm=(offset_v, offset_u))
    scan = ConeBeamGeometry.circular(orbit, (64, 72))
    ours = forward_project(x, VolumeGrid.centred((n,) * 3, spacing), scan)

    def image(array, steps, origin):
        made = itk.image_from_array(np.ascontiguousarray(array, dtype=np.float32))
        made.SetSpacing(steps)
        made.SetOrigin(origin)
        return made

    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in angles:
        geometry.AddProjection(500.0, 800.0, float(np.degrees(angle)), offset_u, offset_v)
    # RTK's axes (x, y, z) are our (A, S, R): its arrays are indexed [R, S, A].
    start = -(n - 1) / 2 * spacing
    volume = image(x.transpose(2, 0, 1), [spacing] * 3, [start] * 3)
    empty = image(np.zeros(ours.shape), [5.0, 5.0, 1.0], [-71 / 2 * 5.0, -63 / 2 * 5.0, 0.0])
    filter_ = rtk.JosephForwardProjectionImageFilter[image_type, image_type].New()
    filter_.SetInput(0, empty)
    filter_.SetInput(1, volume)
    filter_.SetGeometry(geometry)
    filter_.Update()
    theirs = itk.array_from_image(filter_.GetOutput())
    rms = np.sqrt(np.mean((ours - theirs) ** 2))
    assert rms <= 0.002 * theirs.max()
