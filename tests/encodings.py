"""Encodings of a TelemetryBatch that are legal but not what our encoders write.

Every function takes an encoded batch and gives one that the public parser reads
as the same message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink.v1 import telemetry_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FIELDS = telemetry_pb2.TelemetryBatch.DESCRIPTOR.fields_by_number
_LENGTH_DELIMITED = 2
# No message of ours has a field of this number.
_UNKNOWN_FIELD = 1000


def varint(value: int) -> bytes:
    """Encode a number that is not negative."""
    low, rest = value & 0x7F, value >> 7
    return bytes((low | 0x80,)) + varint(rest) if rest else bytes((low,))


def delimited(number: int, data: bytes) -> bytes:
    """Encode a field of bytes, text, packed values or a message."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(data)) + data


def unpacked(data: bytes) -> bytes:
    """Give every value of a column a tag of its own."""
    return b"".join(
        b"".join(varint(number << 3 | _wire_type(number)) + value for value in _values(number, body))
        if _is_column(number)
        else plain(number, body)
        for number, body in fields(data)
    )


def in_pieces(data: bytes) -> bytes:
    """Cut every column in two that stand apart."""
    first, second = b"", b""
    for number, body in fields(data):
        if not _is_column(number):
            first += plain(number, body)
            continue
        values = _values(number, body)
        half = len(values) // 2
        first += delimited(number, b"".join(values[:half]))
        second += delimited(number, b"".join(values[half:]))
    return first + second


def backwards(data: bytes) -> bytes:
    """Write the fields in descending order; extra columns keep theirs."""
    ordered = sorted(fields(data), key=lambda field: -field[0])
    return b"".join(plain(*field) for field in ordered)


def with_unknown_fields(data: bytes) -> bytes:
    """Add fields that no version knows, of every wire type."""
    tag = _UNKNOWN_FIELD << 3
    unknown = varint(tag) + b"\x05" + varint(tag | 1) + bytes(8) + varint(tag | 5) + bytes(4)
    unknown += varint(tag | 3) + varint(tag) + b"\x01" + varint(tag | 4)
    return delimited(_UNKNOWN_FIELD, b"text") + data + unknown


def with_overwritten_fields(data: bytes) -> bytes:
    """Give single fields twice; the last one counts."""
    # Written even where it is empty: it would not overwrite anything otherwise.
    device_id = telemetry_pb2.TelemetryBatch.FromString(data).device_id.encode()
    overwritten = delimited(1, b"another-device") + varint(2 << 3) + b"\x63"
    return overwritten + with_long_sequence(data) + delimited(1, device_id)


def with_empty_columns(data: bytes) -> bytes:
    """Add columns with nothing in them."""
    return data + b"".join(delimited(number, b"") for number in _FIELDS if _is_column(number))


def with_long_sequence(data: bytes) -> bytes:
    """Write the sequence with more bytes than it needs."""
    written = [(number, body) for number, body in fields(data) if not _is_sequence(number)]
    sequence = telemetry_pb2.TelemetryBatch.FromString(data).sequence
    long = varint(sequence)[:-1] + bytes((varint(sequence)[-1] | 0x80, 0))
    return b"".join(plain(*field) for field in written) + varint(2 << 3) + long


VARIANTS: tuple[Callable[[bytes], bytes], ...] = (
    unpacked,
    in_pieces,
    backwards,
    with_unknown_fields,
    with_overwritten_fields,
    with_empty_columns,
    with_long_sequence,
)


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split an encoded batch into field numbers and bodies."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        start = position
        value, position = _read_varint(data, position)
        if tag & 7 == _LENGTH_DELIMITED:
            start, position = position, position + value
        yield tag >> 3, data[start:position]


def plain(number: int, body: bytes) -> bytes:
    """Encode a field as our encoders do."""
    if _is_sequence(number):
        return varint(number << 3) + body
    return delimited(number, body)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Give a number and the position behind it."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    rest, end = _read_varint(data, position + 1)
    return byte & 0x7F | rest << 7, end


def _is_sequence(number: int) -> bool:
    return _FIELDS[number].name == "sequence"


def _is_column(number: int) -> bool:
    field = _FIELDS[number]
    return field.is_repeated and field.message_type is None


def _wire_type(number: int) -> int:
    return {"time_unix_nano": 1, "status": 0}.get(_FIELDS[number].name, 5)


def _values(number: int, body: bytes) -> list[bytes]:
    width = {1: 8, 5: 4}.get(_wire_type(number))
    if width:
        return [body[start : start + width] for start in range(0, len(body), width)]
    values, start = [], 0
    while start < len(body):
        _, end = _read_varint(body, start)
        values.append(body[start:end])
        start = end
    return values
