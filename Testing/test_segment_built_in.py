"""The default engine: the network where it is, what is kept, what it does without a network."""

from __future__ import annotations

import numpy as np
import pytest
from clicked_objects import BALL, BALL_VOLUME

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.segment import built_in
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import PromptableSegmenter, SegmentationSettings, make_segmenter

ONE = Prompts(np.array([[0.0, 0.0, 0.0]]), np.array([1], dtype=np.int8))
TWO = ONE.with_point((14.0, 0.0, 0.0), positive=True)
THREE = TWO.with_point((-26.0, 0.0, 0.0), positive=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Write weights of a tiny network that was never trained."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from NASAM3DLib.segment.labelfree.network import NetworkConfig, build_network
    from NASAM3DLib.segment.labelfree.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "labelfree.safetensors"
    save_weights(build_network(NetworkConfig((8, 16)), seed=1), path, record={})
    return path


@pytest.fixture
def with_network(weights, monkeypatch):
    for module in ("built_in", "labelfree.weights", "labelfree.location"):
        monkeypatch.setattr(f"NASAM3DLib.segment.{module}.default_path", lambda: weights)


def engine(name: str = "built-in", settings: SegmentationSettings | None = None):
    segmenter = make_segmenter(name, settings)
    assert isinstance(segmenter.name, str)
    segmenter.set_volume(BALL_VOLUME)
    return segmenter


def masks(segmenter: PromptableSegmenter) -> list[bytes]:
    """Answer one, two and three clicks."""
    return [segmenter.predict(prompts).array.tobytes() for prompts in (ONE, TWO, THREE)]


@pytest.mark.usefixtures("with_network")
def test_the_network_answers_where_it_is():
    ours, walker, network = (masks(engine(n)) for n in ("built-in", "density-guided", "label-free"))
    assert ours == network
    assert all(a != b for a, b in zip(ours, walker, strict=True))


@pytest.mark.usefixtures("with_network")
def test_a_box_or_a_scribble_alone_is_answered():
    for prompts in (
        Prompts().with_box([[-27, -27, -27], [27, 27, 27]]),
        Prompts().with_scribble([[0, 0, -12], [0, 0, 12]]),
    ):
        mask = engine().predict(prompts)
        assert mask.disagreements(prompts) == []
        assert 2 * (mask.array & BALL).sum() / (mask.n_voxels + BALL.sum()) > 0.7


@pytest.mark.usefixtures("with_network")
def test_undo_and_what_is_told_follow_the_engine_that_answered():
    segmenter = engine()
    first = segmenter.predict(ONE).array
    attention, ambiguity = segmenter.last_attention(), segmenter.last_ambiguity()
    assert ambiguity is not None
    later = segmenter.predict(TWO)
    assert later.disagreements(TWO) == []
    assert 0 <= segmenter.last_ambiguity() <= 1
    assert ((segmenter.last_probability() > 0.5) == later.array).all()
    np.testing.assert_array_equal(segmenter.undo().array, first)
    np.testing.assert_array_equal(segmenter.last_attention(), attention)
    assert segmenter.last_ambiguity() == ambiguity
    assert segmenter.undo() is None


@pytest.mark.usefixtures("with_network")
def test_a_cancelled_click_leaves_no_trace():
    segmenter = engine()
    first = segmenter.predict(ONE).array

    def cancel(stage: str, fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.predict(TWO, progress=cancel)
    expected = engine().predict(TWO).array
    np.testing.assert_array_equal(segmenter.predict(TWO).array, expected)
    np.testing.assert_array_equal(segmenter.undo().array, first)


@pytest.mark.parametrize("lacking", ["weights", "torch"])
def test_without_network_the_walker_answers_all(lacking, weights, tmp_path, monkeypatch):
    path = tmp_path / "none.safetensors" if lacking == "weights" else weights
    monkeypatch.setattr(built_in, "default_path", lambda: path)
    if lacking == "torch":
        find = built_in.importlib.util.find_spec
        monkeypatch.setattr(
            built_in.importlib.util, "find_spec", lambda n: None if n == "torch" else find(n)
        )
    assert not built_in.network_is_there()
    assert masks(engine()) == masks(engine("density-guided"))


def test_before_a_volume_it_says_what_is_missing():
    with pytest.raises(RuntimeError, match="call set_volume first"):
        make_segmenter("built-in").predict(ONE)


def test_the_object_is_found():
    found = engine().predict(ONE).array
    assert 2 * (found & BALL).sum() / (found.sum() + BALL.sum()) > 0.9
