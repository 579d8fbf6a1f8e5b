"""Simulated users click on every target, view by view and method by method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from NASAM3DLib.benchmark.click_task import ClickSettings, Shown, View, measure, prepare
from NASAM3DLib.benchmark.journal import Row, RowKey
from NASAM3DLib.benchmark.methods.protocol import Method, NotMeantError
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.benchmark.pool import mapped
from NASAM3DLib.benchmark.sources import Source
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress

NOT_ASKED = "not asked for"
NOT_MEANT = f"{NotMeantError.__name__}: "

PREPARING = 0.2
"""Share of the work that goes into reading cases and reconstructing them."""


@dataclass(frozen=True)
class Outcome:
    """All that a run has to tell.

    Parameters
    ----------
    rows : tuple of Row
        What was measured, failures among them, in a fixed order.
    not_run : tuple of tuple of str
        Methods that cannot run here, and why.
    left_out : tuple of str
        Objects that are no targets, and why.
    failed_views : tuple of str
        Views that could not be made, and why.
    unmeasured : tuple of str
        Methods and views with the number of targets that still wait.
    """

    rows: tuple[Row, ...]
    not_run: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    failed_views: tuple[str, ...]
    unmeasured: tuple[str, ...] = ()


def run_clicks(
    sources: Sequence[Source],
    settings: ClickSettings,
    *,
    workers: int = 1,
    measuring: bool = True,
    progress: ProgressCallback = no_progress,
) -> Outcome:
    """Measure what is not in the journal yet.

    Parameters
    ----------
    sources : sequence of Source
        The cases.
    settings : ClickSettings
        Views, methods, clicks.
    workers : int
        Processes at once; 1 works in this one.
    measuring : bool
        Whether to measure; otherwise what is missing is only listed.
    progress : callable
        Told how far the work is; may raise to cancel, which loses nothing that was measured.

    Returns
    -------
    Outcome
        Of all that was asked for, measured now or before.

    Raises
    ------
    ValueError
        If a method is unknown, two cases have one name, or nothing is to be measured.
    """
    methods, not_run = _methods(settings)
    names = [source.name for source in sources]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"A benchmark needs cases, each with its own name, got {names}.")
    part = sub_progress(progress, 0.0, PREPARING)
    shown = _shown(sources, settings, workers, part)
    identities = {method.name: method.identity() for method in methods}
    tasks = [
        (settings, one.view, replace(blank, method=name, identity=identity))
        for one in shown
        for blank in one.blanks
        for name, identity in identities.items()
    ]
    journal = settings.journal
    known = journal.rows()
    left = [task for task in tasks if _unmeasured(known, task[2].key)] if measuring else []
    part = sub_progress(progress, PREPARING, 1.0)
    for done, (row, _) in enumerate(mapped(measure, left, workers=workers), start=1):
        journal.append(row)
        known[row.key] = row
        part(f"{row.method} on {row.title}, {row.view}", done / len(left))
    rows = [known[task[2].key] for task in tasks if task[2].key in known]
    return Outcome(
        tuple(row for row in rows if not row.error.startswith(NOT_MEANT)),
        (*not_run, *_not_meant(rows)),
        tuple(dict.fromkeys(reason for one in shown for reason in one.left_out)),
        tuple(f"{one.view}: {one.error}" for one in shown if one.error),
        _waiting([task[2] for task in tasks if task[2].key not in known]),
    )


def _not_meant(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Say for how many targets methods are not meant, and why."""
    reasons: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row.error.startswith(NOT_MEANT):
            why = row.error.removeprefix(NOT_MEANT)
            reasons.setdefault((row.method, why), set()).add(row.title)
    return [
        (method, f"for {len(titles)} of {_n_targets(rows, method)} targets: {why}")
        for (method, why), titles in reasons.items()
    ]


def _n_targets(rows: Sequence[Row], method: str) -> int:
    """Count the targets of a method."""
    return len({row.title for row in rows if row.method == method})


def _waiting(blanks: Sequence[Row]) -> tuple[str, ...]:
    """Count the sessions that are still to come."""
    counts = Counter((blank.method, blank.view) for blank in blanks)
    return tuple(f"{method}, {view}: {n} targets" for (method, view), n in counts.items())


def _shown(
    sources: Sequence[Source], settings: ClickSettings, workers: int, progress: ProgressCallback
) -> list[Shown]:
    """Make all views, those of one case after each other."""
    tasks = [(settings, View(source, n)) for source in sources for n in settings.views]
    shown = []
    for done, (one, _) in enumerate(mapped(prepare, tasks, workers=workers), start=1):
        progress("preparing views", done / len(tasks))
        shown.append(one)
    return shown


def _methods(settings: ClickSettings) -> tuple[list[Method], list[tuple[str, str]]]:
    """Separate the methods that can run from those that cannot."""
    known = all_methods(settings.method_files)
    unknown = [name for name in settings.methods if name not in known]
    if unknown:
        raise ValueError(f"There is no method {unknown[0]!r}: choose from {', '.join(known)}.")
    wanted = [known[name] for name in settings.methods or known]
    reasons = {method.name: method.missing() for method in wanted}
    others = {name: method for name, method in known.items() if name not in reasons}
    reasons |= {name: method.missing() or NOT_ASKED for name, method in others.items()}
    return (
        [method for method in wanted if not reasons[method.name]],
        [(name, reason) for name, reason in reasons.items() if reason],
    )


def _unmeasured(known: dict[RowKey, Row], key: RowKey) -> bool:
    """Tell whether a row is missing or failed the last time."""
    return key not in known or bool(known[key].error)
