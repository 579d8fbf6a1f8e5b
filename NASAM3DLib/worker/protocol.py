"""The language between a program and its background process.

A message is a kind, a few JSON fields and any number of arrays. On the stream it is

====================  =====================================================================
8 bytes               ``MAGIC``, which ends with the version of this framing
4 bytes               length of the header, unsigned, little-endian
header                JSON object in UTF-8: ``kind``, ``fields`` and ``arrays``, a list of
                      objects with ``name``, ``dtype`` and ``shape``
payload               the arrays' bytes in that order, C order, little-endian, no padding
====================  =====================================================================

Nothing is ever executed or unpickled: an array has one of the listed number types. Every length is
checked before memory is taken for it, so garbage on the stream ends in a :class:`ProtocolError`
that says what was expected and what came.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from io import BufferedIOBase
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PROTOCOL_VERSION = 1
"""Version of the verbs and fields; both sides say theirs in the first message."""

MAGIC = b"NASAM3D\x01"
"""First bytes of every message."""

ARRAY_DTYPES = frozenset({"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<f4", "<f8"})
"""Number types that may travel, as ``numpy.dtype.str`` spells them."""

MAX_HEADER_BYTES = 4 * 2**20
MAX_PAYLOAD_BYTES = 16 * 2**30
MAX_ARRAYS = 64
MAX_DIMENSIONS = 8

_HEADER_LENGTH = struct.Struct("<I")
_EXCERPT_BYTES = 60
_SKIPPED_BYTES = 1 << 16


class ProtocolError(RuntimeError):
    """The bytes on the stream are not a message, or a message cannot be sent."""


class NoRoomError(MemoryError):
    """A message came whose arrays do not fit into memory; the stream is in order all the same.

    Parameters
    ----------
    message : Message
        Kind and fields of what came, without its arrays.
    text : str
        What does not fit.
    """

    def __init__(self, message: Message, text: str) -> None:
        super().__init__(text)
        self.message = message


@dataclass(frozen=True, eq=False)
class Message:
    """One message.

    Parameters
    ----------
    kind : str
        What is asked or answered, for example "predict" or "progress".
    fields : dict
        Values that JSON can hold.
    arrays : dict of str to ndarray
        Arrays by name, of a type in :data:`ARRAY_DTYPES` or its big-endian twin.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @property
    def job(self) -> int | None:
        """Number of the job that the message belongs to, if it belongs to one."""
        number = self.fields.get("job")
        return number if isinstance(number, int) else None


@dataclass(frozen=True, eq=False)
class Deferred:
    """A message that is made when it is sent, outside of the caller's thread.

    Parameters
    ----------
    kind : str
        Kind of the message.
    make : callable
        Gives the message. It runs in another thread: it must not touch widgets or scenes.
    """

    kind: str
    make: Callable[[], Message]


def encode_message(message: Message) -> list[bytes | memoryview]:
    """Turn one message into the pieces that go on the stream.

    Parameters
    ----------
    message : Message
        What to send.

    Returns
    -------
    list of bytes or memoryview
        The header and each array. An array in C order is not copied, so it must not change before
        it is written.

    Raises
    ------
    ProtocolError
        If a field cannot be written as JSON or an array has a type or size that may not travel.
    """
    arrays = {name: _wire_array(name, array) for name, array in message.arrays.items()}
    header = _encoded_header(message, arrays)
    payload_bytes = sum(array.nbytes for array in arrays.values())
    if len(arrays) > MAX_ARRAYS or payload_bytes > MAX_PAYLOAD_BYTES:
        raise ProtocolError(
            f"Message {message.kind!r} has {len(arrays)} arrays of {_size(payload_bytes)}; at most "
            f"{MAX_ARRAYS} arrays of {_size(MAX_PAYLOAD_BYTES)} can be sent."
        )
    head = MAGIC + _HEADER_LENGTH.pack(len(header)) + header
    return [head, *(a.reshape(-1).view(np.uint8).data for a in arrays.values() if a.nbytes)]


def write_message(stream: BufferedIOBase, message: Message) -> None:
    """Write one message and flush.

    Parameters
    ----------
    stream : buffered binary file
        Where to write.
    message : Message
        What to write.

    Raises
    ------
    ProtocolError
        If the message cannot be sent. Nothing has been written then: the stream is still in order.
    """
    for piece in encode_message(message):
        stream.write(piece)
    stream.flush()


