"""How long Slicer stands still while the module works, with the real worker and a large volume."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import MODULE, LastingClient, User, add_volume

pytestmark = pytest.mark.slicer

LONGEST_S, CLICK_S, START_S = 0.05, 1.5, 180.0
LESION_IJK = np.array([70, 60, 64])


class LoopClock:
    """Measures the processor time between two turns of the event loop.

    Time on the clock of the thread, so that other programs do not count.
    """

    def __init__(self) -> None:
        import qt

        self.turns_s: list[float] = []
        self._last_s = time.thread_time()
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now_s = time.thread_time()
        self.turns_s.append(now_s - self._last_s)
        self._last_s = now_s

    def stop(self) -> list[float]:
        """The turns, the longest first, s."""
        self._timer.stop()
        return sorted(self.turns_s, reverse=True)


@pytest.fixture(scope="module")
def real_worker() -> Iterator[LastingClient]:
    """The client of a real worker."""
    client = LastingClient()
    yield client
    client.end()


@pytest.fixture
def clicker(load_module: Callable[[Path], Any], real_worker: LastingClient) -> User:
    """A user of the real worker with a volume of 128 voxels along each side."""
    import slicer

    k, j, i = np.indices((128, 128, 128))
    away = np.linalg.norm(np.stack([i, j, k], axis=-1) - LESION_IJK, axis=-1)
    body = np.where((i - 64) ** 2 + (j - 64) ** 2 < 55**2, 20.0, -1000.0)
    body[away < 14] = 90.0
    body += np.random.default_rng(0).normal(0, 8, body.shape)
    user = User(load_module(MODULE), real_worker)
    slicer.app.layoutManager().setRenderPaused(True)
    volume = add_volume(body, np.diag([2.0, 2.0, 2.0, 1.0]), "Body")
    user.parameters.inputVolume = volume
    user.ui.positiveButton.click()
    # The process starts and loads its engine, which takes long where much else runs.
    user.wait(lambda: not user.client.is_busy, START_S)
    return user


def worker_cpu_s(user: User) -> float:
    """Processor time that the background process has taken."""
    fields = Path(f"/proc/{user.client.process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_mask_comes_within_a_second_and_a_half_of_work(clicker: User) -> None:
    took_s = []
    for offset in ([0, 0, 0], [6, 0, 0], [0, 6, 0], [-30, 0, 0]):
        begin_s = worker_cpu_s(clicker)
        clicker.place(2.0 * (LESION_IJK + offset))
        took_s.append(worker_cpu_s(clicker) - begin_s)
    assert clicker.mask().any()
    assert max(took_s) < CLICK_S, took_s


def test_clicks_do_not_hold_slicer_up(clicker: User) -> None:
    longest_s = []
    for offset in ([0, 0, 0], [6, 0, 0], [0, 6, 0]):
        watch = LoopClock()
        clicker.place(2.0 * (LESION_IJK + offset))
        longest_s.append(watch.stop()[0])
    assert clicker.mask().any()
    assert max(longest_s) < LONGEST_S, longest_s
