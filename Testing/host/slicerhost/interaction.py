"""Do what a user does: wait, and click in a slice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from PySide6.QtTest import QTest

_PAUSE_S = 0.01


def process_events(duration_s: float = 0.0) -> None:
    """Let Qt handle what waits, and what comes within a time.

    Parameters
    ----------
    duration_s : float, default: 0.0
        How long to go on; 0 handles what waits now.
    """
    end = time.monotonic() + duration_s
    slicer.app.processEvents()
    while time.monotonic() < end:
        time.sleep(_PAUSE_S)
        slicer.app.processEvents()


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Let Qt run until something has happened.

    Parameters
    ----------
    condition : callable
        Tells whether it has.
    timeout_s : float, default: 30.0
        How long to wait.

    Raises
    ------
    TimeoutError
        If it does not happen within that time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"what was waited for did not happen within {timeout_s:g} s")
        process_events(_PAUSE_S)


def click(view: Any, column: int, row: int) -> None:
    """Move the mouse to a pixel of a view and click with the left button.

    Parameters
    ----------
    view : qMRMLSliceView or qMRMLThreeDView
        The view.
    column, row : int
        Pixel from the left and from the top.
    """
    point = qt.QPoint(column, row)
    # A mouse that is there already sends no event, and a view in place mode waits for one.
    QTest.mouseMove(view, qt.QPoint(column + (1 if column == 0 else -1), row))
    QTest.mouseMove(view, point)
    QTest.mouseClick(view, qt.Qt.LeftButton, qt.Qt.NoModifier, point)
    process_events()


def click_in_slice(name: str, ras: Sequence[float]) -> None:
    """Show the slice through a point and click on the point, to the nearest pixel.

    Parameters
    ----------
    name : str
        ``"Red"``, ``"Green"`` or ``"Yellow"``.
    ras : sequence of float, length 3
        The point, in mm.

    Raises
    ------
    ValueError
        If the point lies outside the picture.
    """
    widget = slicer.app.viewLayout().sliceWidget(name)
    widget.mrmlSliceNode().JumpSliceByOffsetting(*ras)
    process_events()
    view = widget.sliceView()
    x, y, _ = view.convertRASToXYZ(ras)
    column, row = round(x), view.height - 1 - round(y)
    if not (0 <= column < view.width and 0 <= row < view.height):
        raise ValueError(
            f"a point in the {name} picture was wanted, got {tuple(ras)} mm: fit the view first"
        )
    click(view, column, row)
