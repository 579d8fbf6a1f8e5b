"""Large arrays, full memory and missing packages: told as what they are, and survived."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker import protocol
from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.launch import worker_environment
from NASAM3DLib.worker.payloads import (
    content_id,
    pack_prompts,
    pack_volume,
    receive_volume,
    unpack_mask,
)
from NASAM3DLib.worker.protocol import Deferred, Message

WORKER = str(Path(__file__).with_name("worker_with_test_jobs.py"))
TIMEOUT_S = 60.0
MB = 10**6
ROOM_KIB = 450_000
CALLER_LIMIT_S = 0.05

T = TypeVar("T")

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="limits are a matter of POSIX")


@pytest.fixture
def narrow_client() -> Iterator[WorkerClient]:
    """A worker that may have 460 MB of address space, half of which Python takes."""
    command = f"ulimit -v {ROOM_KIB}; exec '{sys.executable}' '{WORKER}'"
    environment = worker_environment({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
    client = WorkerClient(["sh", "-c", command], environment)
    yield client
    client.close()


def assert_works(client: WorkerClient) -> None:
    """See that the same process still does jobs."""
    job = client.submit(Message("count", {"steps": 2, "step_s": 0}))
    assert client.wait(job, TIMEOUT_S).fields["steps"] == 2
    assert client.generation == 0


@posix_only
def test_a_job_that_runs_out_of_memory_fails_alone(narrow_client: WorkerClient) -> None:
    job = narrow_client.submit(Message("hoard", {"bytes": 500 * MB}))
    with pytest.raises(WorkerError, match="not enough memory for this job") as caught:
        narrow_client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "memory"
    assert_works(narrow_client)


@posix_only
def test_a_volume_that_does_not_fit_is_skipped_and_told(narrow_client: WorkerClient) -> None:
    values = np.zeros(300 * MB, dtype=np.uint8)
    job = narrow_client.submit(Message("double", {}, {"first": values[:10], "values": values}))
    with pytest.raises(WorkerError, match=r"not enough memory.*Array 'values' takes 286") as caught:
        narrow_client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "memory"
    assert_works(narrow_client)


def test_an_answer_that_does_not_fit_here_is_skipped_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = protocol._room
    monkeypatch.setattr(protocol, "_room", lambda n: None if n > MB else room(n))
    client = WorkerClient([sys.executable, WORKER])
    job = client.submit(Message("made", {"bytes": 3 * MB}))
    with pytest.raises(WorkerError, match="not enough memory here for the answer") as caught:
        client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "memory"
    assert_works(client)
    client.close()


def without(package: str, folder: Path) -> dict[str, str]:
    """Give an environment in which a package cannot be imported."""
    (folder / f"{package}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')\n"
    )
    environment = worker_environment()
    return {**environment, "PYTHONPATH": f"{folder}:{environment['PYTHONPATH']}"}


@posix_only
def test_a_package_that_a_job_lacks_is_named_and_the_worker_stays(tmp_path: Path) -> None:
    client = WorkerClient(environment=without("numba", tmp_path))
    scan = {"n_views": 3, "detector_shape": [8, 8], "shape_kji": [4, 4, 4]}
    with pytest.raises(WorkerError, match="No module named 'numba'") as caught:
        client.wait(client.submit(Message("estimate", scan)), TIMEOUT_S)
    assert caught.value.kind == "package"
    assert client.wait(client.submit(Message("machine")), TIMEOUT_S).fields["cores"] >= 1
    assert client.generation == 0
    client.close()


@posix_only
def test_a_package_that_the_worker_itself_lacks_is_named(tmp_path: Path) -> None:
    client = WorkerClient(environment=without("numpy", tmp_path))
    with pytest.raises(WorkerError, match="No module named 'numpy'") as caught:
        client.wait(client.submit(Message("machine")), TIMEOUT_S)
    assert caught.value.kind == "package"
    client.close()


def test_two_predictions_at_once_are_both_answered() -> None:
    client = WorkerClient()
    grid = VolumeGrid.centred((32, 32, 32), 2.0)
    array = np.full(grid.shape_kji, -1000.0, dtype=np.float32)
    array[4:12, 10:20, 10:20] = array[20:28, 10:20, 10:20] = 40.0
    send = Deferred("set_volume", lambda: pack_volume("set_volume", Volume(array, grid, "HU")))
    volume_id = client.wait(client.submit(send), TIMEOUT_S).fields["volume_id"]
    clicks = [Prompts().with_point(grid.to_ras([14, 14, k])) for k in (7, 24)]
    jobs = [client.submit(pack_prompts("predict", p, volume_id=volume_id)) for p in clicks]
    lower, upper = (unpack_mask(client.wait(job, TIMEOUT_S)).astype(bool) for job in jobs)
    assert lower[7, 14, 14]
    assert upper[24, 14, 14]
    assert not (lower & upper).any()
    client.close()


class Caller:
    """Calls and remembers how long its own thread computed in the longest of them."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    def __call__(self, function: Callable[[], T]) -> T:
        begin = time.thread_time()
        answer = function()
        self.longest_s = max(self.longest_s, time.thread_time() - begin)
        return answer


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_no_call_is_long_for_a_volume_of_300_megabytes(dtype: str) -> None:
    grid = VolumeGrid.centred((290, 512, 512), 0.8)
    voxels = np.full(grid.shape_kji, -1000, dtype=dtype)
    voxels[120:150, 230:280, 230:280] = 40
    client, caller = WorkerClient(), Caller()
    clicks = ClickedSegmentation(client)
    state = ClickState(
        "volume",
        lambda: lambda: Volume(voxels.astype(np.float32), grid, "HU"),
        Prompts().with_point(grid.to_ras([255, 255, 135])),
    )
    got: list[Message | WorkerError] = []
    caller(lambda: clicks.update(state, on_result=got.append, on_error=got.append))
    end = time.monotonic() + TIMEOUT_S
    while not got:
        assert time.monotonic() < end
        caller(client.poll)
        time.sleep(0.01)
    (answer,) = got
    assert isinstance(answer, Message), answer
    mask = caller(lambda: unpack_mask(answer))
    assert mask[135, 255, 255] == 1
    assert answer.fields["n_voxels"] == pytest.approx(30 * 50 * 50, rel=0.1)
    assert caller.longest_s < CALLER_LIMIT_S
    client.close()


@pytest.mark.slow
def test_no_call_is_long_for_a_result_of_300_megabytes() -> None:
    client, caller = WorkerClient([sys.executable, WORKER]), Caller()
    grid = VolumeGrid.centred((290, 512, 512), 0.8)
    volume = Volume(np.zeros(grid.shape_kji, np.float32), grid, "HU")
    job = caller(lambda: client.submit(pack_volume("double", volume)))
    end = time.monotonic() + TIMEOUT_S
    while not job.is_finished:
        assert time.monotonic() < end
        caller(client.poll)
        time.sleep(0.01)
    assert job.result is not None
    result = job.result
    received = caller(lambda: receive_volume(result))
    assert received.array.nbytes > 300 * MB
    assert content_id(Volume(received.array, received.grid, "HU")) == content_id(volume)
    assert caller.longest_s < CALLER_LIMIT_S
    client.close()
