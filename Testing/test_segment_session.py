"""The density-guided engine over a session of clicks: obedience, undo, caches, refusals."""

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

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment import fronts, geodesic
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import SegmentationSettings, available_engines, make_segmenter


def test_a_mask_does_not_depend_on_what_was_asked_before():
    expected = engine(BALL_VOLUME).predict(ONE).array
    segmenter = engine(BALL_VOLUME)
    segmenter.predict(clicks(((0, 0, 0), True), ((40, 0, 0), False), ((0, 18, 0), True)))
    assert segmenter.predict(ONE).array.tobytes() == expected.tobytes()


voxels = st.tuples(*(st.integers(0, 47) for _ in range(3)))


@settings(max_examples=15)
@given(
    first=voxels,
    others=st.lists(st.tuples(voxels, st.booleans()), max_size=5),
    guided=st.booleans(),
)
def test_every_click_is_obeyed_and_every_part_is_clicked(first, others, guided):
    chosen = {first: True}
    for voxel, positive in others:
        chosen.setdefault(voxel, positive)
    prompts = clicks(*((tuple(GRID.to_ras(v[::-1])), p) for v, p in chosen.items()))
    mask = engine(BALL_VOLUME, None if guided else PLAIN).predict(prompts)
    assert mask.disagreements(prompts) == []
    np.testing.assert_array_equal(mask.array, mask.tidied(prompts).array)


def test_clicks_of_both_signs_within_one_working_voxel_are_obeyed():
    grid = VolumeGrid.centred((120, 120, 120), 1.0)
    inside = sphere(grid, (0, 0, 0), 20.0)
    prompts = clicks(((0.5, 0.5, 0.5), True), ((1.5, 0.5, 0.5), False))
    mask = engine(volume_of((inside, 60.0), grid=grid)).predict(prompts)
    assert mask.disagreements(prompts) == []


def test_nothing_outside_the_box_is_segmented():
    box = np.array([(-10.0, -30.0, -30.0), (12.0, 30.0, 30.0)])
    prompts = Prompts(ONE.points_ras, ONE.labels, box)
    mask = engine(BALL_VOLUME).predict(prompts)
    assert dice(mask.array, BALL & prompts.inside_box(GRID)) >= 0.95
    assert not (mask.array & ~prompts.inside_box(GRID)).any()


def test_undo_brings_the_former_mask_back_exactly():
    segmenter = engine(BALL_VOLUME)
    two = ONE.with_point((0, 0, 30), positive=False)
    states = []
    for prompts in (ONE, two):
        mask = segmenter.predict(prompts)
        states.append((mask.array, segmenter.last_probability(), segmenter.last_attention()))
    assert (states[0][1] != states[1][1]).any()
    mask = segmenter.undo()
    assert mask.array.tobytes() == states[0][0].tobytes()
    assert segmenter.last_probability().tobytes() == states[0][1].tobytes()
    assert segmenter.last_attention().tobytes() == states[0][2].tobytes()
    assert segmenter.undo() is None
    assert segmenter.undo() is None
    assert segmenter.last_probability() is None


def test_reset_forgets_predictions_and_keeps_the_volume():
    segmenter = engine(BALL_VOLUME)
    segmenter.predict(ONE)
    segmenter.reset()
    assert segmenter.last_attention() is None
    assert segmenter.undo() is None
    assert segmenter.predict(ONE).n_voxels > 0


def test_the_mask_is_where_the_probability_exceeds_one_half():
    segmenter = engine(BALL_VOLUME)
    mask = segmenter.predict(ONE)
    probability, attention = segmenter.last_probability(), segmenter.last_attention()
    assert probability.shape == attention.shape == GRID.shape_kji
    np.testing.assert_array_equal(probability > 0.5, mask.array)
    assert 0 <= attention.min() <= attention.max() <= 1
    assert attention[BALL].mean() > 0.8
    assert attention[~BALL].mean() < 0.2


def test_a_new_click_costs_its_own_front_only(monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    original = geodesic.geodesic_distance
    monkeypatch.setattr(geodesic, "geodesic_distance", counted)
    segmenter = engine(BALL_VOLUME)
    prompts = ONE
    for n, point in enumerate([(0, 0, 0), (30, 0, 0), (0, 15, 0)], start=1):
        prompts = prompts.with_point(point, positive=n != 2) if n > 1 else prompts
        segmenter.predict(prompts)
        assert len(calls) == n


def test_without_guidance_the_plain_random_walker_runs(monkeypatch):
    monkeypatch.setattr(fronts.DensityFronts, "positive", None)
    segmenter = engine(BALL_VOLUME, PLAIN)
    prompts = clicks(*((p, True) for p in [(0, 0, 0), (12, 0, 0), (-12, 0, 0), (0, 12, 0)]))
    mask = segmenter.predict(prompts)
    assert segmenter.last_attention() is None
    assert segmenter.last_probability() is not None
    assert (mask.array & ~BALL).mean() < 0.01


def test_progress_rises_and_cancelling_leaves_no_trace():
    segmenter = engine(BALL_VOLUME)
    segmenter.predict(ONE)
    before = segmenter.last_probability()
    seen: list[float] = []
    segmenter.predict(ONE, progress=lambda stage, fraction: seen.append(fraction))
    segmenter.undo()
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0

    def cancel(stage: str, fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.predict(ONE.with_point((0, 0, 30), positive=False), progress=cancel)
    assert segmenter.last_probability().tobytes() == before.tobytes()
    assert segmenter.undo() is None


def test_prompts_before_a_volume_are_answered_with_the_remedy():
    segmenter = make_segmenter()
    for call in (lambda: segmenter.predict(ONE), segmenter.undo):
        with pytest.raises(RuntimeError, match="no volume to segment yet: call set_volume first"):
            call()


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(), "There is no positive point: put at least one"),
        (clicks(((0, 0, 0), False)), "There is no positive point: put at least one"),
        (clicks(((0, 0, 500), True)), "lies outside the volume"),
        (clicks(((0, 0, 0), True), ((0.5, 0, 0), False)), "same voxel as a positive point"),
        (
            Prompts(ONE.points_ras, ONE.labels, np.array([(9.0, 9.0, 9.0), (20.0, 20.0, 20.0)])),
            "Positive point 1 at RAS \\(0.0, 0.0, 0.0\\) mm lies outside the box",
        ),
    ],
)
def test_prompts_that_cannot_be_served_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        engine(BALL_VOLUME).predict(prompts)


def test_engines_are_made_by_name():
    assert available_engines()[0] == make_segmenter().name == "built-in"
    with pytest.raises(
        ValueError, match="no segmentation engine 'sam': choose one of built-in, den"
    ):
        make_segmenter("sam")


@pytest.mark.parametrize("strength", [0.0, -1.0, np.nan])
def test_a_strength_that_is_not_positive_names_the_switch(strength):
    with pytest.raises(ValueError, match="to switch the guidance off, set density_guidance"):
        SegmentationSettings(guidance_strength=strength)
