"""One running worker process seen from the program that started it."""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from NASAM3DLib.worker.launch import kill_tree, start_process
from NASAM3DLib.worker.protocol import Message, ProtocolError, encode_message, read_message

logger = logging.getLogger(__name__)

LOG_LINES_KEPT = 40
EXIT_TIMEOUT_S = 2.0
LOG_TIMEOUT_S = 0.5


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


class Connection:
    """Starts a process and moves messages, without ever making the caller wait.

    One thread writes, one reads, one collects the log; the caller takes what came with
    :meth:`take`.

    Parameters
    ----------
    command : sequence of str
        What to start.
    environment : mapping of str to str
        Its environment variables.

    Raises
    ------
    OSError
        If the command cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process: subprocess.Popen[bytes] = start_process(command, environment)
        self._outgoing: queue.SimpleQueue[list[bytes | memoryview] | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._log_thread = self._start(self._collect_log)
        self._writer_thread = self._start(self._write)
        self._reader_thread = self._start(self._read)

    def send(self, message: Message) -> None:
        """Queue a message for sending.

        Parameters
        ----------
        message : Message
            Its arrays must not change until the answer has come.

        Raises
        ------
        ProtocolError
            If the message cannot be sent.
        """
        self._outgoing.put(encode_message(message))

    def take(self) -> Event | None:
        """Take the next thing that happened.

        Returns
        -------
        Message, Broken, Ended or None
            None if nothing happened since the last call.
        """
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
        """End the process and its children at once."""
        kill_tree(self.process)
        self._outgoing.put(None)

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

    def _start(self, target: Callable[[], None]) -> threading.Thread:
        """Start one of the threads, which do not keep the program from ending."""
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    def _write(self) -> None:
        """Send what is queued; None closes the process's input, which ends a worker."""
        stream = cast(io.BufferedIOBase, self.process.stdin)
        # A broken pipe means that the process is gone, which the reader reports.
        with contextlib.suppress(OSError):
            while (pieces := self._outgoing.get()) is not None:
                for piece in pieces:
                    stream.write(piece)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _read(self) -> None:
        """Collect messages until the output ends, then wait for the process to end."""
        status = None
        with cast(io.BufferedIOBase, self.process.stdout) as stream:
            try:
                while (message := read_message(stream)) is not None:
                    self._events.put(message)
            except ProtocolError as error:
                self._events.put(Broken(str(error)))
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(EXIT_TIMEOUT_S)
        # The last words explain an unexpected end, so they must be here before it is reported.
        self._log_thread.join(LOG_TIMEOUT_S)
        self._events.put(Ended(status))

    def _collect_log(self) -> None:
        """Pass the process's standard error on to this process's log."""
        with cast(io.BufferedIOBase, self.process.stderr) as stream:
            for line in stream:
                text = line.decode("utf-8", errors="replace").rstrip()
                self._log.append(text)
                logger.info("worker: %s", text)
