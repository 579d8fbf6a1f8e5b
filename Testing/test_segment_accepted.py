"""Later clicks in the density-guided engine: what they may change and what they must not."""

from __future__ import annotations

import numpy as np
from clicked_objects import (
    BALL_VOLUME,
    GRID,
    clicks,
    dice,
    distance_from,
    engine,
    sphere,
    volume_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from NASAM3DLib.segment.corrections import FREE_PARTS, MIN_REACH, parts_at
from NASAM3DLib.segment.prompts import Prompts

NEAR_BALL, FAR_BALL = sphere(GRID, (-14, 0, 0), 15.0), sphere(GRID, (14, 0, 0), 15.0)
TWO_BALLS = volume_of((NEAR_BALL | FAR_BALL, 40.0), noise_hu=25.0)
FIRST = (24, 24, 20)

voxels = st.tuples(*(st.integers(6, 41) for _ in range(3)))
later_clicks = st.lists(st.tuples(voxels, st.booleans()), min_size=3, max_size=6)


def masks_of(chosen: dict[tuple[int, ...], bool]) -> list[np.ndarray]:
    """Masks after each click of one session."""
    segmenter, prompts, masks = engine(TWO_BALLS), Prompts(), []
    for voxel, positive in chosen.items():
        prompts = prompts.with_point(GRID.to_ras(np.array(voxel[::-1], float)), positive=positive)
        masks.append(segmenter.predict(prompts))
        assert masks[-1].disagreements(prompts) == []
    return [mask.array for mask in masks]


def away(voxel: tuple[int, ...]) -> np.ndarray:
    return distance_from(GRID, tuple(GRID.to_ras(np.array(voxel[::-1], float))))


@settings(max_examples=8)
@given(later_clicks)
def test_a_later_click_never_takes_an_accepted_correction_back(others):
    chosen = {FIRST: True}
    for voxel, positive in others:
        chosen.setdefault(voxel, positive)
    masks, places = masks_of(chosen), list(chosen)
    for c in range(FREE_PARTS, len(places)):
        positive = chosen[places[c]]
        moved = masks[c] & ~masks[c - 1] if positive else masks[c - 1] & ~masks[c]
        moved[places[c]] = True
        for n in range(c + 1, len(places)):
            moved &= away(places[c]) < away(places[n]) - 1e-3
            assert (masks[n][moved] == positive).all()


@settings(max_examples=8)
@given(later_clicks)
def test_a_later_click_changes_only_what_is_connected_near_it_and_its_way(others):
    chosen = {FIRST: True}
    for voxel, positive in others:
        chosen.setdefault(voxel, positive)
    masks, places = masks_of(chosen), list(chosen)
    for c in range(FREE_PARTS, len(places)):
        positive = chosen[places[c]]
        old, new = masks[c - 1], masks[c]
        own_way = new & ~old if positive else old & ~new
        distance = away(places[c])
        other_side = old if positive else ~old
        reach = max(4 * distance[other_side].min(), MIN_REACH * 3.0) + 1e-3
        changed, n_parts = ndimage.label(own_way)
        # Besides, what is cut off by a negative click or enclosed by a positive one follows.
        for part in range(1, n_parts + 1):
            piece = changed == part
            held = (distance[piece] <= reach).any()
            filled = ndimage.binary_dilation(piece) & ~piece
            assert held or (new[filled] == positive).all()


def test_the_second_correction_leaves_the_first_where_it_was():
    first = clicks(((-14, 0, 0), True), ((14, 0, 0), False))
    segmenter = engine(TWO_BALLS)
    before = segmenter.predict(first).array
    missed = np.argwhere(NEAR_BALL & ~before)
    k, j, i = missed[len(missed) // 2]
    after = segmenter.predict(first.with_point(GRID.to_ras([i, j, k]))).array
    # The second click cut the far ball off; a click on the near one does not bring it back.
    assert not (after & FAR_BALL & (distance_from(GRID, (14, 0, 0)) < 9)).any()
    assert after[k, j, i]
    assert dice(after, NEAR_BALL) > dice(before, NEAR_BALL) - 0.02


def test_a_click_where_nothing_is_wrong_changes_nothing_from_the_third_on():
    prompts = clicks(((0, 0, 0), True), ((40, 0, 0), False))
    segmenter = engine(BALL_VOLUME)
    before = segmenter.predict(prompts).array
    after = segmenter.predict(prompts.with_point((9, 9, 0), positive=True)).array
    np.testing.assert_array_equal(after, before)
    after = segmenter.predict(prompts.with_point((-60, 0, 0), positive=False)).array
    np.testing.assert_array_equal(after, before)


def test_probability_agrees_with_the_mask_after_corrections():
    prompts = clicks(((-14, 0, 0), True), ((14, 0, 0), False), ((-2, 0, 0), True))
    segmenter = engine(TWO_BALLS)
    mask = segmenter.predict(prompts).array
    probability = segmenter.last_probability()
    assert probability is not None
    np.testing.assert_array_equal(probability > 0.5, mask)


def test_the_same_scribble_as_clicks_or_line_is_a_part_of_its_own():
    line = [[-14, -9, 0], [-14, 9, 0]]
    prompts = clicks(((-14, 0, 0), True)).with_scribble(line)
    mask = engine(TWO_BALLS).predict(prompts)
    assert mask.disagreements(prompts) == []
    assert dice(mask.array, NEAR_BALL | FAR_BALL) > 0.5


def test_parts_of_a_change_are_those_that_were_clicked():
    change = np.zeros((12, 12, 12), dtype=bool)
    change[1, 1, 1:3] = change[1, 1, 7:9] = change[5] = True
    labels, _ = ndimage.label(change)
    got = parts_at(change, np.array([[1, 1, 8], [1, 1, 4], [5, 0, 0]]))
    assert set(labels[got].tolist()) == {2, 3}
    assert not parts_at(change, np.array([[1, 1, 4]])).any()
    assert not parts_at(np.zeros_like(change), np.array([[1, 1, 1]])).any()
