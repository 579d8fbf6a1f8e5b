"""One running worker process seen from the program that started it."""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from NASAM3DLib.worker.collector import WaitingQueue, WaitingStream, resume, suspend
from NASAM3DLib.worker.launch import kill_tree, start_process
from NASAM3DLib.worker.liveness import PIECE_BYTES, Pulse, WatchedReader
from NASAM3DLib.worker.protocol import (
    Deferred,
    Message,
    NoRoomError,
    ProtocolError,
    encode_message,
    read_message,
)
from NASAM3DLib.worker.reporting import error_kind, error_text

logger = logging.getLogger(__name__)

LOG_LINES_KEPT = 40
LOG_PART_BYTES = 4096
NEWS_KEPT = 1000
NO_JOB = 0
EXIT_TIMEOUT_S = 2.0
LOG_TIMEOUT_S = 0.5
HEARTBEAT_S = 5.0
"""Time without a message after which the process is asked whether it lives."""


@dataclass(frozen=True)
class Broken:
    """What came was no message.

    Parameters
    ----------
    reason : str
        What was wrong.
    """

    reason: str


@dataclass(frozen=True)
class Ended:
    """The process is gone.

    Parameters
    ----------
    status : int or None
        Its exit status; None if it closed its output and would not end.
    """

    status: int | None


Event = Message | Broken | Ended
Outgoing = tuple[int, Message | Deferred]


