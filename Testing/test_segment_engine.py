"""The density-guided engine on objects whose truth is known, however they are stored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from clicked_objects import (
    BALL,
    BALL_VOLUME,
    GRID,
    ONE,
    PLAIN,
    clicks,
    dice,
    distance_from,
    engine,
    sphere,
    volume_of,
)

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.density_guided import DensityGuidedSegmenter
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import SegmentationSettings


def test_one_click_finds_a_sphere():
    mask = engine(BALL_VOLUME).predict(ONE)
    assert dice(mask.array, BALL) >= 0.95
    assert mask.grid is GRID


@pytest.mark.parametrize("radius_mm", [9.0, 40.0])
@pytest.mark.parametrize("hu", [-80.0, 45.0, 600.0])
def test_size_and_sign_of_the_contrast_do_not_matter(radius_mm, hu):
    inside = sphere(GRID, (1, 2, 3), radius_mm)
    mask = engine(volume_of((inside, hu))).predict(clicks(((1, 2, 3), True)))
    assert dice(mask.array, inside) >= 0.93


def test_a_finer_grid_gives_a_finer_mask():
    grid = VolumeGrid.centred((120, 120, 120), 1.0)
    inside = sphere(grid, (0, 0, 0), 20.0)
    mask = engine(volume_of((inside, 60.0), grid=grid)).predict(ONE)
    # Of the sphere's own voxels at 3 mm no more than 0.92 can be had.
    assert dice(mask.array, inside) >= 0.97


def test_touching_spheres_of_different_density_come_apart():
    left, right = sphere(GRID, (-20, 0, 0), 20.0), sphere(GRID, (20, 0, 0), 20.0)
    segmenter = engine(volume_of((left, 60.0), (right, 110.0)))
    for inside, x in ((left, -20), (right, 20)):
        mask = segmenter.predict(clicks(((x, 0, 0), True)))
        assert dice(mask.array, inside) >= 0.93


def test_a_negative_click_separates_bridged_spheres_of_one_density():
    left, right = sphere(GRID, (-27, 0, 0), 21.0), sphere(GRID, (27, 0, 0), 21.0)
    bridge = sphere(GRID, (0, 0, 0), 14.0)
    segmenter = engine(volume_of((left | right | bridge, 60.0)))
    both = segmenter.predict(clicks(((-27, 0, 0), True), ((27, 0, 0), True)))
    assert dice(both.array, left | right | bridge) >= 0.93
    one = segmenter.predict(clicks(((-27, 0, 0), True), ((27, 0, 0), False)))
    assert np.count_nonzero(one.array & right) < 0.2 * np.count_nonzero(right)
    assert np.count_nonzero(one.array & left) > 0.9 * np.count_nonzero(left)


def test_an_object_larger_than_the_first_region_is_followed():
    grid = VolumeGrid.centred((110, 24, 24), 3.0)
    axis = np.abs(distance_from(grid, (0, 0, 0)))
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape_kji), indexing="ij")
    points = grid.to_ras(np.stack([i, j, k], axis=-1))
    rod = np.linalg.norm(points[..., :2], axis=-1) < 20
    rod &= axis < 150
    mask = engine(volume_of((rod, 80.0), noise_hu=2.0, grid=grid)).predict(ONE)
    assert dice(mask.array, rod) >= 0.93


def moved(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """The same voxels at the same places, stored in another order."""
    array = volume.array.transpose(order)
    steps = volume.grid.ijk_to_ras[:3, :3].T[::-1][list(order)]
    first = np.zeros(3)
    for axis, flip in enumerate(flips):
        if flip:
            first[axis] = array.shape[axis] - 1
            array = np.flip(array, axis)
    affine = np.eye(4)
    affine[:3, 3] = volume.grid.ijk_to_ras[:3, 3] + first @ steps
    steps = steps * np.where(flips, -1, 1)[:, None]
    affine[:3, :3] = steps[::-1].T
    return Volume(np.ascontiguousarray(array), VolumeGrid(array.shape, affine), "HU")


ODD_GRID = VolumeGrid.centred((40, 48, 44), (2.0, 3.0, 3.4), centre_ras=(4.0, -7.0, 11.0))
ODD_BALL = sphere(ODD_GRID, (5, -6, 10), 22.0)
ODD_VOLUME = volume_of((ODD_BALL, 60.0), grid=ODD_GRID)
ODD_CLICKS = clicks(((5, -6, 10), True), ((5, 24, 10), False), ((14, -6, 10), True))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False,) * 3, (True, False, False), (True, True, True)])
def test_permuted_and_mirrored_storage_gives_the_same_mask(order, flips):
    expected = engine(ODD_VOLUME).predict(ODD_CLICKS).array
    got = engine(moved(ODD_VOLUME, order, flips)).predict(ODD_CLICKS).array
    for axis, flip in enumerate(flips):
        got = np.flip(got, axis) if flip else got
    back = got.transpose(np.argsort(order))
    # Sums in another order may turn a voxel that stands exactly between the two.
    assert np.count_nonzero(back != expected) <= 2


def rotation(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )


def test_rotating_volume_and_clicks_together_changes_no_voxel():
    turn = np.eye(4)
    turn[:3, :3] = rotation(0.5)
    turn[:3, 3] = (30.0, -12.0, 8.0)
    turned = VolumeGrid(ODD_GRID.shape_kji, turn @ ODD_GRID.ijk_to_ras)
    points = ODD_CLICKS.points_ras @ turn[:3, :3].T + turn[:3, 3]
    expected = engine(ODD_VOLUME).predict(ODD_CLICKS)
    got = engine(Volume(ODD_VOLUME.array, turned, "HU")).predict(Prompts(points, ODD_CLICKS.labels))
    assert np.count_nonzero(got.array != expected.array) <= 2


def test_a_sphere_on_an_oblique_anisotropic_mirrored_grid_is_found():
    affine = np.eye(4)
    affine[:3, :3] = rotation(0.4) * (1.2, -1.2, 3.5)
    affine[:3, 3] = affine[:3, :3] @ (-49.5, -49.5, -17.0)
    grid = VolumeGrid((35, 100, 100), affine)
    inside = sphere(grid, (2, 3, -4), 21.0)
    mask = engine(volume_of((inside, 60.0), grid=grid)).predict(clicks(((2, 3, -4), True)))
    assert dice(mask.array, inside) >= 0.95


def test_attenuation_and_hu_give_the_same_mask():
    expected = engine(BALL_VOLUME).predict(ONE)
    got = engine(BALL_VOLUME.to_attenuation()).predict(ONE)
    assert np.count_nonzero(got.array != expected.array) <= 2


def test_a_constant_shift_in_hu_changes_no_voxel():
    expected = engine(BALL_VOLUME).predict(ONE)
    shifted = Volume(BALL_VOLUME.array + 32, GRID, "HU")
    np.testing.assert_array_equal(engine(shifted).predict(ONE).array, expected.array)


def test_a_single_slice_is_a_volume_too():
    grid = VolumeGrid.centred((1, 64, 64), 3.0)
    inside = sphere(grid, (0, 0, 0), 30.0)
    for choice in (None, PLAIN):
        mask = engine(volume_of((inside, 80.0), grid=grid), choice).predict(ONE)
        assert dice(mask.array, inside) >= 0.9


def test_uncertainty_widens_what_the_density_accepts():
    ring = sphere(GRID, (0, 0, 0), 30.0) & ~BALL
    volume = volume_of((BALL, 60.0), (ring, 20.0), noise_hu=5.0)
    unsure = Volume(volume.array, GRID, "HU", np.full(GRID.shape_kji, 40.0, dtype=np.float32))
    attention = []
    for widen, each in ((True, volume), (True, unsure), (False, unsure)):
        segmenter = DensityGuidedSegmenter(SegmentationSettings(), widen_by_uncertainty=widen)
        segmenter.set_volume(each)
        segmenter.predict(ONE)
        attention.append(segmenter.last_attention()[ring])
    assert attention[1].mean() > attention[0].mean() + 0.2
    # Off, which is the default, a map changes nothing.
    assert attention[2].tobytes() == attention[0].tobytes()
