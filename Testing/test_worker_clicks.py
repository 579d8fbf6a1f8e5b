"""Clicks are answered in the order of their makers' wishes: the newest state wins."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.payloads import unpack_mask
from NASAM3DLib.worker.protocol import Message

SCRIPT = [sys.executable, str(Path(__file__).with_name("worker_with_module_jobs.py"))]
GRID = VolumeGrid.centred((30, 30, 30), 2.0)


class Clicker:
    """A user with one volume and any number of clicks."""

    def __init__(self, *arguments: str) -> None:
        self.client = WorkerClient([*SCRIPT, *arguments])
        self.clicks = ClickedSegmentation(self.client)
        self.volume = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "HU")
        self.make_volume: Callable[[], Volume] | None = None
        self.n_volumes_sent = 0
        self.answers: list[Message | WorkerError] = []

    def read_volume(self) -> Volume | Callable[[], Volume]:
        self.n_volumes_sent += 1
        return self.make_volume or self.volume

    def click(self, *points: tuple[float, float, float], key: str = "a", **settings: bool) -> bool:
        prompts = Prompts(np.array(points, dtype=float), np.ones(len(points), dtype=np.int8))
        state = ClickState(key, self.read_volume, prompts, settings)
        return self.clicks.update(
            state, on_result=self.answers.append, on_error=self.answers.append
        )

    def wait(self) -> list[Message | WorkerError]:
        self.until(lambda: not self.client.is_busy)
        answers, self.answers = self.answers, []
        return answers

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "nothing happened in time"
            self.client.poll()
            time.sleep(0.01)


@pytest.fixture
def clicker() -> Iterator[Clicker]:
    """A user of the worker with known jobs."""
    clicker = Clicker()
    yield clicker
    clicker.client.close()


def n_points(answer: Message | WorkerError) -> int:
    """How many balls of 9 mm, far from each other, a mask holds."""
    assert isinstance(answer, Message), answer
    return round(int(unpack_mask(answer).sum()) * 8 / (4 / 3 * np.pi * 9**3))


POINTS = [(-18.0, -18.0, -18.0), (18.0, 18.0, 18.0), (-18.0, 18.0, -18.0), (18.0, -18.0, 18.0)]


def test_the_volume_is_sent_once_for_many_clicks(clicker: Clicker) -> None:
    for count in (1, 2, 3):
        assert clicker.click(*POINTS[:count])
        assert [n_points(answer) for answer in clicker.wait()] == [count]
    assert clicker.n_volumes_sent == 1


def test_quick_clicks_are_answered_once_with_the_newest_state(clicker: Clicker) -> None:
    for count in (1, 2, 3, 4):
        clicker.click(*POINTS[:count])
    assert [n_points(answer) for answer in clicker.wait()] == [4]


def test_a_click_during_a_prediction_overtakes_it(clicker: Clicker) -> None:
    clicker.click(POINTS[0])
    clicker.wait()
    clicker.click(*POINTS[:2])
    clicker.client.poll()
    clicker.click(*POINTS[:3])
    assert [n_points(answer) for answer in clicker.wait()] == [3]


def test_the_same_state_is_not_asked_for_again(clicker: Clicker) -> None:
    assert clicker.click(POINTS[0])
    assert not clicker.click(POINTS[0])
    assert len(clicker.wait()) == 1
    assert not clicker.click(POINTS[0])
    assert clicker.click(POINTS[0], density_guidance=True)
    assert len(clicker.wait()) == 1


def test_a_changed_volume_is_sent_again(clicker: Clicker) -> None:
    clicker.click(POINTS[0])
    clicker.wait()
    clicker.volume = Volume(np.ones(GRID.shape_kji, np.float32), GRID, "HU")
    assert clicker.click(POINTS[0], key="b")
    (answer,) = clicker.wait()
    assert isinstance(answer, Message)
    assert answer.fields["mean"] == 1.0
    assert clicker.n_volumes_sent == 2


def test_a_lost_process_gets_the_volume_again(clicker: Clicker) -> None:
    clicker.click(POINTS[0])
    clicker.wait()
    process_id = clicker.client.process_id
    clicker.client._drop_connection()
    clicker.click(*POINTS[:2])
    assert [n_points(answer) for answer in clicker.wait()] == [2]
    assert clicker.n_volumes_sent == 2
    assert clicker.client.process_id != process_id


def test_what_is_forgotten_is_answered_to_nobody(clicker: Clicker) -> None:
    clicker.click(POINTS[0])
    clicker.click(*POINTS[:2])
    clicker.clicks.forget()
    assert clicker.wait() == []
    assert clicker.click(*POINTS[:2])
    assert [n_points(answer) for answer in clicker.wait()] == [2]


def test_an_error_is_told_and_the_state_may_be_tried_again(clicker: Clicker) -> None:
    for _ in range(2):
        assert clicker.click(POINTS[0], density_guidance=False)
        (error,) = clicker.wait()
        assert isinstance(error, WorkerError)
        assert "cannot be switched off" in str(error)
    assert clicker.n_volumes_sent == 1


def test_a_volume_that_cannot_be_read_is_an_error(clicker: Clicker) -> None:
    def refuse() -> Volume:
        return Volume(np.full(GRID.shape_kji, np.nan), GRID, "HU")

    state = ClickState("a", refuse, Prompts(np.zeros((1, 3)), np.array([1])))
    clicker.clicks.update(state, on_result=clicker.answers.append, on_error=clicker.answers.append)
    (error,) = clicker.wait()
    assert isinstance(error, WorkerError)
    assert "NaN or infinite" in str(error)
    assert clicker.click(POINTS[0])
    assert len(clicker.wait()) == 1


def test_a_volume_that_was_clicked_on_before_is_not_sent_again(clicker: Clicker) -> None:
    for key in ("a", "b", "a", "b"):
        clicker.volume = Volume(np.full(GRID.shape_kji, ord(key), np.float32), GRID, "HU")
        assert clicker.click(POINTS[0], key=key)
        (answer,) = clicker.wait()
        assert isinstance(answer, Message)
        assert answer.fields["mean"] == ord(key)
    assert clicker.n_volumes_sent == 2


def test_what_the_worker_let_go_of_is_sent_again_without_a_word() -> None:
    clicker = Clicker("--idle-s", "0.3")
    clicker.click(POINTS[0])
    clicker.wait()
    time.sleep(0.8)
    clicker.click(*POINTS[:2])
    assert [n_points(answer) for answer in clicker.wait()] == [2]
    assert clicker.n_volumes_sent == 2
    assert clicker.client.generation == 0
    clicker.client.close()


def test_a_worker_that_keeps_nothing_is_not_asked_for_ever() -> None:
    clicker = Clicker("--forgetful")
    clicker.click(POINTS[0])
    (error,) = clicker.wait()
    assert isinstance(error, WorkerError)
    assert error.kind == "gone"
    assert clicker.n_volumes_sent == 1
    clicker.client.close()


def test_a_volume_may_be_made_in_another_thread(clicker: Clicker) -> None:
    threads: list[int] = []

    def make() -> Volume:
        threads.append(threading.get_ident())
        return clicker.volume

    clicker.make_volume = make
    clicker.click(POINTS[0])
    assert [n_points(answer) for answer in clicker.wait()] == [1]
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_a_volume_that_cannot_be_made_is_an_error_and_the_worker_lives(clicker: Clicker) -> None:
    clicker.make_volume = lambda: Volume(np.full(GRID.shape_kji, np.inf, np.float32), GRID, "HU")
    clicker.click(POINTS[0])
    (error,) = clicker.wait()
    assert isinstance(error, WorkerError)
    assert (error.kind, clicker.client.generation) == ("input", 0)
    assert "NaN or infinite" in str(error)
    clicker.make_volume = None
    assert clicker.click(POINTS[0])
    assert [n_points(answer) for answer in clicker.wait()] == [1]


def test_a_volume_that_was_sent_ahead_is_there_at_the_first_click(clicker: Clicker) -> None:
    clicker.clicks.prepare("a", clicker.read_volume)
    assert clicker.wait() == []
    clicker.clicks.prepare("a", clicker.read_volume)
    clicker.click(POINTS[0])
    assert [n_points(answer) for answer in clicker.wait()] == [1]
    assert clicker.n_volumes_sent == 1


def test_a_click_while_the_volume_is_sent_ahead_waits_for_it(clicker: Clicker) -> None:
    clicker.clicks.prepare("a", clicker.read_volume)
    assert clicker.click(POINTS[0])
    clicker.clicks.prepare("b", clicker.read_volume)
    assert [n_points(answer) for answer in clicker.wait()] == [1]
    assert clicker.n_volumes_sent == 1
