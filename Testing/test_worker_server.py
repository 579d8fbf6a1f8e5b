"""The worker process itself: its streams, its end, and its control verbs."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

import NASAM3DLib
from NASAM3DLib.worker.launch import kill_tree, start_process, worker_environment
from NASAM3DLib.worker.protocol import PROTOCOL_VERSION, Message, read_message, write_message
from NASAM3DLib.worker.reporting import remaining_s

SCRIPT = [sys.executable, str(Path(__file__).with_name("worker_with_test_jobs.py"))]
END_S = 10.0


class Raw:
    """A worker spoken to by hand."""

    def __init__(self) -> None:
        self.process = start_process(SCRIPT, worker_environment())
        self.input = cast(io.BufferedIOBase, self.process.stdin)
        self.output = cast(io.BufferedIOBase, self.process.stdout)
        self.hello = self.read()

    def send(self, kind: str, **fields: object) -> None:
        write_message(self.input, Message(kind, fields))

    def read(self) -> Message:
        message = read_message(self.output)
        assert message is not None, "the worker closed its output"
        return message

    def close(self) -> None:
        kill_tree(self.process)
        self.process.wait(END_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def worker() -> Iterator[Raw]:
    """A running worker with test jobs."""
    raw = Raw()
    yield raw
    raw.close()


def test_it_says_hello_with_versions_and_verbs(worker: Raw) -> None:
    assert worker.hello.kind == "hello"
    fields = worker.hello.fields
    assert fields["protocol"] == PROTOCOL_VERSION
    assert fields["library"] == NASAM3DLib.__version__
    assert fields["python"] == ".".join(map(str, sys.version_info[:3]))
    assert fields["pid"] == worker.process.pid


def test_it_answers_ping_during_a_job(worker: Raw) -> None:
    worker.send("deaf", job=1)
    assert worker.read().kind == "progress"
    worker.send("ping", job=2)
    answer = worker.read()
    assert (answer.kind, answer.fields) == ("result", {"job": 2, "busy": True})


@pytest.mark.parametrize("verb", ["count", "deaf"])
def test_it_dies_at_the_end_of_its_input_even_during_a_job(worker: Raw, verb: str) -> None:
    worker.send(verb, job=1, steps=10_000, step_s=0.01)
    assert worker.read().kind == "progress"
    worker.input.close()
    assert worker.process.wait(END_S) == 0


def test_it_ends_when_told(worker: Raw) -> None:
    worker.send("shutdown")
    assert worker.process.wait(END_S) == 0


def test_garbage_on_its_input_is_answered_and_ends_it(worker: Raw) -> None:
    worker.input.write(b"GET / HTTP/1.1\r\n\r\n")
    worker.input.flush()
    answer = worker.read()
    assert (answer.kind, answer.fields["error"]) == ("error", "protocol")
    assert "got b'GET / HT'" in answer.fields["message"]
    assert worker.process.wait(END_S) == 3


def test_a_request_without_a_job_number_is_answered(worker: Raw) -> None:
    worker.send("count", steps=1, step_s=0)
    answer = worker.read()
    assert (answer.kind, answer.job) == ("error", None)
    assert "needs a field 'job'" in answer.fields["message"]


def test_a_waiting_job_can_be_cancelled_and_a_finished_one_may(worker: Raw) -> None:
    worker.send("count", job=1, steps=20, step_s=0.02)
    worker.send("count", job=2, steps=1, step_s=0)
    worker.send("cancel", job=2)
    worker.send("cancel", job=99)
    answers = []
    while len(answers) < 2:
        message = worker.read()
        if message.kind != "progress":
            answers.append((message.kind, message.job))
    assert answers == [("result", 1), ("cancelled", 2)]


def test_printed_text_goes_to_standard_error(worker: Raw) -> None:
    worker.send("chatter", job=1)
    assert worker.read().kind == "result"
    worker.input.close()
    assert worker.process.wait(END_S) == 0
    log = cast(io.BufferedIOBase, worker.process.stderr).read().decode()
    for line in ("printed by Python", "written by C", "printed by a child"):
        assert line in log


def test_the_module_starts_the_real_worker() -> None:
    process = start_process([sys.executable, "-m", "NASAM3DLib.worker"], worker_environment())
    output, _ = process.communicate(b"", timeout=60)
    hello = read_message(io.BytesIO(output))
    assert hello is not None
    assert set(hello.fields["verbs"]) >= {"reconstruct", "set_volume", "predict", "undo", "reset"}
    assert process.returncode == 0


def test_starting_a_worker_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import NASAM3DLib.worker.__main__, NASAM3DLib.worker.clicks\n"
        "import NASAM3DLib.worker.requirements\n"
        "heavy = {'torch', 'numba', 'SimpleITK', 'scipy', 'skimage', 'matplotlib'}\n"
        "sys.stderr.write(', '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=worker_environment(), capture_output=True, check=False
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("elapsed", "fraction", "remaining"),
    [(0.5, 0.5, None), (10.0, 0.001, None), (10.0, 0.25, 30.0), (8.0, 1.0, 0.0)],
)
def test_remaining_time_is_proportional_and_not_guessed_early(
    elapsed: float, fraction: float, remaining: float | None
) -> None:
    assert remaining_s(elapsed, fraction) == remaining