def read_message(stream: BufferedIOBase) -> Message | None:
    """Read one message.

    Parameters
    ----------
    stream : buffered binary file
        Where to read; the call waits until the message is complete.

    Returns
    -------
    Message or None
        None where the stream ends between two messages.

    Raises
    ------
    ProtocolError
        If anything but a message comes.
    NoRoomError
        If there is no memory for the arrays; they are skipped, and the next message can be read.
    """
    start = _read_up_to(stream, len(MAGIC))
    if not start:
        return None
    if start != MAGIC:
        raise ProtocolError(
            f"Expected a message, which starts with {MAGIC!r}, got {start!r}: "
            "the other side is not a NASAM3D worker of this version, or something else wrote to "
            "its standard output."
        )
    length = _HEADER_LENGTH.unpack(_read_exactly(stream, _HEADER_LENGTH.size, "header length"))[0]
    if length > MAX_HEADER_BYTES:
        raise ProtocolError(
            f"The header of a message may have {_size(MAX_HEADER_BYTES)}, got {_size(length)}."
        )
    header = _decoded_header(_read_exactly(stream, length, "header"))
    message = Message(header["kind"], header["fields"], {})
    arrays, lacking = _read_arrays(stream, _checked_descriptions(header["arrays"]))
    if lacking:
        raise NoRoomError(message, lacking)
    return replace(message, arrays=arrays)


def _wire_array(name: str, values: npt.ArrayLike) -> Array:
    """Give the array in C order and little-endian, or refuse its type."""
    array = np.asarray(values)
    little = array.dtype.newbyteorder("<")
    if little.str not in ARRAY_DTYPES:
        raise ProtocolError(
            f"Array {name!r} has type {array.dtype}, which cannot be sent: convert it to one of "
            f"{', '.join(sorted(ARRAY_DTYPES))}."
        )
    if array.ndim > MAX_DIMENSIONS:
        raise ProtocolError(
            f"Array {name!r} has {array.ndim} axes, at most {MAX_DIMENSIONS} can be sent."
        )
    # Not ascontiguousarray, which would turn a number into an array with one axis.
    return np.asarray(array, dtype=little, order="C")


