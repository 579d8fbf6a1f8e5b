"""Checkpoint files: both layouts, and everything that must be refused."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sam_med3d_numpy import TINY  # noqa: E402

from NASAM3DLib.segment.sam_med3d.checkpoint import (  # noqa: E402
    load_checkpoint,
    save_checkpoint,
)
from NASAM3DLib.segment.sam_med3d.model import build_sam_med3d, fill_parameters  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return fill_parameters(build_sam_med3d(TINY))


@pytest.fixture
def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "weights.pth"
    save_checkpoint(model, path)
    return path


def same(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_layouts_and_both_formats_are_read(model, state, tmp_path, wrapped, zipped):
    path = tmp_path / "w.pth"
    content = {"model_state_dict": state, "epoch": 3, "losses": [0.5]} if wrapped else state
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(path, config=TINY)
    assert same(model, loaded)
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())


def test_what_is_saved_comes_back(model, saved):
    assert same(model, load_checkpoint(str(saved), config=TINY))
    with pytest.raises(FileExistsError, match="exists already"):
        save_checkpoint(model, saved)
    assert [path.name for path in saved.parent.iterdir()] == ["weights.pth"]


def test_half_precision_is_widened(state, tmp_path):
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "h.pth")
    loaded = load_checkpoint(tmp_path / "h.pth", config=TINY)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


NAME = "mask_decoder.iou_token.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop(NAME), rf"1 entries are missing \({re.escape(NAME)}\)"),
        (lambda s: s.update(odd=torch.zeros(1)), r"1 entries do not belong to it \(odd\)"),
        (
            lambda s: s.update({NAME: torch.zeros(2, 48)}),
            rf"wrong shape \({re.escape(NAME)} is \(2, 48\) instead of \(1, 48\)",
        ),
        (lambda s: s.update({NAME: "text"}), "is str instead of"),
        (lambda s: s.update({NAME: torch.zeros(1, 48).long()}), "int64, not floating-point"),
        (lambda s: s.update({NAME: torch.full((1, 48), np.nan)}), "not finite"),
    ],
)
def test_what_differs_is_named(state, tmp_path, change, words):
    change(state)
    torch.save({"model_state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=words):
        load_checkpoint(tmp_path / "w.pth", config=TINY)


def test_another_models_file_is_recognised(tmp_path):
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"not a checkpoint of SAM-Med3D: 0 of its \d+ entries"):
        load_checkpoint(tmp_path / "w.pth", config=TINY)


def test_another_size_is_recognised(saved):
    with pytest.raises(ValueError, match=r"entries are missing.*wrong shape"):
        load_checkpoint(saved)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"model_state_dict": {}}, {}])
def test_files_without_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"it is no checkpoint"):
        load_checkpoint(tmp_path / "w.pth", config=TINY)


class Intruder:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["model_state_dict", "optimizer_state_dict"])
def test_code_in_a_file_is_refused_and_not_run(state, tmp_path, zipped, key):
    marker, path = tmp_path / "executed", tmp_path / "w.pth"
    content = {"model_state_dict": state, key: Intruder(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"not opened|nothing in it was executed"):
        load_checkpoint(path, config=TINY)
    assert not marker.exists()


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.pth"):
        load_checkpoint(tmp_path / "nowhere.pth", config=TINY)


def test_truncated_files_are_refused(saved, tmp_path):
    whole = saved.read_bytes()
    rng = np.random.default_rng(0)
    cuts = [0, 1, 4, 100, len(whole) // 2, len(whole) - 1, *rng.integers(2, len(whole), 20)]
    for cut in cuts:
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[: int(cut)])
        with pytest.raises(ValueError, match=r"cut\.pth (cannot be loaded|is not|holds|does not)"):
            load_checkpoint(path, config=TINY)


def test_damaged_files_are_refused_or_give_the_same_shapes(saved, tmp_path):
    """A flipped byte is refused, or lies among the values; a loaded network is always whole."""
    whole = np.frombuffer(saved.read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(1)
    messages = []
    for _ in range(60):
        damaged = whole.copy()
        # The headers of the archive and its pickle are at the beginning and at the end.
        end = rng.choice([3000, len(whole)])
        place = rng.integers(end - 3000, end, size=8)
        damaged[place] = rng.integers(0, 256, size=8)
        path = tmp_path / "damaged.pth"
        path.write_bytes(damaged.tobytes())
        try:
            loaded = load_checkpoint(path, config=TINY)
        except ValueError as error:
            messages.append(str(error))
            continue
        assert all(torch.isfinite(value).all() for value in loaded.state_dict().values())
    assert len(messages) > 20
    assert all("damaged.pth" in message for message in messages)


def test_noise_and_foreign_archives_are_refused(tmp_path):
    noise, archive = tmp_path / "noise.pth", tmp_path / "archive.pth"
    noise.write_bytes(np.random.default_rng(2).bytes(5000))
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("data.txt", "hello")
    for path in (noise, archive):
        with pytest.raises(ValueError, match="cannot be loaded"):
            load_checkpoint(path, config=TINY)
