"""No garbage collection in the threads of a connection.

Python's collector runs in whichever thread triggers it, and finalises what it finds there.
In a program with windows that may be a widget or a scene's object, which must not end in any thread
but the one that made it: such a program crashes, rarely and somewhere else. So the threads of a
connection suspend the collector for as long as they run, and resume it while they wait.

An object that the collector has to know triggers it when it is made. Therefore nothing here makes
one between :func:`resume` and :func:`suspend`: streams are unbuffered, since buffered ones make
memory views, no time-out is told by an exception, and arguments are packed beforehand.
"""

from __future__ import annotations

import contextlib
import gc
import io
import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Item = TypeVar("Item")

_lock = threading.Lock()
_n_running = 0
_is_wanted = True


def suspend() -> None:
    """Begin to run: nothing is collected from now on. Called once for each :func:`resume`."""
    global _is_wanted, _n_running
    # At once, even before waiting for the lock, which another thread may hold.
    was_enabled = gc.isenabled()
    gc.disable()
    with _lock:
        if _n_running == 0:
            # A thread that has resumed meanwhile knew whether the collector is wanted at all.
            _is_wanted = was_enabled or gc.isenabled()
        _n_running += 1
        gc.disable()


def resume() -> None:
    """Begin to wait: the collector works again, if it did before and no other thread runs."""
    global _n_running
    _lock.acquire()
    _n_running -= 1
    if _n_running == 0 and _is_wanted:
        gc.enable()
    _lock.release()


class WaitingStream(io.BufferedIOBase):
    """A stream of a suspended thread: while it reads or writes, the collector works.

    Parameters
    ----------
    stream : raw binary file
        What to read or write, unbuffered.
    """

    def __init__(self, stream: io.FileIO) -> None:
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        """Read what is there, or wait for it.

        Parameters
        ----------
        size : int
            How many bytes at most.

        Returns
        -------
        bytes
            Fewer than asked for where no more is there yet; none at the end.
        """
        n_bytes = -1 if size is None else size
        resume()
        try:
            return self._stream.read(n_bytes)
        finally:
            suspend()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into memory what is there, or wait for it.

        Parameters
        ----------
        buffer : bytes-like
            Where to.

        Returns
        -------
        int
            Number of bytes read; 0 at the end.
        """
        resume()
        try:
            return self._stream.readinto(buffer)
        finally:
            suspend()

    def write(self, buffer: ReadableBuffer, /) -> int:
        """Write bytes, all of them.

        Parameters
        ----------
        buffer : bytes-like
            What to write.

        Returns
        -------
        int
            Number of bytes written.
        """
        view = memoryview(buffer)
        written = 0
        while written < len(view):
            rest = view[written:]
            resume()
            try:
                n_bytes = self._stream.write(rest)
            finally:
                suspend()
            written += n_bytes
        return written


class WaitingQueue(Generic[Item]):
    """A queue for one suspended thread that takes: while it waits, the collector works.

    Parameters
    ----------
    timeout_s : float
        How long it waits at most, s.
    """

    def __init__(self, timeout_s: float) -> None:
        self._arguments = (True, timeout_s)
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._is_ready = threading.Lock()
        self._is_ready.acquire()

    def put(self, item: Item) -> None:
        """Add something.

        Parameters
        ----------
        item : object
            What to add.
        """
        self._items.put(item)
        # Unlocked already: the thread has not come round to what was added before.
        with contextlib.suppress(RuntimeError):
            self._is_ready.release()

    def wait(self) -> bool:
        """Wait until there is something, or time is up.

        Returns
        -------
        bool
            Whether there is something.
        """
        if not self._items.empty():
            return True
        acquire, arguments = self._is_ready.acquire, self._arguments
        resume()
        acquire(*arguments)
        suspend()
        return not self._items.empty()

    def take(self) -> Item:
        """Take the oldest; there must be one.

        Returns
        -------
        object
        """
        return self._items.get_nowait()
