"""The engine label-free on a tiny network: agreement, locality of late clicks, zoom, misuse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")

from clicked_objects import BALL, BALL_VOLUME, GRID, ONE, clicks, dice, sphere, volume_of  # noqa: E402

from NASAM3DLib.progress import Cancelled  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.segment.labelfree import location  # noqa: E402
from NASAM3DLib.segment.labelfree.engine import (  # noqa: E402
    LabelFreeOptions,
    LabelFreeSegmenter,
)
from NASAM3DLib.segment.labelfree.network import NetworkConfig, build_network  # noqa: E402
from NASAM3DLib.segment.labelfree.training import Trainer  # noqa: E402
from NASAM3DLib.segment.labelfree.training_data import TrainingSettings  # noqa: E402
from NASAM3DLib.segment.labelfree.weights import save_weights  # noqa: E402
from NASAM3DLib.segment.labelfree.zoom import CROP, find_zoom, with_clicks  # noqa: E402
from NASAM3DLib.segment.prompts import Prompts  # noqa: E402
from NASAM3DLib.segment.segmenter import (  # noqa: E402
    DEFAULT_ENGINE,
    SegmentationSettings,
    available_engines,
    make_segmenter,
)

torch.set_num_threads(1)

MANY = clicks(
    ((0, 0, 0), True),
    ((30, 0, 0), False),
    ((0, 21, 0), True),
    ((0, -30, 0), False),
    ((-33, 0, 0), True),
    ((6, 6, 6), False),
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny network after a little training, as a file."""
    settings = TrainingSettings(n_updates=3, batch_size=1, edge=16, n_targets=1, warm_up=0)
    trainer = Trainer(build_network(NetworkConfig((8, 16))), settings)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    trainer.run(path.with_suffix(".pt"))
    save_weights(trainer.network, path, record={})
    return path


def engine(weights, volume=BALL_VOLUME, settings=None, **options) -> LabelFreeSegmenter:
    chosen = LabelFreeOptions(weights=weights, **options)
    segmenter = LabelFreeSegmenter(settings or SegmentationSettings(), chosen)
    segmenter.set_volume(volume)
    return segmenter


def first(prompts: Prompts, n: int) -> Prompts:
    return Prompts(prompts.points_ras[:n], prompts.labels[:n], prompts.box_ras)


def test_every_mask_agrees_with_every_click(weights):
    segmenter = engine(weights)
    for n in range(1, len(MANY) + 1):
        mask = segmenter.predict(first(MANY, n))
        assert mask.disagreements(first(MANY, n)) == []
        assert mask.grid is GRID


def test_a_click_on_a_ball_finds_it(weights):
    assert dice(engine(weights).predict(ONE).array, BALL) > 0.7


def test_from_the_fourth_click_on_only_the_part_at_the_newest_changes(weights):
    segmenter = engine(weights)
    before = segmenter.predict(first(MANY, 3)).array
    n_changed = 0
    for n in range(4, len(MANY) + 1):
        after = segmenter.predict(first(MANY, n)).array
        change = after != before
        n_changed += change.any()
        labels, n_parts = ndimage.label(change)
        newest = MANY.voxels(GRID)[n - 1]
        # One part, and the voxel of the click itself where it stands apart.
        for part in range(1, n_parts + 1):
            places = np.argwhere(labels == part)
            away = np.abs(places - newest).max(axis=1).min()
            assert away <= 2
        before = after
    assert n_changed >= 2


def test_a_mask_depends_on_the_prompts_and_not_on_what_was_asked_before(weights):
    step_by_step = engine(weights)
    for n in range(1, len(MANY) + 1):
        last = step_by_step.predict(first(MANY, n)).array
    np.testing.assert_array_equal(engine(weights).predict(MANY).array, last)
    other = clicks(((0, 0, 0), True), ((0, 30, 0), False))
    np.testing.assert_array_equal(
        step_by_step.predict(other).array, engine(weights).predict(other).array
    )


def test_undo_gives_the_former_mask_exactly(weights):
    segmenter = engine(weights)
    one = segmenter.predict(ONE).array
    segmenter.predict(first(MANY, 2))
    np.testing.assert_array_equal(segmenter.undo().array, one)
    assert segmenter.undo() is None
    assert segmenter.last_probability() is None
    assert segmenter.last_attention() is None


def test_probability_and_attention_lie_on_the_grid(weights):
    segmenter = engine(weights)
    mask = segmenter.predict(ONE)
    probability, attention = segmenter.last_probability(), segmenter.last_attention()
    np.testing.assert_array_equal(probability > 0.5, mask.array)
    assert attention.shape == probability.shape == GRID.shape_kji
    assert attention[BALL].mean() > 3 * attention[~BALL].mean()