class Connection:
    """Starts a process and moves messages, without ever making the caller wait.

    One thread writes, one reads, one collects the log; the caller takes what came with
    :meth:`take`. Messages are encoded and read by these threads, so that no call takes longer for a
    large array than for a small one. The threads leave no trace in the caller's world: they log
    nothing, drop none of the caller's objects and run no garbage collection (see
    :mod:`NASAM3DLib.worker.collector`).

    Parameters
    ----------
    command : sequence of str
        What to start.
    environment : mapping of str to str
        Its environment variables.
    heartbeat_s : float
        Time without a message after which a ping is sent, s.

    Raises
    ------
    OSError
        If the command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.process: subprocess.Popen[bytes] = start_process(command, environment)
        self.pulse = Pulse()
        self._heartbeat_s = heartbeat_s
        self._has_spoken = threading.Event()
        self._outgoing: WaitingQueue[Outgoing | None] = WaitingQueue(heartbeat_s)
        self._spent: queue.SimpleQueue[Outgoing] = queue.SimpleQueue()
        self._news: deque[tuple[int, str]] = deque(maxlen=NEWS_KEPT)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._log_thread = self._start(self._collect_log)
        self._writer_thread = self._start(self._write)
        self._reader_thread = self._start(self._read)

    def send(self, job: int, request: Message | Deferred) -> None:
        """Queue a message for sending.

        Parameters
        ----------
        job : int
            Number of the job that it belongs to.
        request : Message or Deferred
            Its arrays must not change until the answer has come. If it cannot be made or sent, an
            "error" message for its job is the answer.
        """
        self._outgoing.put((job, request))

    def take(self) -> Event | None:
        """Take the next thing that happened.

        Returns
        -------
        Message, Broken, Ended or None
            None if nothing happened since the last call.
        """
        self._clear_up()
        try:
            return self._events.get_nowait()
        except queue.Empty:
            return None

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to be gone."""
        return self.process.poll() is not None

    @property
    def log_lines(self) -> list[str]:
        """The last lines that the process wrote to its standard error."""
        return list(self._log)

    def kill(self) -> None:
        """End the process and its children at once; the caller does not wait for it."""
        if sys.platform == "win32":
            self._start(lambda: kill_tree(self.process))
        else:
            kill_tree(self.process)
        self._outgoing.put(None)
        self._clear_up()

    def close(self, timeout_s: float) -> None:
        """Ask the process to end, and end it if it does not.

        Parameters
        ----------
        timeout_s : float
            How long to wait before ending it, s.
        """
        self._outgoing.put(None)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            kill_tree(self.process)
        for thread in (self._writer_thread, self._reader_thread, self._log_thread):
            thread.join(EXIT_TIMEOUT_S)
        self._clear_up()

    def _clear_up(self) -> None:
        """Log what the process said, and let go of what was sent, both in the caller's thread."""
        while self._news:
            logger.log(*self._news.popleft())
        while not self._spent.empty():
            self._spent.get_nowait()

    def _start(self, target: Callable[[], None]) -> threading.Thread:
        """Start one of the threads, which do not keep the program from ending."""

        def run() -> None:
            try:
                target()
            finally:
                resume()

        thread = threading.Thread(target=run, daemon=True)
        # The thread resumes it. So it is suspended before there is any thread.
        suspend()
        thread.start()
        return thread

    def _write(self) -> None:
        """Send what is queued; None closes the process's input, which ends a worker."""
        pipe = cast(io.FileIO, self.process.stdin)
        stream = WaitingStream(pipe)
        # A broken pipe means that the process is gone, which the reader reports.
        with contextlib.suppress(OSError):
            while (outgoing := self._next_outgoing()) is not None:
                try:
                    for piece in self._encoded(*outgoing):
                        self._send_piece(stream, memoryview(piece))
                finally:
                    self._spent.put(outgoing)
                    del outgoing
        with contextlib.suppress(OSError):
            pipe.close()

    def _send_piece(self, stream: WaitingStream, piece: memoryview) -> None:
        """Write bytes so that their movement can be seen."""
        self.pulse.sent()
        stream.write(piece[:PIECE_BYTES])
        for begin in range(PIECE_BYTES, len(piece), PIECE_BYTES):
            # No pipe holds so much: the other side has taken some of it.
            self.pulse.moved()
            stream.write(piece[begin : begin + PIECE_BYTES])

    def _next_outgoing(self) -> Outgoing | None:
        """Wait for what is to be sent; after some silence that is a ping."""
        while not self._outgoing.wait():
            # Before it has spoken it may be a shell that asks for a password.
            if self._has_spoken.is_set():
                return self._ping()
        return self._outgoing.take()

    def _ping(self) -> Outgoing:
        """Ask for a sign of life, and promise to do so again."""
        return NO_JOB, Message("ping", {"every_s": self._heartbeat_s})

    def _encoded(self, job: int, request: Message | Deferred) -> list[bytes | memoryview]:
        """Make and encode a message, or tell why that cannot be."""
        try:
            message = request.make() if isinstance(request, Deferred) else request
            return encode_message(replace(message, fields={**message.fields, "job": job}))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job hears of it
            failure = _failed(job, error_kind(error), error_text(error))
            details = "".join(traceback.format_exception(error))
            self._events.put(replace(failure, fields={**failure.fields, "traceback": details}))
            return []

    def _read(self) -> None:
        """Collect messages until the output ends, then wait for the process to end."""
        status = None
        with cast(io.FileIO, self.process.stdout) as pipe:
            watched = WatchedReader(WaitingStream(pipe), self.pulse.heard)
            try:
                while (message := self._received(watched)) is not None:
                    if not self._has_spoken.is_set():
                        self._has_spoken.set()
                        self._outgoing.put(self._ping())
                    self._events.put(message)
            except ProtocolError as error:
                self._events.put(Broken(str(error)))
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(EXIT_TIMEOUT_S)
        # The last words explain an unexpected end, so they must be here before it is reported.
        self._log_thread.join(LOG_TIMEOUT_S)
        self._events.put(Ended(status))

    def _received(self, stream: WatchedReader) -> Message | None:
        """Read a message; one that does not fit into memory becomes an error of its job."""
        while True:
            try:
                return read_message(stream)
            except NoRoomError as error:
                if error.message.kind == "preview":
                    text = f"A preview is dropped for want of memory. {error}"
                    self._news.append((logging.WARNING, text))
                    continue
                text = f"There is not enough memory here for the answer. {error}"
                return _failed(error.message.job, "memory", text)

    def _collect_log(self) -> None:
        """Keep what the process writes to its standard error."""
        rest = b""
        with cast(io.FileIO, self.process.stderr) as pipe:
            stream = WaitingStream(pipe)
            while part := stream.read(LOG_PART_BYTES):
                *lines, rest = (rest + part).split(b"\n")
                self._note_lines(lines)
        self._note_lines([rest] if rest else [])

    def _note_lines(self, lines: Sequence[bytes]) -> None:
        """Keep lines of the log, which the caller's thread passes on."""
        for line in lines:
            text = line.decode("utf-8", errors="replace").rstrip()
            self._log.append(text)
            self._news.append((logging.INFO, f"worker: {text}"))


def _failed(job: int | None, kind: str, text: str) -> Message:
    """Give the error that stands for a message which could not travel."""
    return Message("error", {"job": job, "error": kind, "message": text})
