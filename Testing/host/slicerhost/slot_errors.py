"""Collect the exceptions that Qt and VTK print and forget: those of slots and observers."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

_found: list[str] = []
_previous_hook = sys.excepthook


def _record(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Remember an exception that nobody caught, then print it as before."""
    _found.append("".join(traceback.format_exception(kind, error, trace)))
    _previous_hook(kind, error, trace)


def install() -> None:
    """Start to collect."""
    sys.excepthook = _record


def take() -> list[str]:
    """Return the tracebacks collected since the last call, and forget them.

    Returns
    -------
    list of str
        One text for each exception.
    """
    found = _found.copy()
    _found.clear()
    return found
