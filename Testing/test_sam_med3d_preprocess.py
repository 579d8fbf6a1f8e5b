"""From a volume to the network's cube and back: places, values, orientations, padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from clicked_objects import dice, distance_from, sphere

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.sam_med3d.canonical import (
    CanonicalVolume,
    canonical_mask,
    canonical_volume,
    held_by,
    to_nearest_ras,
    voxels_in,
)
from NASAM3DLib.segment.sam_med3d.paste import covered_box, paste_logits, paste_mask
from NASAM3DLib.segment.sam_med3d.region_cut import (
    begin_around_mask,
    begin_around_voxel,
    cut_cube,
    cut_region,
    z_scores,
)


def rotation(*angles_rad: float) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        turn = np.eye(3)
        a, b = (n for n in range(3) if n != axis)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def grid_with(directions: np.ndarray, spacing, shape_kji, centre=(0.0, 0.0, 0.0)) -> VolumeGrid:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing)
    middle = (np.array(shape_kji[::-1]) - 1) / 2
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ middle
    return VolumeGrid(shape_kji, affine)


OBLIQUE = grid_with(rotation(0.2, -0.3, 0.25), (1.1, 1.3, 2.4), (30, 44, 52), (5.0, -8.0, 20.0))
SWAPPED = grid_with(np.eye(3)[[1, 2, 0]] * [1, -1, -1], (0.9, 1.5, 2.0), (28, 40, 50))


def ramp(grid: VolumeGrid) -> Volume:
    """A volume whose value is linear in place, so that interpolation is exact."""
    k, j, i = np.indices(grid.shape_kji)
    points = grid.to_ras(np.stack([i, j, k], axis=-1))
    return Volume((points @ [1.7, -0.6, 2.3] + 400.25).astype(np.float32), grid, "HU")


def brute_force(volume: Volume, grid: VolumeGrid) -> np.ndarray:
    """Trilinear interpolation at the centres of a grid, constant up to the outer faces."""
    k, j, i = np.indices(grid.shape_kji)
    ijk = volume.grid.to_ijk(grid.to_ras(np.stack([i, j, k], axis=-1)))
    counts = np.array(volume.grid.shape_kji[::-1])
    inside = ((ijk >= -0.5) & (ijk < counts - 0.5)).all(axis=-1)
    clipped = np.clip(ijk, 0, counts - 1)
    low = np.minimum(np.floor(clipped).astype(int), np.maximum(counts - 2, 0))
    part = clipped - low
    total = np.zeros(grid.shape_kji)
    for corner in itertools.product((0, 1), repeat=3):
        at = np.minimum(low + corner, counts - 1)
        weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
        total += weight * volume.array[at[..., 2], at[..., 1], at[..., 0]]
    return np.where(inside, total, 0)


@pytest.mark.parametrize("grid", [OBLIQUE, SWAPPED], ids=["oblique", "swapped"])
def test_resampling_is_trilinear_with_the_first_corner_kept(grid):
    volume = Volume(
        np.random.default_rng(0).normal(50, 300, grid.shape_kji).astype(np.float32), grid, "HU"
    )
    got = canonical_volume(volume)
    assert np.allclose(got.grid.spacing_mm, 1.5)
    np.testing.assert_allclose(got.array_hu, brute_force(volume, got.grid), atol=2e-3)
    # The outer corner of the first stored voxel is one of the new grid's corners.
    corner = grid.to_ras((-0.5, -0.5, -0.5))
    assert np.linalg.norm(got.grid.corners_ras - corner, axis=1).min() < 1e-9
    wanted = sorted(np.ceil(np.array(grid.shape_kji[::-1]) * grid.spacing_mm / 1.5 - 1e-6))
    assert sorted(got.grid.shape_kji) == wanted


@pytest.mark.parametrize("grid", [OBLIQUE, SWAPPED], ids=["oblique", "swapped"])
def test_axes_point_nearest_to_right_anterior_superior(grid):
    directions = canonical_volume(ramp(grid)).grid.ijk_to_ras[:3, :3] / 1.5
    assert (np.argmax(np.abs(directions), axis=0) == [0, 1, 2]).all()
    assert (np.diag(directions) > 0).all()
    # Axes are exchanged and turned round, nothing is rotated.
    stored = grid.ijk_to_ras[:3, :3] / grid.spacing_mm
    products = np.abs(directions.T @ stored)
    assert np.allclose(np.sort(products, axis=0)[-1], 1)


def test_a_canonical_volume_is_left_as_it_is():
    grid = VolumeGrid.centred((20, 24, 28), 1.5)
    volume = ramp(grid)
    got = canonical_volume(volume)
    assert got.grid.same_as(grid)
    np.testing.assert_allclose(got.array_hu, volume.array, rtol=1e-6)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)])
def test_the_way_of_storage_changes_no_value(order, flips):
    grid = VolumeGrid.centred((20, 30, 24), (2.0, 1.5, 3.0), centre_ras=(3.0, 4.0, 5.0))
    volume = ramp(grid)
    array = volume.array.transpose(order)
    steps = grid.ijk_to_ras[:3, :3].T[::-1][list(order)]
    origin = grid.ijk_to_ras[:3, 3].copy()
    for axis, flip in enumerate(flips):
        if flip:
            origin += steps[axis] * (array.shape[axis] - 1)
            array = np.flip(array, axis)
            steps[axis] = -steps[axis]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps[::-1].T, origin
    stored = Volume(np.ascontiguousarray(array), VolumeGrid(array.shape, affine), "HU")
    back, back_grid = to_nearest_ras(stored.array, stored.grid)
    assert back_grid.same_as(grid)
    np.testing.assert_array_equal(back, volume.array)
    # All edges are whole numbers of new voxels, so that the first corner may be any corner.
    np.testing.assert_allclose(
        canonical_volume(stored).array_hu, canonical_volume(volume).array_hu, atol=1e-3
    )


def test_whole_numbers_are_cut_towards_zero():
    grid = VolumeGrid.centred((20, 20, 20), 2.0)
    array = np.random.default_rng(0).integers(-1000, 1000, grid.shape_kji).astype(np.float32)
    volume = Volume(array, grid, "HU")
    exact = canonical_volume(volume, whole_numbers=False)
    whole = canonical_volume(volume)
    assert np.abs(exact.array_hu - np.rint(exact.array_hu)).max() > 0.3
    # Where the exact value is whole up to rounding, either side is right.
    clear = np.abs(exact.array_hu - np.rint(exact.array_hu)) > 1e-3
    np.testing.assert_array_equal(whole.array_hu[clear], np.trunc(exact.array_hu)[clear])
    assert np.abs(whole.array_hu - exact.array_hu).max() <= 1
    assert (np.abs(whole.array_hu) <= np.abs(exact.array_hu) + 1e-3).all()


def test_attenuation_is_converted_to_hu_first():
    volume = ramp(OBLIQUE)
    got = canonical_volume(volume.to_attenuation())
    wanted = canonical_volume(volume, whole_numbers=False)
    np.testing.assert_allclose(got.array_hu, wanted.array_hu, atol=0.05)


def test_a_single_slice_stays_one():
    grid = VolumeGrid.centred((1, 30, 30), (2.0, 2.0, 5.0))
    assert canonical_volume(ramp(grid)).array_hu.shape == (1, 40, 40)


def test_outside_is_zero_not_air():
    grid = VolumeGrid.centred((10, 10, 10), 1.6)
    volume = Volume(np.full(grid.shape_kji, 300.0, np.float32), grid, "HU")
    values = np.unique(canonical_volume(volume).array_hu)
    assert values.tolist() in ([300.0], [0.0, 300.0])


def test_masks_move_with_the_volume():
    inside = distance_from(OBLIQUE, tuple(OBLIQUE.centre_ras)) < 15
    got = canonical_mask(Mask(inside, OBLIQUE))
    volume = canonical_volume(ramp(OBLIQUE))
    assert got.grid.same_as(volume.grid)
    assert dice(got.array, distance_from(got.grid, tuple(OBLIQUE.centre_ras)) < 15) > 0.95


@pytest.mark.parametrize("voxel", [(0, 0, 0), (10, 40, 25), (59, 0, 30)])
def test_the_click_lies_in_the_middle_of_the_region(voxel):
    grid = VolumeGrid.centred((50, 55, 60), 1.5)
    volume = CanonicalVolume(ramp(grid).array, grid)
    region = cut_region(volume, begin_around_voxel(voxel, 32), 32)
    point = grid.to_ras(voxel)
    assert voxels_in(region.grid, point).tolist() == [16, 16, 16]
    assert volume.voxel_at(point) == voxel
    assert region.image_ijk.shape == (1, 1, 32, 32, 32)
    i, j, k = voxel
    above = cut_cube(volume.array_hu, begin_around_voxel(voxel, 32), 32)
    above = above[above > 0].astype(float)
    wanted = (float(volume.array_hu[k, j, i]) - above.mean()) / above.std(ddof=1)
    assert region.image_ijk[0, 0, 16, 16, 16] == pytest.approx(wanted, rel=1e-4)


def test_points_of_a_region_are_told_from_others():
    grid = VolumeGrid.centred((8, 8, 8), 1.5)
    points = grid.to_ras([[0, 0, 0], [7, 7, 7], [-0.4, 3, 3], [-0.6, 3, 3], [7.4, 0, 0], [8, 0, 0]])
    assert held_by(grid, points).tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_cubes_are_padded_with_zeros(seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(1, 9, size=rng.integers(3, 12, size=3))
    begin = tuple(int(n) for n in rng.integers(-15, 15, size=3))
    cube = cut_cube(array, begin, 8)
    for k, j, i in np.ndindex(8, 8, 8):
        at = (k + begin[2], j + begin[1], i + begin[0])
        inside = all(0 <= n < size for n, size in zip(at, array.shape, strict=True))
        assert cube[k, j, i] == (array[at] if inside else 0)


def test_regions_lie_around_the_middle_of_an_object():
    array = np.zeros((40, 50, 60), dtype=bool)
    # Bounds [b0, b1) along k, j, i; the middle is rounded down.
    array[3:10, 20:26, 41:44] = True
    mask = Mask(array, VolumeGrid.centred(array.shape, 1.5))
    assert begin_around_mask(mask, 32) == (42 - 16, 23 - 16, 6 - 16)
    nothing = Mask(np.zeros((41, 31, 32), dtype=bool), VolumeGrid.centred((41, 31, 32), 1.5))
    # 41 - 32 = 9 leave 5 at the beginning, 32 - 31 = 1 is padded there.
    assert begin_around_mask(nothing, 32) == (0, -1, 5)


def test_z_scores_are_of_what_is_above_zero():
    cube = np.zeros((4, 4, 4), dtype=np.float32)
    cube[0, 0] = [100, 200, 300, -500]
    scores = z_scores(cube)
    np.testing.assert_allclose(scores[0, 0], [-1, 0, 1, -7], atol=1e-6)
    np.testing.assert_allclose(scores[1:], -2, atol=1e-6)
    above = scores[cube > 0]
    assert above.mean() == pytest.approx(0, abs=1e-6)
    assert above.std(ddof=1) == pytest.approx(1)


@pytest.mark.parametrize("values", [[-5.0], [0.0], [7.0]])
def test_nothing_to_normalise_by_is_said(values):
    with pytest.raises(ValueError, match=r"above 0 HU.*all alike: check the unit"):
        z_scores(np.full((4, 4, 4), values[0], dtype=np.float32))


def test_a_wrong_spacing_is_refused():
    with pytest.raises(ValueError, match="must be positive, in mm, got 0"):
        canonical_volume(ramp(OBLIQUE), spacing_mm=0)


def test_averaging_cubes_keeps_places_and_means():
    grid = VolumeGrid.centred((20, 24, 28), 1.5, centre_ras=(4.0, 5.0, 6.0))
    fine = CanonicalVolume(ramp(grid).array, grid)
    coarse = fine.coarsened(4)
    assert coarse.array_hu.shape == (5, 6, 7)
    np.testing.assert_allclose(coarse.array_hu, ramp(coarse.grid).array, atol=1e-2)
    assert fine.coarsened(8).array_hu.shape == (3, 3, 4)


LOW_RES_GRIDS = {
    "oblique": grid_with(rotation(0.3, 0.2, -0.4), (0.8, 0.8, 0.8), (150, 160, 155)),
    "anisotropic": grid_with(rotation(0.1, -0.2, 0.5), (0.9, 0.7, 1.4), (90, 180, 140)),
    "swapped": grid_with(np.eye(3)[[2, 0, 1]] * [-1, 1, -1], (0.8, 1.0, 1.2), (100, 120, 150)),
}


@pytest.mark.parametrize("grid", LOW_RES_GRIDS.values(), ids=LOW_RES_GRIDS)
@pytest.mark.parametrize("way", ["nearest", "linear"])
def test_a_thresholded_sphere_survives_the_round_trip(grid, way):
    ball = sphere(grid, (0.0, 0.0, 0.0), 45.0)
    volume = Volume(np.where(ball, 200.0, -50.5).astype(np.float32), grid, "HU")
    canonical = canonical_volume(volume)
    begin = begin_around_voxel(canonical.voxel_at((0.0, 0.0, 0.0)), 128)
    region = cut_region(canonical, begin, 128)
    middle = (region.array.max() + region.array[64, 64, 0]) / 2
    if way == "nearest":
        back = paste_mask(Mask(region.array > middle, region.grid), grid).array
    else:
        logits = (region.array - middle).astype(np.float32)
        back = paste_logits(logits, region.grid, grid).on(grid.shape_kji) > 0
    assert dice(back, ball) >= 0.98


def test_nearest_pasting_takes_the_voxel_around_each_centre():
    region = grid_with(rotation(0.1, 0.2, 0.3), 1.5, (16, 16, 16))
    array = np.random.default_rng(0).random((16, 16, 16)) > 0.5
    back = paste_mask(Mask(array, region), OBLIQUE).array
    k, j, i = np.indices(OBLIQUE.shape_kji)
    at = region.to_ijk(OBLIQUE.to_ras(np.stack([i, j, k], axis=-1)))
    nearest = np.floor(at + 0.5).astype(int)
    inside = ((nearest >= 0) & (nearest < 16)).all(axis=-1)
    clipped = np.clip(nearest, 0, 15)
    wanted = inside & array[clipped[..., 2], clipped[..., 1], clipped[..., 0]]
    assert wanted.any()
    np.testing.assert_array_equal(back, wanted)


def test_logits_outside_the_region_are_certain_background():
    region = VolumeGrid.centred((8, 8, 8), 1.5)
    grid = VolumeGrid.centred((40, 40, 40), 1.0)
    patch = paste_logits(np.full((8, 8, 8), 5.0, np.float32), region, grid)
    full = patch.on(grid.shape_kji)
    assert full[20, 20, 20] == 5
    assert set(np.unique(patch.values)) <= {np.float32(-20), np.float32(5)}
    lower, upper = covered_box(region, grid)
    assert (lower == patch.lower_kji).all()
    assert (upper - lower == patch.values.shape).all()


def test_a_region_beside_the_volume_is_refused():
    region = VolumeGrid.centred((8, 8, 8), 1.5, centre_ras=(500.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="lies outside the volume"):
        paste_logits(np.zeros((8, 8, 8), np.float32), region, OBLIQUE)
