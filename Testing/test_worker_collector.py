"""The threads of a connection leave no trace: no finaliser, no log record, no last reference."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.worker import collector
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import Job, WorkerError
from NASAM3DLib.worker.protocol import Deferred, Message

COMMAND = [sys.executable, str(Path(__file__).with_name("worker_with_test_jobs.py"))]
TIMEOUT_S = 60.0


class Cycle:
    """An object that only the collector ends, and that tells in which thread."""

    def __init__(self, ended_in: Counter[int]) -> None:
        self.itself, self.ended_in = self, ended_in

    def __del__(self) -> None:
        self.ended_in[threading.get_ident()] += 1


@pytest.fixture
def client() -> Iterator[WorkerClient]:
    """A client of the worker with test jobs."""
    running = WorkerClient(COMMAND)
    yield running
    running.close()


def poll_until(client: WorkerClient, condition: Callable[[], bool]) -> None:
    """Poll as a timer does."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        client.poll()
        time.sleep(0.001)


def test_nothing_is_collected_in_another_thread(client: WorkerClient) -> None:
    ended_in: Counter[int] = Counter()
    fields = {"numbers": [[i, i] for i in range(200)]}
    jobs: list[Job] = [client.submit(Message("double", fields)) for _ in range(150)]

    def make_garbage_until_done() -> bool:
        for _ in range(20):
            Cycle(ended_in)
        return all(job.is_finished for job in jobs)

    poll_until(client, make_garbage_until_done)
    assert all(job.error is None for job in jobs)
    assert ended_in.total() > 500
    assert set(ended_in) == {threading.get_ident()}


@pytest.mark.parametrize("is_wanted", [True, False])
def test_the_collector_is_left_as_it_was(is_wanted: bool) -> None:
    (gc.enable if is_wanted else gc.disable)()
    try:
        client = WorkerClient(COMMAND)
        job = client.submit(Message("double", {}, {"values": np.zeros(10)}))
        client.wait(job, TIMEOUT_S)
        client.close()
        deadline = time.monotonic() + TIMEOUT_S
        while collector._n_running:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert gc.isenabled() == is_wanted
    finally:
        gc.enable()


def test_threads_that_overlap_resume_only_with_the_last_one() -> None:
    before = collector._n_running
    collector.suspend()
    collector.suspend()
    assert not gc.isenabled()
    collector.resume()
    assert not gc.isenabled()
    collector.resume()
    assert collector._n_running == before
    assert gc.isenabled()


def test_what_the_worker_says_is_logged_in_the_callers_thread(
    client: WorkerClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="NASAM3DLib.worker"):
        client.wait(client.submit(Message("chatter")), TIMEOUT_S)
        poll_until(client, lambda: "worker: printed by a child" in caplog.messages)
    assert {record.thread for record in caplog.records} == {threading.get_ident()}
    for line in ("printed by Python", "written by C"):
        assert f"worker: {line}" in caplog.messages


def test_a_line_that_does_not_end_is_among_the_last_words() -> None:
    client = WorkerClient([sys.executable, "-c", "import sys; sys.stderr.write('half a li')"])
    with pytest.raises(WorkerError, match="half a li"):
        client.wait(client.submit(Message("double")), TIMEOUT_S)
    client.close()


def test_what_was_sent_is_let_go_of_in_the_callers_thread(client: WorkerClient) -> None:
    ended_in: list[int] = []

    class Held:
        """Something like a scene's object, which a request holds."""

        def __del__(self) -> None:
            ended_in.append(threading.get_ident())

    def ask() -> None:
        held = Held()

        def make() -> Message:
            return Message("double", {"has_held": held is not None})

        client.wait(client.submit(Deferred("double", make)), TIMEOUT_S)

    for _ in range(20):
        ask()
    poll_until(client, lambda: len(ended_in) == 20)
    assert set(ended_in) == {threading.get_ident()}
