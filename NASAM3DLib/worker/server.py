"""The worker's side of the conversation: jobs run one at a time, the ear stays open.

The main thread reads; a second thread runs the jobs. So a job can be cancelled and the process can
be asked whether it lives while it computes. When the input ends, the process ends: a worker never
outlives the program that started it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, cast

import NASAM3DLib
from NASAM3DLib.progress import Cancelled, ProgressCallback
from NASAM3DLib.worker.protocol import (
    PROTOCOL_VERSION,
    Message,
    ProtocolError,
    read_message,
    write_message,
)

logger = logging.getLogger(__name__)

JobFunction = Callable[[Message, ProgressCallback], Message]
"""Does one job: takes the request, reports progress, gives the result."""

JobTable = Mapping[str, JobFunction]

PROGRESS_INTERVAL_S = 0.1
ESTIMATE_AFTER_S = 1.0
ESTIMATE_AFTER_FRACTION = 0.02
FAREWELL_S = 0.5

EXIT_OK, EXIT_PROTOCOL = 0, 3


class Server:
    """Serves requests from one stream and answers on another.

    Parameters
    ----------
    jobs : mapping of str to callable
        What can be asked for, by verb.
    reader, writer : buffered binary files
        Requests come from the one, answers go to the other.
    """

    def __init__(
        self, jobs: JobTable, reader: io.BufferedIOBase, writer: io.BufferedIOBase
    ) -> None:
        self._jobs = jobs
        self._reader = reader
        self._writer = writer
        self._write_lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._cancelled: dict[int, threading.Event] = {}

    def run(self) -> int:
        """Serve until the input ends, a shutdown is asked for, or garbage comes.

        Returns
        -------
        int
            Exit status: 0, or 3 if the input was not understood.
        """
        worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        worker.start()
        self._send(Message("hello", _greeting(sorted(self._jobs))))
        status = self._listen()
        for event in list(self._cancelled.values()):
            event.set()
        self._waiting.put(None)
        # A job deep in compiled code may not hear this; the process ends all the same.
        worker.join(FAREWELL_S)
        return status

    def _listen(self) -> int:
        """Read requests until there are no more."""
        while True:
            try:
                request = read_message(self._reader)
            except ProtocolError as error:
                logger.exception("The input is not understood")
                self._send_error(None, "protocol", error)
                return EXIT_PROTOCOL
            if request is None or request.kind == "shutdown":
                return EXIT_OK
            self._accept(request)

    def _accept(self, request: Message) -> None:
        """Answer at once or put the job in the queue."""
        job = request.job
        if job is None:
            self._send_error(
                None,
                "input",
                ValueError(f"Request {request.kind!r} needs a field 'job', a number."),
            )
        elif request.kind == "ping":
            self._send(Message("result", {"job": job, "busy": bool(self._cancelled)}))
        elif request.kind == "cancel":
            event = self._cancelled.get(job)
            if event is not None:
                event.set()
        elif request.kind not in self._jobs:
            known = ", ".join(sorted({*self._jobs, "ping", "cancel", "shutdown"}))
            self._send_error(
                job, "input", ValueError(f"There is no verb {request.kind!r}, only {known}.")
            )
        else:
            self._cancelled[job] = threading.Event()
            self._waiting.put(request)

    def _work(self) -> None:
        """Run the jobs one after the other; the target of the second thread."""
        while (request := self._waiting.get()) is not None:
            job = cast(int, request.job)
            reporter = ProgressReporter(job, self._cancelled[job], self._send)
            try:
                self._run_job(request, reporter)
            finally:
                self._cancelled.pop(job, None)

    def _run_job(self, request: Message, reporter: ProgressReporter) -> None:
        """Run one job and send what comes of it: a result, an error, or that it was cancelled."""
        job = cast(int, request.job)
        try:
            reporter.check()
            result = self._jobs[request.kind](request, reporter)
            reporter.check()
            self._send(Message("result", {**result.fields, "job": job}, result.arrays))
        except Cancelled:
            self._send(Message("cancelled", {"job": job}))
        except (Exception, SystemExit) as error:
            # Whatever a job dies of, the user must hear of it and the worker must go on.
            logger.exception("Job %d (%s) failed", job, request.kind)
            self._send_error(job, error_kind(error), error)

    def _send_error(self, job: int | None, kind: str, error: BaseException) -> None:
        """Tell the other side what went wrong."""
        fields = {
            "job": job,
            "error": kind,
            "message": error_text(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        self._send(Message("error", fields))

    def _send(self, message: Message) -> None:
        """Write one message; both threads come here."""
        # A broken pipe means that nobody listens; the main thread sees the same end of input.
        with self._write_lock, contextlib.suppress(OSError):
            write_message(self._writer, message)


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
        "memory", "package" (one is missing), "input" (wrong data, file or value), "state" (wrong
        order of calls) or "internal".
    """
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


def serve(jobs: JobTable) -> int:
    """Serve on the standard streams of this process.

    Parameters
    ----------
    jobs : mapping of str to callable
        What can be asked for, by verb.

    Returns
    -------
    int
        Exit status.

    Notes
    -----
    The streams are moved away first, so that a library that prints or reads cannot disturb the
    conversation: what is printed goes to standard error, and standard input is empty.
    """
    reader, writer = _private_streams()
    status = Server(jobs, reader, writer).run()
    logging.shutdown()
    sys.stderr.flush()
    # A job may still sit in compiled code, and an ordinary exit would wait for its thread pools.
    os._exit(status)


def _private_streams() -> tuple[io.BufferedReader, io.BufferedWriter]:
    """Take standard input and output away from everything else in this process."""
    sys.stdout.flush()
    input_fd, output_fd = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(input_fd, os.O_BINARY)
        msvcrt.setmode(output_fd, os.O_BINARY)
    return os.fdopen(input_fd, "rb"), os.fdopen(output_fd, "wb")


def _greeting(verbs: list[str]) -> dict[str, Any]:
    """Say who is speaking."""
    return {
        "protocol": PROTOCOL_VERSION,
        "library": NASAM3DLib.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "pid": os.getpid(),
        "verbs": verbs,
    }
