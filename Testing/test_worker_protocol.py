"""Messages survive the stream unchanged; anything else is refused with a reason."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NASAM3DLib.worker import protocol
from NASAM3DLib.worker.protocol import (
    ARRAY_DTYPES,
    MAGIC,
    Message,
    ProtocolError,
    encode_message,
    read_message,
    write_message,
)


def as_bytes(message: Message) -> bytes:
    """What a message looks like on the stream."""
    return b"".join(bytes(piece) for piece in encode_message(message))


def framed(header: object) -> bytes:
    """A message with any header, and no payload."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return MAGIC + struct.pack("<I", len(encoded)) + encoded


def described(**changes: object) -> bytes:
    """A message that announces one array, changed as told."""
    array = {"name": "a", "dtype": "<f4", "shape": [2, 3], **changes}
    return framed({"kind": "x", "fields": {}, "arrays": [array]})


def read(data: bytes) -> Message | None:
    """Read one message from bytes."""
    return read_message(io.BytesIO(data))


@pytest.mark.parametrize("dtype", sorted(ARRAY_DTYPES))
@pytest.mark.parametrize("shape", [(), (0, 4), (5,), (2, 3, 4)])
def test_arrays_come_back_unchanged(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    sent = rng.integers(0, 2 if dtype == "|b1" else 100, size=shape).astype(dtype)
    got = read(as_bytes(Message("x", {"job": 1}, {"sent": sent})))
    assert got is not None
    assert (got.kind, got.fields, got.job) == ("x", {"job": 1}, 1)
    assert got.arrays["sent"].dtype == sent.dtype
    np.testing.assert_array_equal(got.arrays["sent"], sent, strict=True)


def test_big_endian_and_strided_arrays_are_sent_by_value() -> None:
    values = np.arange(24, dtype=">f8").reshape(4, 6)[::2, ::-1]
    got = read(as_bytes(Message("x", {}, {"values": values})))
    assert got is not None
    np.testing.assert_array_equal(got.arrays["values"], values)
    assert got.arrays["values"].dtype.str == "<f8"


def test_messages_follow_each_other_and_the_stream_ends_cleanly() -> None:
    stream = io.BytesIO()
    for number in range(3):
        write_message(stream, Message("x", {"job": number}, {"n": np.full(number, 7.0)}))
    stream.seek(0)
    got = [read_message(stream) for _ in range(4)]
    assert [m and m.job for m in got] == [0, 1, 2, None]


def test_a_received_array_can_be_written_to() -> None:
    got = read(as_bytes(Message("x", {}, {"a": np.zeros(3, np.float32)})))
    assert got is not None
    got.arrays["a"][0] = 1
    assert got.arrays["a"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "values",
    [np.array([object()]), np.array(["text"]), np.array([1j]), np.array([(1, 2)], dtype="i4,i4")],
)
def test_only_plain_numbers_travel(values: np.ndarray) -> None:
    with pytest.raises(ProtocolError, match="cannot be sent: convert it to one of"):
        encode_message(Message("x", {}, {"values": values}))


@pytest.mark.parametrize("value", [np.float32(1), {1, 2}, float("nan"), object()])
def test_fields_must_be_json(value: object) -> None:
    with pytest.raises(ProtocolError, match="cannot be written as JSON"):
        encode_message(Message("x", {"value": value}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Welcome to gpu-host\n", r"starts with b'NASAM3D\\x01', got b'Welcome '"),
        (MAGIC[:4], "starts with"),
        (MAGIC + b"\x01", "ended after 1 of 4 bytes of the header length"),
        (MAGIC + struct.pack("<I", 100) + b"{}", "ended after 2 of 100 bytes of the header"),
        (MAGIC + struct.pack("<I", 2**31), "may have 4 MiB, got 2 GiB"),
        (framed(b"\xff\xfe"), "must be JSON in UTF-8"),
        (framed(b"not json"), "must be JSON in UTF-8"),
        (framed(b"[" * 100_000), "must be JSON in UTF-8"),
        (framed([]), "must be an object with kind, fields and arrays"),
        (framed({"kind": "x"}), "must be an object with kind, fields and arrays"),
        (framed({"kind": 1, "fields": {}, "arrays": []}), "'kind' .* type str, got int"),
        (framed({"kind": "x", "fields": [], "arrays": []}), "'fields' .* type dict, got list"),
        (framed({"kind": "x", "fields": {}, "arrays": {}}), "'arrays' .* type list, got dict"),
        (framed({"kind": "x", "fields": {}, "arrays": [1]}), "described by name, dtype and shape"),
        (framed({"kind": "x", "fields": {}, "arrays": [0] * 65}), "may have 64 arrays, got 65"),
        (described(name=3), "name of an array must be text"),
        (described(dtype="|O"), r"must have one of the types .*, got '\|O'"),
        (described(dtype=["<f4"]), "must have one of the types"),
        (described(shape=[-1, 3]), "none negative"),
        (described(shape=[True]), "none negative"),
        (described(shape=[1] * 9), "at most 8 whole numbers"),
        (described(shape=[1.5]), "at most 8 whole numbers"),
        (described(shape=[2**20, 2**20]), "may have 16 GiB, got 4096 GiB"),
        (described() + b"\0" * 23, "ended after 23 of 24 bytes of array 'a'"),
    ],
)
def test_garbage_is_refused_with_what_was_wanted_and_got(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        read(data)


def test_two_arrays_of_one_name_are_refused() -> None:
    array = {"name": "a", "dtype": "|u1", "shape": [0]}
    with pytest.raises(ProtocolError, match="needs its own name"):
        read(framed({"kind": "x", "fields": {}, "arrays": [array, array]}))


def test_sizes_are_checked_before_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_PAYLOAD_BYTES", 10)
    with pytest.raises(ProtocolError, match="has 1 arrays of 12 bytes; at most"):
        encode_message(Message("x", {}, {"a": np.zeros(3, np.float32)}))
    with pytest.raises(ProtocolError, match="send long lists as arrays"):
        encode_message(Message("x", {"long": "x" * protocol.MAX_HEADER_BYTES}))


def test_a_received_boolean_is_true_or_false_whatever_byte_came() -> None:
    got = read(described(dtype="|b1", shape=[3]) + b"\x00\x01\x02")
    assert got is not None
    assert got.arrays["a"].view(np.uint8).tolist() == [0, 1, 1]


WHOLE = as_bytes(Message("x", {"job": 1}, {"a": np.arange(6, dtype=np.int16)}))


@given(st.integers(1, len(WHOLE) - 1))
def test_every_truncation_is_noticed(n_bytes: int) -> None:
    with pytest.raises(ProtocolError):
        read(WHOLE[:n_bytes])


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)))
def test_noise_gives_a_message_or_a_protocol_error_and_nothing_else(noise: bytes, at: int) -> None:
    try:
        got = read(WHOLE[:at] + noise + WHOLE[at + len(noise) :])
    except ProtocolError:
        return
    assert got is None or isinstance(got, Message)
