"""From exceptions to one readable paragraph and an exit code."""

from __future__ import annotations

import enum
import sys
from types import TracebackType
from typing import Any

from rich.text import Text

from NASAM3DLib.cli.console import stderr
from NASAM3DLib.progress import Cancelled

EXPECTED = (ValueError, OSError, ImportError, RuntimeError, MemoryError, KeyboardInterrupt)
"""What the library raises on purpose, and what the machine may do to it."""


class ExitCode(enum.IntEnum):
    """What the process returns to the shell."""

    OK = 0
    DEFECT = 1
    USAGE = 2
    INPUT = 3
    MISSING_PACKAGE = 4
    CANCELLED = 130


EXIT_CODES_HELP = (
    "Exit codes: 0 done, 1 unexpected error, 2 wrong usage, 3 input that cannot be used or output "
    "that cannot be written, 4 an optional package is missing, 130 cancelled with Ctrl-C."
)


def is_debug(ctx: Any) -> bool:
    """Tell whether ``--debug`` was given before or after the verb.

    Parameters
    ----------
    ctx : typer.Context
        The command line as it was understood.

    Returns
    -------
    bool
    """
    return bool((ctx.find_root().obj or {}).get("debug"))


def explain(error: BaseException) -> tuple[ExitCode, str]:
    """Choose the exit code and the words for an error.

    Parameters
    ----------
    error : BaseException
        One of :data:`EXPECTED`.

    Returns
    -------
    code : ExitCode
        What to return to the shell.
    message : str
        One paragraph.
    """
    if isinstance(error, KeyboardInterrupt | Cancelled):
        return ExitCode.CANCELLED, "Cancelled. Nothing was left half-written."
    if isinstance(error, ModuleNotFoundError):
        return ExitCode.MISSING_PACKAGE, _missing_package(error)
    if isinstance(error, MemoryError):
        message = "Not enough memory: use a coarser --spacing, a smaller --shape or fewer --views."
        return ExitCode.INPUT, message
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}."
    if isinstance(error, RuntimeError | ImportError):
        return ExitCode.DEFECT, f"{text} Run again with --debug to see where it happened."
    return ExitCode.INPUT, text


def show(message: str) -> None:
    """Print an error on standard error.

    Parameters
    ----------
    message : str
        One paragraph.
    """
    stderr().print(Text.assemble(("Error: ", "bold red"), message))


def report_defect(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Tell about an error that nobody expected; a ``sys.excepthook``.

    Parameters
    ----------
    kind : type
        Class of the error.
    error : BaseException
        The error.
    traceback : TracebackType or None
        Where it happened.
    """
    if "--debug" in sys.argv:
        sys.__excepthook__(kind, error, traceback)
        return
    if issubclass(kind, KeyboardInterrupt):
        # While modules were still loading; Python ends the process with 130 by itself.
        show(explain(error)[1])
        return
    text = " ".join(str(error).split())
    show(
        f"Unexpected {kind.__name__}: {text}. This is a defect of the program, not of your data: "
        "run again with --debug and report what it prints."
    )


def _missing_package(error: ModuleNotFoundError) -> str:
    """Say what to install."""
    text = " ".join(str(error).split())
    if error.name and error.msg == f"No module named {error.name!r}":
        package = error.name.split(".")[0]
        return f"The optional package {package!r} is missing: python -m pip install {package}"
    return text
