"""What every click method of the benchmark keeps to, and what is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_folder import methods_file

from NASAM3DLib.benchmark.methods import grow_cut, ours
from NASAM3DLib.benchmark.methods.crop import (
    Crop,
    CroppedSegmenter,
    arrival_times,
    without_negative,
)
from NASAM3DLib.benchmark.methods.ours import SILENT
from NASAM3DLib.benchmark.methods.protocol import (
    code_digest,
    package_missing,
    package_version,
)
from NASAM3DLib.benchmark.methods.registry import BUILT_IN, all_methods
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((28, 32, 30), (3.0, 2.5, 3.2))
PEERS = [method for method in BUILT_IN if method.kind == "peer"]
NAMES = [method.name for method in PEERS]


def distance_mm(centre_ras: tuple[float, float, float]) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.arange(n) for n in GRID.shape_kji), indexing="ij")
    return np.linalg.norm(GRID.to_ras(np.stack([i, j, k], axis=-1)) - centre_ras, axis=-1)


BALL = distance_mm((0, 0, 0)) < 18
NEIGHBOUR = distance_mm((0, 27, 0)) < 12


def volume() -> Volume:
    """A ball that touches a smaller one of equal density."""
    array = np.random.default_rng(0).normal(0, 6, GRID.shape_kji)
    array[BALL | NEIGHBOUR] += 80
    return Volume(array.astype(np.float32), GRID, "HU")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def available(name: str):
    method = all_methods()[name]
    if method.missing():
        pytest.skip(f"{name}: {method.missing()}")
    return method


CLICK = Prompts().with_point([0, 0, 0])
BOTH = CLICK.with_point([0, 27, 0], positive=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_finds_a_ball_and_gives_its_neighbour_back(name: str):
    segmenter = available(name).make()
    segmenter.set_volume(volume())
    found, corrected = segmenter.predict(CLICK), segmenter.predict(BOTH)
    assert dice(found.array, BALL) > 0.5
    # ConfidenceConnected keeps to the densest part of what is so even.
    assert dice(corrected.array, BALL) > (0.55 if name == "confidence-connected" else 0.75)
    assert dice(corrected.array, BALL) >= dice(found.array, BALL)
    for mask, prompts in ((found, CLICK), (corrected, BOTH)):
        assert mask.grid.same_as(GRID)
        assert mask.disagreements(prompts) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_depends_on_nothing_but_its_clicks(name: str):
    segmenter = available(name).make()
    segmenter.set_volume(volume())
    first = segmenter.predict(BOTH).array
    segmenter.predict(CLICK)
    assert np.array_equal(segmenter.predict(BOTH).array, first)


def test_a_peer_without_a_volume_says_what_to_do():
    with pytest.raises(RuntimeError, match="call set_volume first"):
        available("connected-threshold").make().predict(CLICK)


def test_a_peer_sees_a_cube_that_grows_with_the_clicks():
    grid = VolumeGrid.centred((100, 20, 20), 3.0)
    seen: list[Crop] = []

    def answer(crop: Crop) -> np.ndarray:
        seen.append(crop)
        return np.zeros(crop.array_hu.shape, dtype=bool)

    segmenter = CroppedSegmenter(answer)
    segmenter.set_volume(Volume(np.zeros(grid.shape_kji, dtype=np.float32), grid, "HU"))
    segmenter.predict(CLICK)
    mask = segmenter.predict(CLICK.with_point([0, 0, 120.0]))
    first, second = seen
    # 96 mm are 32 voxels to each side, and the grid is only 20 voxels wide.
    assert first.array_hu.shape == (65, 20, 20)
    assert second.array_hu.shape[0] > 65
    assert np.array_equal(second.positive[1] - second.positive[0], [40, 0, 0])
    assert mask.disagreements(CLICK.with_point([0, 0, 120.0])) == []


def test_arrival_times_are_distances_where_speed_is_one():
    speed = np.ones((15, 15, 15), dtype=np.float32)
    times = arrival_times(speed, np.array([[7, 7, 7]]), (2.0, 1.0, 1.0))
    assert times[7, 7, 12] == pytest.approx(5, rel=0.02)
    assert times[12, 7, 7] == pytest.approx(10, rel=0.02)


def test_a_negative_click_takes_the_half_that_is_nearer_to_it():
    array = np.zeros((9, 9, 21), dtype=np.float32)
    region = np.zeros(array.shape, dtype=bool)
    region[3:6, 3:6, 2:19] = True
    positive, negative = np.array([[4, 4, 4]]), np.array([[4, 4, 16]])
    crop = Crop(array, (1.0, 1.0, 1.0), positive, negative)
    kept = without_negative(crop, region)
    assert kept[4, 4, 4:10].all()
    assert not kept[4, 4, 11:].any()
    alone = Crop(array, (1.0, 1.0, 1.0), positive, negative[:0])
    assert np.array_equal(without_negative(alone, region), region)


def test_density_at_a_click_is_that_of_its_surroundings():
    array = np.full((11, 11, 11), 40.0, dtype=np.float32)
    crop = Crop(array, (1.0, 1.0, 1.0), np.array([[0, 5, 5]]), np.zeros((0, 3), dtype=np.intp))
    assert crop.density(crop.positive[0]) == pytest.approx((40.0, 12.0))


def test_a_file_adds_methods(tmp_path: Path):
    methods = all_methods((methods_file(tmp_path),))
    assert list(methods)[-3:] == ["dense", "failing", "absent"]
    assert methods["absent"].missing() == "the package absent is missing"
    assert methods["dense"].missing() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define METHODS"),
        ("METHODS = ('dense',)", "must define METHODS"),
    ],
)
def test_a_file_without_methods_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        all_methods((path,))


def test_a_second_method_of_one_name_is_refused(tmp_path: Path):
    path = methods_file(tmp_path)
    path.write_text(path.read_text("utf-8").replace('"dense"', '"grow-cut"'), "utf-8")
    with pytest.raises(ValueError, match="already: rename it"):
        all_methods((path,))
    with pytest.raises(FileNotFoundError, match="no file"):
        all_methods((tmp_path / "nowhere.py",))


def test_what_is_absent_is_told_and_not_imported(monkeypatch: pytest.MonkeyPatch):
    assert package_missing("no_such_module", "no-such-package") == (
        "the package no-such-package is not installed"
    )
    assert package_version("no-such-package") == "no-such-package not installed"
    monkeypatch.setattr(grow_cut, "package_missing", lambda *names: f"{names[-1]} is missing")
    assert all_methods()["grow-cut"].missing() == "itk-growcut is missing"


def test_every_method_has_a_name_a_note_and_an_identity():
    assert len({method.name for method in BUILT_IN}) == len(BUILT_IN)
    for method in BUILT_IN:
        assert method.note
        if not method.missing():
            assert method.identity()


def test_the_digest_of_source_text_tells_folders_apart():
    assert code_digest("segment") == code_digest("segment")
    assert len({code_digest("segment"), code_digest("scan"), code_digest("segment", "scan")}) == 3
    everything = code_digest("segment")
    assert code_digest("segment", without=("mask_io",)) != everything
    assert code_digest("segment", without=("no_such_module",)) == everything


def test_modules_left_out_of_the_identity_take_no_part_in_an_answer():
    code = """
import sys
import numpy as np
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import make_segmenter
grid = VolumeGrid.centred((16, 16, 16), 3.0)
array = np.zeros(grid.shape_kji, dtype=np.float32)
array[5:11, 5:11, 5:11] = 100
for name in sys.argv[1:]:
    engine = make_segmenter(name)
    engine.set_volume(Volume(array, grid, "HU"))
    engine.predict(Prompts().with_point([0, 0, 0]))
print(*(name for name in sys.modules if name.startswith("NASAM3DLib.segment.")))
"""
    engines = [name for name in ("density-guided", "built-in") if not all_methods()[name].missing()]
    done = subprocess.run(
        [sys.executable, "-c", code, *engines], capture_output=True, text=True, check=True
    )
    used = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert {"density_guided", "random_walker"} <= used
    assert not used & set(SILENT)
    folder = Path(ours.__file__).parents[2] / "segment"
    assert set(SILENT) <= {path.stem for path in folder.rglob("*.py")}
