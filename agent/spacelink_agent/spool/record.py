"""The framing of the log's records.

A record is a header of three little-endian uint32 (the payload's length, the
payload's CRC-32, the CRC-32 of the two), and the payload: the kind (uint8), the
length of the meta data (uint32), the meta data (JSON) and the body (bytes). The
header has a checksum of its own so that a damaged length is not taken for a
record whose writing was cut short.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTHS = struct.Struct("<II")
_CHECK = struct.Struct("<I")
_PREFIX = struct.Struct("<BI")
_HEADER_SIZE = _LENGTHS.size + _CHECK.size


class Kind(IntEnum):
    """What a record says."""

    # All that later records build on; the first record of each file.
    CHECKPOINT = 1
    # Samples that are in no batch yet.
    SAMPLES = 2
    # A numbered batch; it replaces the device's samples before it.
    BATCH = 3
    # The server has everything up to a sequence.
    ACKED = 4
    # Numbers whose samples are lost.
    DROPPED = 5


class TornRecordError(ValueError):
    """The data ends within a record: its writing was cut short."""


class DamagedRecordError(ValueError):
    """The record's bytes are not the ones that were written."""


@dataclass(frozen=True, slots=True)
class Record:
    """An entry of the log.

    Attributes:
        kind: what it says.
        meta: its facts, anything JSON can hold.
        body: encoded samples, if it has any.
    """

    kind: Kind
    meta: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Frame the record."""
        meta = json.dumps(self.meta, separators=(",", ":")).encode()
        payload = b"".join((_PREFIX.pack(self.kind, len(meta)), meta, self.body))
        lengths = _LENGTHS.pack(len(payload), zlib.crc32(payload))
        return b"".join((lengths, _CHECK.pack(zlib.crc32(lengths)), payload))


def scan(data: bytes) -> Iterator[tuple[int, int, Record]]:
    """Give each record with its offset and its framed length.

    Raises:
        TornRecordError: the data ends within a record.
        DamagedRecordError: a checksum does not fit.
    """
    offset = 0
    while offset < len(data):
        record, length = decode(data, offset)
        yield offset, length, record
        offset += length


def decode(data: bytes, offset: int = 0) -> tuple[Record, int]:
    """Read the record at the offset, and its framed length.

    Raises:
        TornRecordError: the data ends within the record.
        DamagedRecordError: a checksum does not fit.
    """
    start = offset + _HEADER_SIZE
    if start > len(data):
        raise TornRecordError(f"the header at {offset} is incomplete")
    length, checksum = _LENGTHS.unpack_from(data, offset)
    if _CHECK.unpack_from(data, offset + _LENGTHS.size)[0] != zlib.crc32(data[offset : start - _CHECK.size]):
        raise DamagedRecordError(f"the header at {offset} is damaged")
    payload = data[start : start + length]
    if len(payload) < length:
        raise TornRecordError(f"the record at {offset} is incomplete")
    if zlib.crc32(payload) != checksum:
        raise DamagedRecordError(f"the record at {offset} is damaged")
    return _parse(payload), _HEADER_SIZE + length


def _parse(payload: bytes) -> Record:
    kind, meta_length = _PREFIX.unpack_from(payload)
    body = _PREFIX.size + meta_length
    return Record(Kind(kind), json.loads(payload[_PREFIX.size : body]), payload[body:])
