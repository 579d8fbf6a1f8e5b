"""Components and holes, and what a mask and prompts make of them."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import bounding_box, fill_holes, keep_components, tidied
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

NONE = np.zeros((0, 3), dtype=np.intp)


def drawn(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    array = np.zeros((10, 12, 14), dtype=bool)
    for box in boxes:
        array[box] = True
    return array


LEFT = (slice(2, 5), slice(2, 6), slice(1, 4))
RIGHT = (slice(2, 5), slice(2, 6), slice(8, 12))
CORNER = (slice(5, 7), slice(6, 8), slice(4, 6))


def test_a_bounding_box_ends_at_the_voxels_set():
    lower, upper = bounding_box(drawn(LEFT, RIGHT))
    assert lower.tolist() == [2, 2, 1]
    assert upper.tolist() == [4, 5, 11]
    with pytest.raises(ValueError, match="no bounding box"):
        bounding_box(drawn())


def test_components_are_kept_by_the_voxels_in_them():
    both = drawn(LEFT, RIGHT)
    np.testing.assert_array_equal(keep_components(both, np.array([[3, 3, 2]])), drawn(LEFT))
    np.testing.assert_array_equal(
        keep_components(both, np.array([[3, 3, 2], [2, 2, 9], [0, 0, 0]])), both
    )
    assert not keep_components(both, np.array([[9, 9, 9]])).any()
    assert not keep_components(both, NONE).any()


def test_voxels_that_share_an_edge_only_are_two_components():
    touching = drawn(LEFT, CORNER)
    np.testing.assert_array_equal(keep_components(touching, np.array([[3, 3, 2]])), drawn(LEFT))


def test_holes_are_filled_unless_a_voxel_keeps_them_open():
    solid = drawn((slice(1, 9), slice(1, 11), slice(1, 13)))
    hollow = solid.copy()
    hollow[3:5, 3:5, 3:5] = False
    hollow[6, 8, 10] = False
    np.testing.assert_array_equal(fill_holes(hollow, NONE), solid)
    half = fill_holes(hollow, np.array([[6, 8, 10]]))
    assert not half[6, 8, 10]
    assert half[3:5, 3:5, 3:5].all()
    # A voxel inside the object opens nothing.
    np.testing.assert_array_equal(fill_holes(hollow, np.array([[2, 2, 2]])), solid)


def test_what_is_open_to_the_border_is_no_hole():
    cup = np.ones((5, 5, 5), dtype=bool)
    cup[2:, 2, 2] = False
    np.testing.assert_array_equal(fill_holes(cup, NONE), cup)


def test_tidying_obeys_the_clicks_even_in_an_empty_mask():
    got = tidied(drawn(), np.array([[1, 1, 1]]), np.array([[2, 2, 2]]))
    assert got[1, 1, 1]
    assert got.sum() == 1


def test_tidying_a_mask_twice_changes_nothing():
    grid = VolumeGrid.centred((10, 12, 14), (1.0, 2.0, 3.0))
    prompts = Prompts()
    for voxel, positive in (((3, 3, 2), True), ((7, 7, 5), True), ((3, 4, 3), False)):
        prompts = prompts.with_point(grid.to_ras(voxel[::-1]), positive=positive)
    mask = Mask(drawn(LEFT, RIGHT), grid).tidied(prompts)
    assert mask.disagreements(prompts) == []
    assert not mask.array[RIGHT].any()
    np.testing.assert_array_equal(mask.tidied(prompts).array, mask.array)


def test_a_box_is_marked_on_an_oblique_grid():
    c, s = np.cos(0.6), np.sin(0.6)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * (1.0, -2.0, 3.0)
    affine[:3, 3] = (-4.0, 9.0, -12.0)
    grid = VolumeGrid((8, 9, 10), affine)
    box = np.array([(-3.0, -5.0, -9.0), (4.0, 6.0, 5.0)])
    inside = Prompts(box_ras=box).inside_box(grid)
    for k, j, i in np.ndindex(grid.shape_kji):
        point = grid.to_ras((i, j, k))
        assert inside[k, j, i] == ((point >= box[0]) & (point <= box[1])).all()
    assert 0 < inside.sum() < inside.size
    assert Prompts().inside_box(grid).all()


def test_a_positive_point_outside_the_box_is_named():
    box = np.array([(-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)])
    points = Prompts(box_ras=box).with_point((0, 0, 0)).with_point((0, 5, 0), positive=False)
    points.check_box()
    with pytest.raises(ValueError, match=r"Positive point 3 at RAS \(0\.0, 5\.0, 0\.0\) mm lies"):
        points.with_point((0, 5, 0)).check_box()
