"""A job in the background seen from the program that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from NASAM3DLib.worker.protocol import Deferred, Message

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Parameters
    ----------
    stage : str
        What it is doing.
    fraction : float
        Finished part, 0 to 1.
    elapsed_s : float
        Time since it began, s.
    remaining_s : float or None
        Estimate of the time it still takes, s; None while it is too early to tell.
    """

    stage: str
    fraction: float
    elapsed_s: float
    remaining_s: float | None


class WorkerError(RuntimeError):
    """A job that gave no result.

    Parameters
    ----------
    kind : str
        "cancelled", "input", "state", "memory", "package" or "internal" as the worker says; "start"
        if it could not be started, "died" if it ended, "hung" if it gave no sign of life,
        "protocol" if it was not understood.
    message : str
        What happened and what to do, for the user.
    details : str
        Traceback or log of the worker.
    """

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details


def ignore(report: object) -> None:
    """Do nothing with what is reported.

    Parameters
    ----------
    report : object
        Progress, preview, result or error.
    """


class Job:
    """One request and what becomes of it; made by ``WorkerClient.submit``.

    Parameters
    ----------
    number : int
        Number of the job, unique for its client.
    request : Message or Deferred
        What was asked for.
    callbacks : mapping of str to callable
        ``on_progress``, ``on_preview``, ``on_result`` and ``on_error``.
    cancel : callable
        Given the job when its end is wanted.
    """

    def __init__(
        self,
        number: int,
        request: Message | Deferred,
        callbacks: Mapping[str, Callable[[Any], None]],
        cancel: Callable[[Job], None],
    ) -> None:
        self._cancel = cancel
        self._callbacks = callbacks
        self.number = number
        self.request = request
        self.state: JobState = "waiting"
        self.cancel_asked_at: float | None = None
        self.result: Message | None = None
        self.error: WorkerError | None = None

    @property
    def is_finished(self) -> bool:
        """Whether no callback will come any more."""
        return self.state not in ("waiting", "running")

    def cancel(self) -> None:
        """Ask for the job's end; ``on_error`` is called with the kind "cancelled" then."""
        self._cancel(self)

    def report(self, progress: Progress) -> None:
        """Pass on how far the job is, unless it is to be cancelled.

        Parameters
        ----------
        progress : Progress
            As the worker told.
        """
        if self.cancel_asked_at is None:
            self._callbacks["on_progress"](progress)

    def show(self, preview: Message) -> None:
        """Pass on a preview of the result, unless the job is to be cancelled.

        Parameters
        ----------
        preview : Message
            As the worker sent it.
        """
        if self.cancel_asked_at is None:
            self._callbacks["on_preview"](preview)

    def finish(self, outcome: Message | WorkerError) -> None:
        """Settle the job.

        Parameters
        ----------
        outcome : Message or WorkerError
            Its result or why there is none.
        """
        if self.is_finished:
            return
        if isinstance(outcome, Message):
            self.state, self.result = "done", outcome
            self._callbacks["on_result"](outcome)
            return
        self.state = "cancelled" if outcome.kind == "cancelled" else "failed"
        self.error = outcome
        self._callbacks["on_error"](outcome)


def outcome_of(message: Message) -> Message | WorkerError:
    """Tell what an answer of the worker means for the job.

    Parameters
    ----------
    message : Message
        The last message of a job.

    Returns
    -------
    Message or WorkerError
        The result, or why there is none.
    """
    if message.kind == "result":
        return message
    if message.kind == "cancelled":
        return cancelled_error()
    if message.kind == "error":
        fields = message.fields
        return WorkerError(
            str(fields["error"]), str(fields["message"]), str(fields.get("traceback", ""))
        )
    return WorkerError("protocol", f"The background process answered {message.kind!r}.")


def cancelled_error() -> WorkerError:
    """Give the error of a cancelled job.

    Returns
    -------
    WorkerError
    """
    return WorkerError("cancelled", "The job was cancelled.")
