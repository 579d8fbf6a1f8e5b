"""What the worker keeps, for how long, and that letting go costs nothing but time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.memory import MAX_ENGINES, VolumeMemory
from NASAM3DLib.worker.payloads import unpack_mask
from NASAM3DLib.worker.protocol import Message
from NASAM3DLib.worker.reporting import GoneError

GRID = VolumeGrid.centred((8, 8, 8), 3.0)
ENGINE = "density-guided"


def a_volume(value: float, grid: VolumeGrid = GRID) -> Volume:
    """A volume of one value."""
    return Volume(np.full(grid.shape_kji, value, dtype=np.float32), grid, "HU")


def test_the_same_content_finds_the_engine_that_prepared_it() -> None:
    memory, settings, told = VolumeMemory(), SegmentationSettings(), []
    first = memory.put(a_volume(1))
    engine = memory.get(first).engine(ENGINE, settings, lambda stage, _: told.append(stage))
    memory.put(a_volume(2))
    assert memory.put(a_volume(1)) == first
    again = memory.get(first).engine(ENGINE, SegmentationSettings(), lambda *_: told.append("no"))
    assert again is engine
    assert told == ["Preparing the volume"]
    assert memory.get(first).last_engine is engine


def test_engines_with_other_settings_are_prepared_apart_and_the_oldest_is_dropped() -> None:
    memory = VolumeMemory()
    held = memory.get(memory.put(a_volume(1)))
    assert held.last_engine is None
    made = [
        held.engine(ENGINE, SegmentationSettings(guidance_strength=s), lambda *_: None)
        for s in (1.0, 2.0, 3.0)
    ]
    assert len({id(engine) for engine in made}) == 3
    assert list(held.engines.values()) == made[-MAX_ENGINES:]
    assert held.engine(ENGINE, SegmentationSettings(guidance_strength=2.0), refuse) is made[1]
    assert held.last_engine is made[1]


def refuse(stage: str, fraction: float) -> None:
    """Fail if something has to be prepared."""
    raise AssertionError(stage)


def test_the_volume_that_was_not_used_for_longest_is_forgotten_first() -> None:
    size = a_volume(0).array.nbytes
    memory = VolumeMemory(max_bytes=2 * size)
    first, second = memory.put(a_volume(1)), memory.put(a_volume(2))
    memory.get(first)
    third = memory.put(a_volume(3))
    assert memory.get(first).volume.array[0, 0, 0] == 1
    assert memory.get(third).volume.array[0, 0, 0] == 3
    with pytest.raises(GoneError, match="send it with set_volume"):
        memory.get(second)


def test_the_newest_volume_is_kept_whatever_its_size() -> None:
    memory = VolumeMemory(max_bytes=10)
    for value in (1, 2):
        name = memory.put(a_volume(value))
        assert memory.get(name).volume.array[0, 0, 0] == value


def test_what_is_let_go_of_is_gone() -> None:
    memory = VolumeMemory()
    name = memory.put(a_volume(1))
    memory.release()
    memory.release()
    for unknown in (name, None, 3):
        with pytest.raises(GoneError):
            memory.get(unknown)


def test_the_shared_network_is_let_go_of_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from NASAM3DLib.segment.sam_med3d import engine

    loaded: list[Path] = []
    monkeypatch.setattr(engine, "load_checkpoint", loaded.append)
    monkeypatch.setattr(engine, "Predictor", lambda checkpoint, **options: object())
    engine.forget_networks()
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"0")
    options = engine.SamMed3DOptions(weights=weights)
    memory = VolumeMemory()
    memory.put(a_volume(1))
    first = engine._loaded(options)
    assert engine._loaded(options) is first
    memory.release()
    assert engine._loaded(options) is not first
    assert len(loaded) == 2
    engine.forget_networks()


def resident_bytes(pid: int) -> int:
    """Memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_worker_gives_memory_back_and_answers_the_next_click_all_the_same() -> None:
    grid = VolumeGrid.centred((100, 400, 400), 1.0)
    array = np.full(grid.shape_kji, -1000, dtype=np.float32)
    array[40:60, 190:210, 190:210] = 50
    volume = Volume(array, grid, "HU")
    client = WorkerClient([sys.executable, "-m", "NASAM3DLib.worker", "--idle-s", "1"])
    clicks, answers = ClickedSegmentation(client), []

    def click(x_mm: float) -> int:
        state = ClickState("v", lambda: volume, Prompts().with_point((x_mm, 0.0, 0.0)))
        clicks.update(state, on_result=answers.append, on_error=answers.append)
        wanted = len(answers) + 1
        end = time.monotonic() + 60
        while len(answers) < wanted:
            assert time.monotonic() < end
            client.poll()
            time.sleep(0.01)
        answer: Message | WorkerError = answers[-1]
        assert isinstance(answer, Message), answer
        assert client.process_id is not None
        return int(unpack_mask(answer).sum())

    n_voxels = click(0.0)
    pid = client.process_id
    assert pid is not None
    busy = resident_bytes(pid)
    end = time.monotonic() + 30
    while resident_bytes(pid) > busy - 0.9 * array.nbytes:
        assert time.monotonic() < end, "the memory was not given back"
        time.sleep(0.1)
    assert click(1.0) == pytest.approx(n_voxels, rel=0.05)
    assert (client.process_id, client.generation) == (pid, 0)
    client.close()
