"""Neither side waits for a dead one: hangs are noticed, and a worker never outlives its program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from NASAM3DLib.worker import client as client_module
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.launch import worker_environment
from NASAM3DLib.worker.liveness import Pulse
from NASAM3DLib.worker.protocol import Message

WORKER = str(Path(__file__).with_name("worker_with_test_jobs.py"))
TIMEOUT_S = 30.0

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="stops processes and reads /proc"
)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def until(condition: Callable[[], object], step: Callable[[], object] = lambda: None) -> None:
    """Wait for something."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        step()
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_silence_counts_from_the_first_thing_that_was_not_answered() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    clock.now += 50
    assert pulse.silence_s == 0
    pulse.sent()
    clock.now += 4
    pulse.sent()
    clock.now += 3
    assert pulse.silence_s == 7
    pulse.heard()
    assert pulse.silence_s == 0


def test_silence_begins_anew_when_something_moves_or_this_side_was_away() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.forgive()
    assert pulse.silence_s == 0
    for note in (pulse.moved, pulse.forgive):
        pulse.sent()
        clock.now += 9
        note()
        clock.now += 2
        assert pulse.silence_s == 2


def test_a_worker_that_hangs_in_a_job_is_ended_and_replaced() -> None:
    client = WorkerClient([sys.executable, WORKER], hang_timeout_s=1.0)
    frozen = client.submit(Message("freeze"))
    following = client.submit(Message("count", {"steps": 1, "step_s": 0}))
    with pytest.raises(WorkerError, match="no sign of life for 1 s") as caught:
        client.wait(frozen, TIMEOUT_S)
    assert caught.value.kind == "hung"
    assert client.wait(following, TIMEOUT_S).fields["steps"] == 1
    assert client.generation == 1
    client.close()


def test_a_worker_that_hangs_while_it_has_no_job_is_replaced_silently() -> None:
    client = WorkerClient([sys.executable, WORKER], hang_timeout_s=0.5)
    client.wait(client.submit(Message("count", {"steps": 1, "step_s": 0})), TIMEOUT_S)
    assert client.process_id is not None
    os.kill(client.process_id, signal.SIGSTOP)
    until(lambda: client.generation == 1, client.poll)
    assert client.wait(client.submit(Message("count", {"steps": 1, "step_s": 0})), TIMEOUT_S)
    client.close()


def test_a_worker_that_computes_in_silence_is_left_in_peace() -> None:
    client = WorkerClient([sys.executable, WORKER], hang_timeout_s=0.4)
    job = client.submit(Message("count", {"steps": 1, "step_s": 2.0}))
    assert client.wait(job, TIMEOUT_S).fields["steps"] == 1
    assert client.generation == 0
    client.close()


def test_a_program_that_was_away_does_not_blame_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ABSENCE_S", 0.3)
    client = WorkerClient([sys.executable, WORKER], hang_timeout_s=0.6)
    client.wait(client.submit(Message("count", {"steps": 1, "step_s": 0})), TIMEOUT_S)
    assert client.process_id is not None
    os.kill(client.process_id, signal.SIGSTOP)
    time.sleep(1.2)
    assert client.silence_s > 0.6
    client.poll()
    os.kill(client.process_id, signal.SIGCONT)
    until(lambda: client.silence_s == 0, client.poll)
    assert client.generation == 0
    client.close()


PROGRAM = """
import subprocess, sys, time
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.protocol import Message

client = WorkerClient(sys.argv[2:])
seen = []
client.submit(Message("deaf"), on_progress=seen.append)
while not seen:
    client.poll()
    time.sleep(0.01)
if sys.argv[1] == "inherited":
    # A child that holds the worker's input open, so that it never ends.
    stream = client._connection.process.stdin.fileno()
    subprocess.Popen(["sleep", "60"], pass_fds=[stream], stdout=subprocess.DEVNULL)
print(client.hello["pid"], flush=True)
time.sleep(60)
"""


def killed_program(how: str, command: list[str]) -> int:
    """Start a program with a busy worker, kill the program, and give the worker's process."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how, *command],
        env=worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert program.stdout is not None
    with program.stdout as stream:
        worker = int(stream.readline())
    assert is_alive(worker)
    program.kill()
    program.wait(TIMEOUT_S)
    return worker


def test_a_worker_dies_with_the_program_that_is_killed() -> None:
    worker = killed_program("plain", [sys.executable, WORKER])
    until(lambda: not is_alive(worker))


def test_a_worker_behind_a_pipe_dies_with_the_program_that_is_killed() -> None:
    command = f"cat | '{sys.executable}' '{WORKER}' | cat"
    worker = killed_program("plain", ["sh", "-c", command])
    until(lambda: not is_alive(worker))


def test_a_worker_whose_input_does_not_end_notices_that_it_is_alone() -> None:
    # A busy worker waits twelve times as long: 2.4 s.
    worker = killed_program("inherited", [sys.executable, WORKER, "600", "0.2"])
    time.sleep(0.5)
    assert is_alive(worker)
    until(lambda: not is_alive(worker))


def test_a_worker_that_was_promised_nothing_waits_as_long_as_it_takes() -> None:
    process = subprocess.Popen(
        [sys.executable, WORKER, "600", "0.1"],
        env=worker_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0


def test_an_idle_worker_lets_go_once() -> None:
    client = WorkerClient([sys.executable, WORKER, "0.2", "300"])
    for _ in range(2):
        client.wait(client.submit(Message("count", {"steps": 1, "step_s": 0})), TIMEOUT_S)
        time.sleep(0.7)
    assert client._connection is not None
    assert client._connection.log_lines == ["let go", "let go"]
    client.close()
