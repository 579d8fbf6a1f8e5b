"""Printing, logging and progress on a terminal or into a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table as RichTable

from NASAM3DLib.evaluate.tables import Table
from NASAM3DLib.progress import ProgressCallback

logger = logging.getLogger(__name__)

LINE_EVERY_S = 5.0
TOO_EARLY = 0.02
"""Finished fraction below which an estimate of the remaining time would mislead."""


def stdout() -> Console:
    """Give the console for results, made anew so that redirected output is respected.

    Returns
    -------
    rich.console.Console
    """
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """Give the console for progress, warnings and errors.

    Returns
    -------
    rich.console.Console
    """
    return Console(stderr=True, highlight=False)


def set_up_logging(*, verbose: bool) -> None:
    """Show the library's warnings, and with ``verbose`` its remarks, on standard error.

    Parameters
    ----------
    verbose : bool
        Whether to show remarks too.
    """
    from rich.logging import RichHandler

    handler = RichHandler(console=stderr(), show_time=False, show_path=False, markup=False)
    own = logging.getLogger("NASAM3DLib")
    own.handlers = [handler]
    own.propagate = False
    own.setLevel(logging.INFO if verbose else logging.WARNING)


@contextmanager
def shown_progress(title: str) -> Iterator[ProgressCallback]:
    """Show how far a job is and how long it will still take.

    Parameters
    ----------
    title : str
        What is being done.

    Yields
    ------
    callable
        To be handed to the job: a moving bar on a terminal, lines of text elsewhere.
    """
    console = stderr()
    if console.is_terminal:
        with _bar(console, title) as callback:
            yield callback
    else:
        yield _Lines(console, title)


def remaining_s(started: float, fraction: float) -> float | None:
    """Estimate the remaining time from the time so far.

    Parameters
    ----------
    started : float
        When the job began, in seconds of ``time.monotonic``.
    fraction : float
        Finished part, 0 to 1.

    Returns
    -------
    float or None
        Seconds; None while it is too early to tell.
    """
    if fraction < TOO_EARLY:
        return None
    return (time.monotonic() - started) * (1 - fraction) / fraction


def to_rich(table: Table) -> RichTable:
    """Make a table for the terminal.

    Parameters
    ----------
    table : Table
        Figures.

    Returns
    -------
    rich.table.Table
    """
    rich_table = RichTable(caption=table.caption or None, caption_justify="left")
    for index, column in enumerate(table.columns):
        rich_table.add_column(column.name, justify="right" if table.is_numeric(index) else "left")
    for row in table.formatted():
        rich_table.add_row(*row)
    return rich_table


@contextmanager
def _bar(console: Console, title: str) -> Iterator[ProgressCallback]:
    """Show a bar that is gone when the job is done."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", style="dim"),
    )
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0, left="")

        def callback(stage: str, fraction: float) -> None:
            left = _left(remaining_s(started, fraction))
            progress.update(task, completed=fraction, description=stage, left=left)

        yield callback


class _Lines:
    """Writes a line now and then, for log files."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._started = time.monotonic()
        self._shown_at = float("-inf")
        self._stage = ""

    def __call__(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._shown_at < LINE_EVERY_S:
            return
        self._stage, self._shown_at = stage, now
        left = _left(remaining_s(self._started, fraction))
        line = f"{self._title}: {100 * fraction:3.0f} % {stage}" + (f" ({left})" if left else "")
        self._console.print(line, markup=False, soft_wrap=True)


def _left(seconds: float | None) -> str:
    """Write a remaining time."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left"
