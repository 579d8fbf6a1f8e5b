"""Boxes and scribbles in the density-guided engine: obeyed exactly, and worth drawing."""

from __future__ import annotations

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
    engine,
    sphere,
    volume_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from NASAM3DLib.pipeline import segment
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompt_voxels import marked_voxels
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import ambiguity_hint

AROUND_BALL = [[-27, -27, -27], [27, 27, 27]]
coordinates = st.floats(-70, 70)
polylines = st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=4)


def test_a_box_alone_finds_what_is_in_it():
    mask = engine(BALL_VOLUME).predict(Prompts().with_box(AROUND_BALL))
    assert dice(mask.array, BALL) > 0.9


def test_a_box_cuts_the_mask_exactly():
    box = np.array([[-20.0, -30.0, -30.0], [5.0, 30.0, 30.0]])
    mask = engine(BALL_VOLUME).predict(ONE.with_box(box))
    k, j, i = np.nonzero(mask.array)
    places = GRID.to_ras(np.stack([i, j, k], axis=-1).astype(float))
    assert (places >= box[0]).all()
    assert (places <= box[1]).all()
    inside = Prompts().with_box(box).inside_box(GRID)
    assert dice(mask.array & inside, BALL & inside) > 0.9


def test_a_box_keeps_an_equally_dense_neighbour_out():
    near, far = sphere(GRID, (-14, 0, 0), 15.0), sphere(GRID, (14, 0, 0), 15.0)
    volume = volume_of((near | far, 60.0))
    click = clicks(((-14, 0, 0), True))
    alone = engine(volume).predict(click).array
    boxed = engine(volume).predict(click.with_box([[-32, -18, -18], [1, 18, 18]])).array
    assert dice(alone, near) < 0.8
    assert dice(boxed, near) > 0.9


@settings(max_examples=12)
@given(polylines, polylines, st.booleans())
def test_every_voxel_of_every_scribble_is_obeyed(first, second, positive):
    prompts = Prompts().with_scribble(first)
    voxels = [marked_voxels(Prompts().with_scribble(line), GRID)[0] for line in (first, second)]
    crossing = {tuple(v) for v in voxels[0]} & {tuple(v) for v in voxels[1]}
    prompts = prompts.with_scribble(second, positive=positive or bool(crossing))
    mask = engine(BALL_VOLUME).predict(prompts)
    assert mask.disagreements(prompts) == []
    np.testing.assert_array_equal(mask.array, mask.tidied(prompts).array)


def test_a_scribble_joins_two_densities_that_a_click_does_not():
    core, shell = sphere(GRID, (0, 0, 0), 12.0), sphere(GRID, (0, 0, 0), 27.0)
    volume = volume_of((shell, 60.0), (core, 150.0))
    one = engine(volume).predict(ONE).array
    drawn = engine(volume).predict(Prompts().with_scribble([[0, 0, 0], [0, 0, 24]])).array
    assert dice(drawn, shell) > dice(one, shell) + 0.2


def test_a_negative_scribble_takes_a_neighbour_away():
    near, far = sphere(GRID, (-14, 0, 0), 15.0), sphere(GRID, (14, 0, 0), 15.0)
    volume = volume_of((near | far, 60.0))
    click = clicks(((-14, 0, 0), True))
    line = [[8, -9, 0], [14, 0, 0], [8, 9, 0]]
    before = engine(volume).predict(click).array
    after = engine(volume).predict(click.with_scribble(line, positive=False)).array
    assert dice(after, near) > dice(before, near) + 0.05


def test_undo_takes_a_scribble_back_exactly():
    segmenter = engine(BALL_VOLUME)
    before = segmenter.predict(ONE).array
    segmenter.predict(ONE.with_scribble([[15, 0, 0], [40, 0, 0]], positive=False))
    np.testing.assert_array_equal(segmenter.undo().array, before)


def test_scribbles_are_obeyed_on_fine_voxels():
    grid = VolumeGrid.centred((90, 90, 90), 1.0)
    volume = volume_of((sphere(grid, (0, 0, 0), 20.0), 60.0), grid=grid)
    prompts = Prompts().with_scribble([[-10, 0, 0], [10, 0, 0]])
    prompts = prompts.with_scribble([[-10, 1.5, 0], [10, 1.5, 0]], positive=False)
    mask = engine(volume).predict(prompts)
    assert mask.disagreements(prompts) == []


def test_disagreements_name_all_points_of_a_scribble():
    prompts = ONE.with_scribble([[0, 0, -60], [0, 0, 60]])
    mask = engine(BALL_VOLUME).predict(ONE)
    assert mask.disagreements(prompts) == [1, 2]
    assert mask.tidied(prompts).disagreements(prompts) == []


@pytest.mark.parametrize("guided", [True, False])
def test_a_box_around_air_does_not_crash(guided):
    volume = volume_of((BALL, 60.0))
    segmenter = engine(volume, None if guided else PLAIN)
    prompts = Prompts().with_box([[40, 40, 40], [60, 60, 60]])
    mask = segmenter.predict(prompts)
    assert 0 < mask.n_voxels <= prompts.inside_box(GRID).sum()


# A ball in tissue that differs less than density can tell, and one in tissue that differs.
HIDDEN, CLEAR = (volume_of((sphere(GRID, (-14, 0, 0), 15.0), hu)) for hu in (14.0, 90.0))
ON_BALL = clicks(((-14, 0, 0), True))


def test_touching_tissue_of_like_density_is_ambiguous_until_a_negative_click_or_a_box():
    hidden, clear = engine(HIDDEN), engine(CLEAR)
    assert clear.last_ambiguity() is None
    clear.predict(ON_BALL)
    assert clear.last_ambiguity() < 0.1
    assert ambiguity_hint(clear.last_ambiguity()) is None
    hidden.predict(ON_BALL)
    open_end = hidden.last_ambiguity()
    assert open_end > 0.8
    assert "add a negative point" in ambiguity_hint(open_end)
    hidden.predict(ON_BALL.with_point((22, 0, 0), positive=False))
    assert hidden.last_ambiguity() < open_end
    hidden.predict(ON_BALL.with_box([[-30, -16, -16], [2, 16, 16]]))
    assert hidden.last_ambiguity() < 0.1
    hidden.undo()
    hidden.undo()
    assert hidden.last_ambiguity() == open_end


def test_ambiguity_is_warned_of_by_the_pipeline(caplog):
    segment(HIDDEN, ON_BALL)
    assert "Several structures of the same density" in caplog.text
    caplog.clear()
    segment(CLEAR, ON_BALL)
    assert not caplog.text


def test_without_guidance_there_is_no_ambiguity():
    segmenter = engine(BALL_VOLUME, PLAIN)
    segmenter.predict(ONE)
    assert segmenter.last_ambiguity() is None
