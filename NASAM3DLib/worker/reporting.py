"""What a running job says to the other side: how far it is, and what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.worker.protocol import Message, ProtocolError

PROGRESS_INTERVAL_S = 0.1
ESTIMATE_AFTER_S = 1.0
ESTIMATE_AFTER_FRACTION = 0.02


class GoneError(RuntimeError):
    """The worker does not hold what it is asked about: a new process, or let go of while idle."""


class ProgressReporter:
    """The progress callback of one job: sends about ten messages a second, ends a cancelled job.

    A job that has something to show early may send it with :meth:`send_preview`.

    Parameters
    ----------
    job : int
        Number of the job.
    cancelled : threading.Event
        Set when the job should end.
    send : callable
        Takes the messages.
    """

    def __init__(
        self, job: int, cancelled: threading.Event, send: Callable[[Message], None]
    ) -> None:
        self._job = job
        self._cancelled = cancelled
        self._send = send
        self._start = time.monotonic()
        self._sent_at = -float("inf")

    def check(self) -> None:
        """Raise :class:`Cancelled` if the job should end."""
        if self._cancelled.is_set():
            raise Cancelled("The job was cancelled.")

    def send_preview(self, preview: Message) -> None:
        """Send a part of the result before it is complete.

        Parameters
        ----------
        preview : Message
            Fields and arrays; the kind becomes "preview".
        """
        self._send(Message("preview", {**preview.fields, "job": self._job}, preview.arrays))

    def __call__(self, stage: str, fraction: float) -> None:
        """Report progress as :data:`~NASAM3DLib.progress.ProgressCallback` asks.

        Parameters
        ----------
        stage : str
            What the job is doing.
        fraction : float
            Finished part, 0 to 1.

        Raises
        ------
        Cancelled
            If the job should end.
        """
        self.check()
        now = time.monotonic()
        if now - self._sent_at < PROGRESS_INTERVAL_S:
            return
        self._sent_at = now
        fraction, elapsed = min(max(float(fraction), 0.0), 1.0), now - self._start
        fields = {
            "job": self._job,
            "stage": stage,
            "fraction": fraction,
            "elapsed_s": elapsed,
            "remaining_s": remaining_s(elapsed, fraction),
        }
        self._send(Message("progress", fields))


def remaining_s(elapsed_s: float, fraction: float) -> float | None:
    """Estimate how long a job still takes.

    Parameters
    ----------
    elapsed_s : float
        Time since the job began, s.
    fraction : float
        Finished part of the job.

    Returns
    -------
    float or None
        Remaining time in s; None while too little is done to tell.

    Notes
    -----
    ``t (1 - f) / f``: what is left takes as long per part as what is done.
    """
    if elapsed_s < ESTIMATE_AFTER_S or fraction < ESTIMATE_AFTER_FRACTION:
        return None
    return elapsed_s * (1 - fraction) / fraction


def error_kind(error: BaseException) -> str:
    """Sort an exception by what the user can do about it.

    Parameters
    ----------
    error : BaseException
        What a job raised.

    Returns
    -------
    str
        "memory", "package" (one is missing), "input" (wrong data, file or value), "gone" (what was
        held has to be sent again), "protocol" (it cannot be sent), "state" (wrong order of calls)
        or "internal".
    """
    if isinstance(error, (GoneError, ProtocolError)):
        return "gone" if isinstance(error, GoneError) else "protocol"
    # PyTorch's own error for a full GPU is a RuntimeError of this name.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    if isinstance(error, ImportError):
        return "package"
    if isinstance(error, (ValueError, TypeError, OSError)):
        return "input"
    return "state" if isinstance(error, RuntimeError) else "internal"


def error_text(error: BaseException) -> str:
    """Write an exception for the user.

    Parameters
    ----------
    error : BaseException
        What a job raised.

    Returns
    -------
    str
        One paragraph.
    """
    text = str(error).strip()
    kind = error_kind(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    if kind == "memory":
        return f"There is not enough memory for this job. {text}".strip()
    if kind == "package":
        return f"A Python package that this job needs cannot be loaded: {text}."
    if kind == "internal" or not text:
        return f"Unexpected error: {type(error).__name__}: {text}"
    return text
