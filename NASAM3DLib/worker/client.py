"""The program's side of the conversation: jobs with callbacks, on the caller's own thread.

No Qt in here: a graphical program calls :meth:`WorkerClient.poll` from a timer, a script calls
:meth:`WorkerClient.wait`. Nothing else ever runs a callback, so they may touch widgets and scenes.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from NASAM3DLib.worker.connection import HEARTBEAT_S, Broken, Connection, Ended
from NASAM3DLib.worker.files import without_path
from NASAM3DLib.worker.handshake import objection
from NASAM3DLib.worker.job import (
    Job,
    Progress,
    WorkerError,
    cancelled_error,
    ignore,
    outcome_of,
)
from NASAM3DLib.worker.launch import (
    configured_command,
    describe_exit,
    lacks_package,
    worker_command,
    worker_environment,
)
from NASAM3DLib.worker.protocol import Deferred, Message

logger = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 60.0
CANCEL_GRACE_S = 1.0
HANG_TIMEOUT_S = 120.0
ABSENCE_S = 10.0
"""Time without a poll after which the silence of the process is not held against it."""
BRIEF_VERBS = ("estimate", "machine")
"""A process is not ended for these when they are cancelled: it would have to load everything anew,
and they end by themselves."""
LOG_LINES_SHOWN = 5
WAIT_STEP_S = 0.01


class WorkerClient:
    """Runs jobs one after the other in a background process.

    The process starts with the first job and stays, so that models and volumes are loaded once. It
    is started again when it is needed after it died or had to be ended; :attr:`generation` counts
    how often that happened, for what the process knew is gone then.

    Parameters
    ----------
    command : sequence of str, optional
        What to start; if not given, that of the environment variable ``NASAM3D_WORKER``, else
        :func:`~NASAM3DLib.worker.launch.worker_command`.
    environment : mapping of str to str, optional
        Its environment; :func:`~NASAM3DLib.worker.launch.worker_environment` if not given.
    cancel_grace_s : float
        Time that a cancelled job has to end by itself before the process is ended, s.
    hello_timeout_s : float
        Time that the process has to say hello, s.
    hang_timeout_s : float
        Time that the process may give no sign of life, s. It is asked for one every few seconds and
        answers while it computes; but compiled code and the loading of libraries may hold it up.

    Attributes
    ----------
    shares_files : bool
        Whether the process sees the same files. Taken to be so only where no command is given;
        otherwise the files of a scan are sent in place of its path.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        cancel_grace_s: float = CANCEL_GRACE_S,
        hello_timeout_s: float = HELLO_TIMEOUT_S,
        hang_timeout_s: float = HANG_TIMEOUT_S,
    ) -> None:
        command = configured_command() if command is None else command
        self.shares_files = command is None
        self.command = list(command) if command is not None else worker_command()
        self._environment = dict(environment if environment is not None else worker_environment())
        self._cancel_grace_s = cancel_grace_s
        self._hello_timeout_s = hello_timeout_s
        self._hang_timeout_s = hang_timeout_s
        self._numbers = itertools.count(1)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._connection: Connection | None = None
        self._started_at = 0.0
        self._polled_at = 0.0
        self._is_closed = False
        self.hello: Mapping[str, Any] | None = None
        self.generation = 0

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._running is not None or bool(self._waiting)

    @property
    def process_id(self) -> int | None:
        """Number of the process that was started; None while there is none."""
        return None if self._connection is None else self._connection.process.pid

    @property
    def silence_s(self) -> float:
        """Time for which the process owes a sign of life, s; a few seconds are nothing unusual."""
        return 0.0 if self._connection is None else self._connection.pulse.silence_s

    def submit(
        self,
        request: Message | Deferred,
        *,
        on_progress: Callable[[Progress], None] = ignore,
        on_preview: Callable[[Message], None] = ignore,
        on_result: Callable[[Message], None] = ignore,
        on_error: Callable[[WorkerError], None] = ignore,
    ) -> Job:
        """Put a job in the queue, starting the process if need be.

        Parameters
        ----------
        request : Message or Deferred
            Verb, fields and arrays. The arrays must not change until the job has finished. What
            takes long to put together, or to check, is better deferred.
        on_progress : callable
            Called with a :class:`Progress` about ten times a second.
        on_preview : callable
            Called with a message for each preview, if the request asks for previews.
        on_result : callable
            Called once with the result, a message.
        on_error : callable
            Called once with a :class:`WorkerError` if there is no result.

        Returns
        -------
        Job

        Raises
        ------
        RuntimeError
            If the client is closed.
        """
        if self._is_closed:
            raise RuntimeError("This WorkerClient is closed: make a new one.")
        callbacks: dict[str, Callable[[Any], None]] = {
            "on_progress": on_progress,
            "on_preview": on_preview,
            "on_result": on_result,
            "on_error": on_error,
        }
        sent = request if self.shares_files else without_path(request)
        job = Job(next(self._numbers), sent, callbacks, self.cancel)
        self._waiting.append(job)
        self._advance()
        return job

    def cancel(self, job: Job) -> None:
        """Ask for the end of a job; if it does not listen, its process is ended.

        Parameters
        ----------
        job : Job
            A job of this client.
        """
        if job.is_finished or job.cancel_asked_at is not None:
            return
        job.cancel_asked_at = time.monotonic()
        if job is self._running and self._connection is not None:
            self._connection.send(job.number, Message("cancel"))

    def cancel_all(self) -> None:
        """Ask for the end of every job."""
        for job in [*self._waiting, self._running]:
            if job is not None:
                self.cancel(job)

    def poll(self) -> None:
        """Handle all that happened since the last call; every callback is called from here."""
        if self._is_closed:
            return
        self._note_absence()
        while self._connection is not None and (event := self._connection.take()) is not None:
            if isinstance(event, Message):
                self._handle(event)
            elif isinstance(event, Broken):
                self._give_up(
                    "protocol", f"The background process was not understood. {event.reason}"
                )
            elif isinstance(event, Ended):
                self._give_up(
                    "died",
                    f"The background process ended unexpectedly ({describe_exit(event.status)}).",
                )
        self._settle_waiting_cancelled()
        self._check_deadlines()
        self._advance()

    def wait(self, job: Job, timeout_s: float | None = None) -> Message:
        """Poll until a job has finished: for scripts and tests.

        Parameters
        ----------
        job : Job
            A job of this client.
        timeout_s : float, optional
            Give up after this time, s.

        Returns
        -------
        Message
            The result.

        Raises
        ------
        WorkerError
            If the job gave no result.
        TimeoutError
            If it took longer; the job goes on.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not job.is_finished:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(
                    f"Job {job.number} ({job.request.kind}) took more than {timeout_s} s."
                )
            self.poll()
            time.sleep(WAIT_STEP_S)
        if job.error is not None:
            raise job.error
        if job.result is None:
            raise RuntimeError(f"Job {job.number} finished without a result.")
        return job.result

    def close(self, timeout_s: float = CANCEL_GRACE_S) -> None:
        """End the process. No callback is called any more.

        Parameters
        ----------
        timeout_s : float
            Time that the process has to end by itself, s.
        """
        self._is_closed = True
        self._waiting.clear()
        self._running = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(timeout_s)

    def _advance(self) -> None:
        """Start the process if a job waits for it, and send the next job if it is free."""
        if self._running is not None:
            return
        if self.hello is not None and self._connection is not None and self._connection.has_ended:
            self._drop_connection()
        if not self._waiting:
            return
        if self._connection is None:
            self._start()
        if self._connection is None or self.hello is None:
            return
        job = self._waiting.popleft()
        self._connection.send(job.number, job.request)
        self._running, job.state = job, "running"

    def _start(self) -> None:
        """Start the process, or tell all jobs that it cannot be started."""
        try:
            heartbeat_s = min(HEARTBEAT_S, self._hang_timeout_s / 4)
            self._connection = Connection(self.command, self._environment, heartbeat_s=heartbeat_s)
        except OSError as error:
            self._fail_all(
                WorkerError(
                    "start",
                    f"The background process cannot be started with {self.command[0]!r}: "
                    f"{error.strerror or error}.",
                )
            )
            return
        self.hello = None
        self._started_at = time.monotonic()

    def _handle(self, message: Message) -> None:
        """Act on one message of the worker."""
        if message.kind == "hello":
            self._greet(message)
            return
        job = self._running
        if job is None or message.job != job.number:
            if message.kind == "error":
                self._give_up("protocol", str(message.fields.get("message")))
            return
        if message.kind == "progress":
            names = ("stage", "fraction", "elapsed_s", "remaining_s")
            job.report(Progress(*(message.fields[name] for name in names)))
            return
        if message.kind == "preview":
            job.show(message)
            return
        self._running = None
        # A result that crossed the wish to cancel on its way is not wanted any more.
        is_late = job.cancel_asked_at is not None and message.kind == "result"
        job.finish(cancelled_error() if is_late else outcome_of(message))

    def _greet(self, message: Message) -> None:
        """Check that the worker speaks this version."""
        problem = objection(message)
        if problem:
            self._give_up("protocol", problem)
            return
        self.hello = dict(message.fields)
        self._advance()

    def _note_absence(self) -> None:
        """Forgive the process its silence if this program was away itself, asleep or blocked."""
        now = time.monotonic()
        if self._connection is not None and now - self._polled_at > ABSENCE_S:
            self._connection.pulse.forgive()
        self._polled_at = now

    def _check_deadlines(self) -> None:
        """End the process if it says no hello, hangs, or does not let go of a cancelled job."""
        now = time.monotonic()
        if self._connection is None:
            return
        if self.hello is None and now - self._started_at > self._hello_timeout_s:
            self._give_up(
                "start",
                f"The background process did not answer within {self._hello_timeout_s:g} s.",
            )
            return
        if self.hello is not None and self.silence_s > self._hang_timeout_s:
            self._give_up(
                "hung",
                "The background process was ended, for it gave no sign of life for "
                f"{self._hang_timeout_s:g} s: try again, or use less voxels or views.",
            )
            return
        job = self._running
        asked = None if job is None or job.request.kind in BRIEF_VERBS else job.cancel_asked_at
        if job is not None and asked is not None and now - asked > self._cancel_grace_s:
            self._drop_connection()
            job.finish(cancelled_error())

    def _settle_waiting_cancelled(self) -> None:
        """Settle cancelled jobs that were never sent."""
        for job in [job for job in self._waiting if job.cancel_asked_at is not None]:
            self._waiting.remove(job)
            job.finish(cancelled_error())

    def _give_up(self, kind: str, message: str) -> None:
        """End the process and tell the running job why; without one, tell all that wait."""
        connection, said_hello = self._connection, self.hello is not None
        lines = [] if connection is None else connection.log_lines
        if not said_hello and kind == "died" and lacks_package(lines):
            kind = "package"
        shown = "\n".join(lines[-LOG_LINES_SHOWN:])
        text = f"{message} Its last words:\n{shown}" if shown else message
        job = self._running
        self._drop_connection()
        if job is not None and job.cancel_asked_at is not None:
            job.finish(cancelled_error())
        elif job is not None:
            job.finish(WorkerError(kind, text, "\n".join(lines)))
        elif not said_hello:
            # It would fail in the same way for each of them.
            self._fail_all(WorkerError(kind, text, "\n".join(lines)))
        else:
            logger.warning(text)

    def _drop_connection(self) -> None:
        """End the process, if there is one, and forget it."""
        connection, self._connection = self._connection, None
        self._running, self.hello = None, None
        if connection is not None:
            self.generation += 1
            connection.kill()

    def _fail_all(self, error: WorkerError) -> None:
        """Settle every waiting job with one error."""
        jobs, self._waiting = list(self._waiting), deque()
        for job in jobs:
            job.finish(error)
