"""Clicks, scribbles and boxes: order, refusals, the voxels they mark and the clicks they become."""

from __future__ import annotations

import numpy as np
import pytest
from clicked_objects import BALL_VOLUME, GRID, sphere, volume_of
from hypothesis import given
from hypothesis import strategies as st

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompt_voxels import MAX_CLICKS, marked_voxels, resolve
from NASAM3DLib.segment.prompts import CLICK, NEGATIVE, POSITIVE, Prompts

LINE = [[-9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [9.0, 12.0, 0.0]]
MIXED = (
    Prompts()
    .with_point([0, 0, 9])
    .with_scribble(LINE, positive=False)
    .with_scribble([[0, -9, -9]])
    .with_point([3, 3, 30])
    .with_point([3, 3, 40], positive=False)
)
coordinates = st.floats(-60, 60)
polylines = st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=6)


def test_parts_are_clicks_and_scribbles_in_order():
    assert MIXED.parts == (slice(0, 1), slice(1, 4), slice(4, 5), slice(5, 6), slice(6, 7))
    assert MIXED.labels.tolist() == [1, 0, 0, 0, 1, 1, 0]
    assert MIXED.scribbles.tolist() == [CLICK, 0, 0, 0, 1, CLICK, CLICK]
    assert Prompts().parts == ()


def test_the_newest_click_or_scribble_is_taken_back_as_a_whole():
    prompts = MIXED.with_box([[-90, -90, -90], [90, 90, 90]])
    lengths = []
    while len(prompts):
        prompts = prompts.without_last()
        lengths.append(len(prompts))
        assert prompts.box_ras is not None
    assert lengths == [6, 5, 4, 1, 0]


@pytest.mark.parametrize(
    ("scribbles", "labels", "words"),
    [
        ([0, -1, 0], [1, 1, 1], "follow each other"),
        ([0, 0, -1], [1, 0, 1], "one label"),
        ([0, 0], [1, 1, 1], "one number for each of the 3 points"),
        ([-2, -1, -1], [1, 1, 1], r"-1 \(a click\) or 0"),
    ],
)
def test_contradictory_scribbles_are_refused(scribbles, labels, words):
    with pytest.raises(ValueError, match=words):
        Prompts(np.zeros((3, 3)), np.array(labels), None, np.array(scribbles))


def test_a_scribble_needs_a_point():
    with pytest.raises(ValueError, match="at least one point"):
        Prompts().with_scribble([])


@given(polylines)
def test_a_scribble_marks_an_unbroken_line_of_voxels(vertices):
    prompts = Prompts().with_scribble(vertices)
    (mark,) = marked_voxels(prompts, GRID)
    assert len({tuple(v) for v in mark.tolist()}) == len(mark)
    assert {tuple(v) for v in prompts.voxels(GRID).tolist()} <= {tuple(v) for v in mark.tolist()}
    # In the order in which they are passed, but for voxels passed twice, each touches one before.
    for n in range(1, len(mark)):
        assert np.abs(mark[:n] - mark[n]).max(axis=1).min() <= 1


@given(polylines, st.booleans())
def test_the_clicks_of_a_scribble_lie_on_it_and_are_few(vertices, positive):
    prompts = Prompts().with_point([71, 71, 71]).with_scribble(vertices, positive=positive)
    resolved = resolve(prompts, BALL_VOLUME)
    label = POSITIVE if positive else NEGATIVE
    marked = {tuple(v) for v in resolved.marked(label).tolist()}
    own = resolved.voxels_kji[1:]
    assert 1 <= len(own) <= MAX_CLICKS
    assert {tuple(v) for v in own.tolist()} <= marked
    assert (resolved.clicks.labels[1:] == label).all()
    np.testing.assert_array_equal(resolved.clicks.voxels(GRID), resolved.voxels_kji)


def test_points_alone_stay_as_they_are():
    prompts = Prompts(np.array([[0.4, 0.2, -0.7], [30, 0, 0]]), np.array([1, 0]))
    resolved = resolve(prompts, BALL_VOLUME)
    np.testing.assert_array_equal(resolved.clicks.points_ras, prompts.points_ras)
    assert [mark.tolist() for mark in resolved.marks] == [[v] for v in resolved.voxels_kji.tolist()]