def _encoded_header(message: Message, arrays: Mapping[str, Array]) -> bytes:
    """Write the header as JSON."""
    header = {
        "kind": message.kind,
        "fields": dict(message.fields),
        "arrays": [
            {"name": name, "dtype": array.dtype.str, "shape": list(array.shape)}
            for name, array in arrays.items()
        ],
    }
    try:
        encoded = json.dumps(header, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ProtocolError(
            f"The fields of message {message.kind!r} cannot be written as JSON ({error}): use "
            "numbers, strings, lists and dictionaries, and send arrays as arrays."
        ) from error
    if len(encoded) > MAX_HEADER_BYTES:
        raise ProtocolError(
            f"The header of message {message.kind!r} has {_size(len(encoded))}, at most "
            f"{_size(MAX_HEADER_BYTES)} can be sent: send long lists as arrays."
        )
    return encoded


def _decoded_header(encoded: bytes) -> dict[str, Any]:
    """Read the header and check its three entries."""
    try:
        header = json.loads(encoded.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(
            "The header of a message must be JSON in UTF-8, got "
            f"{encoded[:_EXCERPT_BYTES]!r} ({error})."
        ) from error
    wanted: dict[str, type] = {"kind": str, "fields": dict, "arrays": list}
    if not isinstance(header, dict) or set(header) != set(wanted):
        raise ProtocolError(
            "The header of a message must be an object with kind, fields and arrays, got "
            f"{encoded[:_EXCERPT_BYTES]!r}."
        )
    for name, type_ in wanted.items():
        if not isinstance(header[name], type_):
            raise ProtocolError(
                f"The entry {name!r} of a message header must be of type {type_.__name__}, got "
                f"{type(header[name]).__name__}."
            )
    return header


def _checked_descriptions(descriptions: list[Any]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Check names, types and sizes of all arrays before memory is taken for one of them."""
    if len(descriptions) > MAX_ARRAYS:
        raise ProtocolError(f"A message may have {MAX_ARRAYS} arrays, got {len(descriptions)}.")
    checked = [_checked_description(description) for description in descriptions]
    names = [name for name, _, _ in checked]
    if len(set(names)) < len(names):
        raise ProtocolError(f"Every array of a message needs its own name, got {names}.")
    total = sum(np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in checked)
    if total > MAX_PAYLOAD_BYTES:
        raise ProtocolError(
            f"The arrays of a message may have {_size(MAX_PAYLOAD_BYTES)}, got {_size(total)}."
        )
    return checked


def _checked_description(description: Any) -> tuple[str, str, tuple[int, ...]]:
    """Check the description of one array."""
    if not isinstance(description, dict) or set(description) != {"name", "dtype", "shape"}:
        raise ProtocolError(
            "An array is described by name, dtype and shape, got "
            f"{str(description)[:_EXCERPT_BYTES]}."
        )
    name, dtype, shape = description["name"], description["dtype"], description["shape"]
    if not isinstance(name, str):
        raise ProtocolError(f"The name of an array must be text, got {name!r}.")
    if not isinstance(dtype, str) or dtype not in ARRAY_DTYPES:
        raise ProtocolError(
            f"Array {name!r} must have one of the types {', '.join(sorted(ARRAY_DTYPES))}, got "
            f"{dtype!r}."
        )
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    ):
        raise ProtocolError(
            f"Array {name!r} must have a shape of at most {MAX_DIMENSIONS} whole numbers, none "
            f"negative, got {str(shape)[:_EXCERPT_BYTES]}."
        )
    return name, dtype, tuple(shape)


def _read_arrays(
    stream: BufferedIOBase, descriptions: list[tuple[str, str, tuple[int, ...]]]
) -> tuple[dict[str, Array], str]:
    """Read all arrays, or skip them and tell for which there was no memory."""
    arrays: dict[str, Array] = {}
    lacking = ""
    for name, dtype, shape in descriptions:
        n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
        memory = None if lacking else _room(n_bytes)
        if memory is None:
            arrays.clear()
            lacking = lacking or f"Array {name!r} takes {_size(n_bytes)}."
            _fill(stream, name, n_bytes, memoryview(bytearray(_SKIPPED_BYTES)))
        else:
            _fill(stream, name, n_bytes, memory.data)
            arrays[name] = _shaped(memory, dtype, shape)
    return arrays, lacking


def _room(n_bytes: int) -> npt.NDArray[np.uint8] | None:
    """Take memory, if there is enough."""
    try:
        return np.empty(n_bytes, dtype=np.uint8)
    except MemoryError:
        return None


def _fill(stream: BufferedIOBase, name: str, n_bytes: int, view: memoryview) -> None:
    """Read the bytes of an array into memory, over and over into one that is too small."""
    filled = 0
    while filled < n_bytes:
        begin = filled if len(view) == n_bytes else 0
        n_read = stream.readinto(view[begin : begin + n_bytes - filled])
        if not n_read:
            raise ProtocolError(
                f"The stream ended after {filled} of {n_bytes} bytes of array {name!r}."
            )
        filled += n_read


def _shaped(raw: npt.NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> Array:
    """Give bytes their type and shape without a copy."""
    if dtype == "|b1":
        # Any byte but 0 and 1 would make a boolean that equals neither True nor False.
        np.not_equal(raw, 0, out=raw.view(np.bool_))
    return raw.view(np.dtype(dtype)).reshape(shape)


def _read_exactly(stream: BufferedIOBase, n_bytes: int, what: str) -> bytes:
    """Read a number of bytes, or say that the stream ended early."""
    data = _read_up_to(stream, n_bytes)
    if len(data) < n_bytes:
        raise ProtocolError(
            f"The stream ended after {len(data)} of {n_bytes} bytes of the {what} of a message."
        )
    return data


def _read_up_to(stream: BufferedIOBase, n_bytes: int) -> bytes:
    """Read a number of bytes, fewer only where the stream ends."""
    data = b""
    while len(data) < n_bytes:
        part = stream.read(n_bytes - len(data))
        if not part:
            break
        data += part
    return data


def _size(n_bytes: int) -> str:
    """Write a number of bytes for a person."""
    value, unit = float(n_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"
