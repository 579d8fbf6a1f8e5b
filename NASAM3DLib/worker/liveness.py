"""Whether the other side of a stream still lives: signs of life on either side.

A sign of life is any byte that came, or any piece that was taken. A side that is computing gives
signs as well, because every ping is answered by a thread of its own. A long message over a slow
line gives signs while it moves.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE_BYTES = 1 << 20
"""Long arrays move in pieces of this size, so that their movement can be seen."""


class Pulse:
    """Since when the other side owes an answer.

    Parameters
    ----------
    clock : callable
        Gives the time, s.

    Notes
    -----
    Written by the threads that read and write, read by the thread that watches; every field is
    replaced as a whole.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._owed_since: float | None = None

    def sent(self) -> None:
        """Note that something was handed over: from now on an answer is owed, if none was yet."""
        if self._owed_since is None:
            self._owed_since = self._clock()

    def moved(self) -> None:
        """Note that a part of something long was taken, which is a sign of life."""
        self._owed_since = self._clock()

    def heard(self) -> None:
        """Note that something came."""
        self._owed_since = None

    def forgive(self) -> None:
        """Begin to count anew, because this side was away itself."""
        if self._owed_since is not None:
            self.moved()

    @property
    def silence_s(self) -> float:
        """Time for which an answer is owed, s; 0 if none is."""
        since = self._owed_since
        return 0.0 if since is None else max(self._clock() - since, 0.0)


class WatchedReader(io.BufferedIOBase):
    """A stream that tells of every piece that is read from it.

    Parameters
    ----------
    stream : buffered binary file
        What to read from.
    heard : callable
        Called after each piece.
    """

    def __init__(self, stream: io.BufferedIOBase, heard: Callable[[], None]) -> None:
        self._stream = stream
        self._heard = heard

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes.

        Parameters
        ----------
        size : int
            How many at most.

        Returns
        -------
        bytes
        """
        data = self._stream.read(size)
        if data:
            self._heard()
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into memory, at most one piece.

        Parameters
        ----------
        buffer : bytes-like
            Where to.

        Returns
        -------
        int
            Number of bytes read; 0 at the end.
        """
        n_read = self._stream.readinto(memoryview(buffer)[:PIECE_BYTES])
        if n_read:
            self._heard()
        return n_read