def test_the_first_clicks_keep_their_marks():
    resolved = resolve(MIXED, BALL_VOLUME)
    first = resolved.first(1)
    assert len(first) == 1
    assert len(first.marked(POSITIVE)) == 1
    assert len(first.marked(NEGATIVE)) == 0
    marks = marked_voxels(MIXED, GRID)
    assert len({tuple(v) for v in resolved.marked(NEGATIVE)}) == len(marks[1]) + len(marks[4])


def test_the_most_typical_click_of_a_scribble_comes_first():
    # Four fifths of the line run through the ball; its end lies outside, where density differs.
    prompts = Prompts().with_scribble([[-20, 0, 0], [32, 0, 0]])
    resolved = resolve(prompts, BALL_VOLUME)
    assert np.linalg.norm(resolved.clicks.points_ras[0]) < 22
    assert np.linalg.norm(resolved.clicks.points_ras[-1]) > 22


def test_crossing_scribbles_are_refused_with_the_place():
    prompts = Prompts().with_scribble([[-9, 1.5, 1.5], [9, 1.5, 1.5]])
    prompts = prompts.with_scribble([[1.5, -9, 1.5], [1.5, 9, 1.5]], positive=False)
    with pytest.raises(ValueError, match=r"RAS \(1\.5, 1\.5, 1\.5\) mm is marked both"):
        resolve(prompts, BALL_VOLUME)


def test_a_box_alone_becomes_a_click_on_what_fills_its_middle():
    # A vessel of other density runs through the very middle: the click avoids it.
    ball, vessel = sphere(GRID, (0, 0, 0), 24.0), sphere(GRID, (0, 0, 0), 5.0)
    volume = volume_of((ball, 60.0), (vessel, 200.0))
    resolved = resolve(Prompts().with_box([[-27, -27, -27], [27, 27, 27]]), volume)
    (point,) = resolved.clicks.points_ras
    assert resolved.clicks.labels.tolist() == [POSITIVE]
    assert 5 <= np.linalg.norm(point) <= 12


def test_negative_points_stay_beside_the_click_of_a_box():
    middle = GRID.to_ras([24.0, 24.0, 24.0])
    prompts = Prompts().with_point(middle, positive=False)
    prompts = prompts.with_box([middle - 1.0, middle + 1.0])
    with pytest.raises(ValueError, match="Every voxel in the middle of the box"):
        resolve(prompts, BALL_VOLUME)
    resolved = resolve(prompts.with_box([middle - 20, middle + 20]), BALL_VOLUME)
    assert resolved.clicks.labels.tolist() == [POSITIVE, NEGATIVE]
    assert resolved.first_positive == 0


def test_a_box_thinner_than_a_voxel_still_gives_a_click():
    resolved = resolve(Prompts().with_box([[0.1, -9, -9], [0.3, 9, 9]]), BALL_VOLUME)
    assert len(resolved) == 1


def test_a_box_outside_is_refused_and_so_is_nothing():
    with pytest.raises(ValueError, match="middle of the box"):
        resolve(Prompts().with_box([[100, 0, 0], [120, 9, 9]]), BALL_VOLUME)
    with pytest.raises(ValueError, match="or a box around it"):
        resolve(Prompts().with_point([0, 0, 0], positive=False), BALL_VOLUME)


def test_the_box_click_is_found_on_oblique_grids_too():
    turned = np.eye(4)
    turned[:2, :2] = 2 * np.array([[0.8, -0.6], [0.6, 0.8]])
    turned[:3, 3] = -40
    turned[2, 2] = 2
    grid = VolumeGrid((40, 40, 40), turned)
    volume = volume_of(grid=grid)
    centre = grid.centre_ras
    resolved = resolve(Prompts().with_box([centre - 9, centre + 9]), volume)
    assert np.abs(resolved.clicks.points_ras - centre).max() <= 3.0 + 2.0
