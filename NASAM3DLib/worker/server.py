"""The worker's side of the conversation: jobs run one at a time, the ear stays open.

The main thread reads; a second thread runs the jobs. So a job can be cancelled and the process can
be asked whether it lives while it computes. When the input ends, the process ends: a worker never
outlives the program that started it. A third thread sees to that where the end of the input does
not come through.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from NASAM3DLib.progress import Cancelled, ProgressCallback
from NASAM3DLib.worker.handshake import greeting
from NASAM3DLib.worker.liveness import WatchedReader
from NASAM3DLib.worker.protocol import (
    Message,
    NoRoomError,
    ProtocolError,
    read_message,
    write_message,
)
from NASAM3DLib.worker.reporting import ProgressReporter, error_kind, error_text

logger = logging.getLogger(__name__)

JobFunction = Callable[[Message, ProgressCallback], Message]
"""Does one job: takes the request, reports progress, gives the result."""

JobTable = Mapping[str, JobFunction]

FAREWELL_S = 0.5
BUSY_PATIENCE = 12.0

EXIT_OK, EXIT_PROTOCOL, EXIT_ALONE = 0, 3, 4


def _hold_on() -> None:
    """Let go of nothing."""


@dataclass(frozen=True)
class Upkeep:
    """What a worker does when nothing is asked of it.

    Parameters
    ----------
    release : callable
        Called in the thread of the jobs after a time without any: lets go of memory.
    idle_s : float
        That time, s.
    alone_s : float
        Time without a sign of life from a program that had promised them, s, after which the
        process ends. A running job is given twelve times as long: a program may be asleep with its
        computer, and a dead line to another computer does not end the input.
    """

    release: Callable[[], None] = _hold_on
    idle_s: float = 600.0
    alone_s: float = 300.0


class Server:
    """Serves requests from one stream and answers on another.

    Parameters
    ----------
    jobs : mapping of str to callable
        What can be asked for, by verb.
    reader, writer : buffered binary files
        Requests come from the one, answers go to the other.
    upkeep : Upkeep, optional
        What happens in times of silence.
    """

    def __init__(
        self,
        jobs: JobTable,
        reader: io.BufferedIOBase,
        writer: io.BufferedIOBase,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._jobs = jobs
        self._upkeep = upkeep or Upkeep()
        self._heard_at = time.monotonic()
        self._watch = threading.Thread(target=self._watch_silence, name="watch", daemon=True)
        self._reader = WatchedReader(reader, self._note_sign_of_life)
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
        self._send(greeting(self._jobs))
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
            except NoRoomError as error:
                self._send_error(error.message.job, "memory", error)
                continue
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
            if "every_s" in request.fields and not self._watch.is_alive():
                self._watch.start()
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
        while (request := self._next_request()) is not None:
            job = cast(int, request.job)
            reporter = ProgressReporter(job, self._cancelled[job], self._send)
            try:
                self._run_job(request, reporter)
            finally:
                self._cancelled.pop(job, None)

    def _next_request(self) -> Message | None:
        """Wait for a request, and let go of memory if that takes long."""
        try:
            return self._waiting.get(timeout=self._upkeep.idle_s)
        except queue.Empty:
            self._upkeep.release()
            return self._waiting.get()

    def _note_sign_of_life(self) -> None:
        """Note that something came."""
        self._heard_at = time.monotonic()

    def _watch_silence(self) -> None:
        """End the process when nobody is there any more; the target of the third thread."""
        step_s = self._upkeep.alone_s / 20
        slept_at = time.monotonic()
        while True:
            time.sleep(step_s)
            now = time.monotonic()
            if now - slept_at > 10 * step_s:
                # This computer was asleep, or compiled code held the thread up.
                self._heard_at = now
            slept_at = now
            patience = BUSY_PATIENCE if self._cancelled else 1.0
            if now - self._heard_at > patience * self._upkeep.alone_s:
                logger.error("No sign of life from the program for too long: this process ends")
                _end_process(EXIT_ALONE)

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


def serve(jobs: JobTable, upkeep: Upkeep | None = None) -> NoReturn:
    """Serve on the standard streams and end the process of this process.

    Parameters
    ----------
    jobs : mapping of str to callable
        What can be asked for, by verb.
    upkeep : Upkeep, optional
        What happens in times of silence.

    Notes
    -----
    The streams are moved away first, so that a library that prints or reads cannot disturb the
    conversation: what is printed goes to standard error, and standard input is empty.
    """
    reader, writer = _private_streams()
    _end_process(Server(jobs, reader, writer, upkeep).run())


def _end_process(status: int) -> NoReturn:
    """End at once: an ordinary exit would wait for the thread pools of a job in compiled code."""
    logging.shutdown()
    sys.stderr.flush()
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
