"""Just enough protobuf to write messages without a generated class."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """Encode a non-negative integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> bytes:
    """Encode a signed integer so that small magnitudes stay short."""
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def field(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data