def test_without_guidance_there_is_no_attention_and_another_mask(weights):
    alone = engine(weights, settings=SegmentationSettings(density_guidance=False))
    mask = alone.predict(ONE)
    assert alone.last_attention() is None
    assert mask.disagreements(ONE) == []
    assert not np.array_equal(mask.array, engine(weights).predict(ONE).array)


def test_precisions_agree(weights):
    full = engine(weights).predict(ONE).array
    half = engine(weights, precision="bfloat16").predict(ONE).array
    assert dice(full, half) > 0.98


def test_a_box_bounds_the_mask_and_a_negative_point_may_come_first(weights):
    box = np.array([[-15.0, -30, -30], [15, 30, 30]])
    prompts = Prompts(np.array([[30.0, 0, 0], [0, 0, 0]]), np.array([0, 1]), box)
    mask = engine(weights).predict(prompts)
    assert mask.disagreements(prompts) == []
    assert not (mask.array & ~prompts.inside_box(GRID)).any()


def test_small_objects_are_worked_on_in_fine_voxels_and_large_ones_in_coarse():
    grid = VolumeGrid.centred((96, 96, 96), 1.0)
    small = volume_of((sphere(grid, (0, 0, 0), 8.0), 90.0), grid=grid)
    large = volume_of((sphere(grid, (0, 0, 0), 40.0), 90.0), grid=grid)
    middle = np.array([48, 48, 48])
    fine, coarse = find_zoom(small, middle), find_zoom(large, middle)
    assert fine.factors_kji == (1, 1, 1)
    assert coarse.factors_kji == (2, 2, 2)
    extent = np.array(fine.box.upper_kji) - fine.box.lower_kji + 1
    assert (extent >= 40).all()
    assert (extent <= CROP + 2).all()
    corner = with_clicks(fine, grid, np.array([[95, 48, 48]]))
    assert corner.box.upper_kji[0] == 95
    assert with_clicks(fine, grid, middle[None]) == fine


def test_a_cancelled_prediction_leaves_no_trace(weights):
    segmenter = engine(weights)
    one = segmenter.predict(ONE).array

    def stop(stage, fraction):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        segmenter.predict(MANY, progress=stop)
    np.testing.assert_array_equal(segmenter.last_probability() > 0.5, one)
    np.testing.assert_array_equal(
        segmenter.predict(MANY).array, engine(weights).predict(MANY).array
    )


def test_misuse_is_explained(weights):
    idle = LabelFreeSegmenter(SegmentationSettings(), LabelFreeOptions(weights=weights))
    for call in (lambda: idle.predict(ONE), idle.undo):
        with pytest.raises(RuntimeError, match="call set_volume first"):
            call()
    with pytest.raises(ValueError, match="no positive point"):
        engine(weights).predict(clicks(((0, 0, 0), False)))
    with pytest.raises(ValueError, match="outside the volume"):
        engine(weights).predict(clicks(((900, 0, 0), True)))


def test_the_engine_is_listed_only_where_its_weights_are(weights, tmp_path, monkeypatch):
    absent = tmp_path / "labelfree.safetensors"
    monkeypatch.setattr(location, "default_path", lambda: absent)
    monkeypatch.setattr("NASAM3DLib.segment.labelfree.weights.default_path", lambda: absent)
    assert "label-free" not in available_engines()
    with pytest.raises(FileNotFoundError, match="weights of the label-free network are not inst"):
        make_segmenter("label-free")
    absent.write_bytes(weights.read_bytes())
    absent.with_suffix(".json").write_bytes(weights.with_suffix(".json").read_bytes())
    assert "label-free" in available_engines()
    assert available_engines()[0] == DEFAULT_ENGINE == "built-in"
    assert make_segmenter("label-free").name == "label-free"


def test_scribbles_are_obeyed_and_boxes_cut(weights):
    prompts = ONE.with_scribble([[0, 0, -15], [0, 0, 15]])
    prompts = prompts.with_scribble([[-20, -12, 3], [20, -12, 3]], positive=False)
    segmenter = engine(weights)
    before = segmenter.predict(ONE).array
    mask = segmenter.predict(prompts)
    assert mask.disagreements(prompts) == []
    np.testing.assert_array_equal(engine(weights).predict(prompts).array, mask.array)
    np.testing.assert_array_equal(segmenter.undo().array, before)
    boxed = prompts.with_box([[-21, -21, -18], [21, 4, 18]])
    mask = segmenter.predict(boxed)
    assert mask.disagreements(boxed) == []
    assert not (mask.array & ~boxed.inside_box(GRID)).any()


def test_a_box_alone_is_enough(weights):
    prompts = Prompts().with_box([[-27, -27, -27], [27, 27, 27]])
    assert dice(engine(weights).predict(prompts).array, BALL) > 0.7
