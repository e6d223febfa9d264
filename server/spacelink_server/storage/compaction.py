"""The compacted format: columns compressed without loss.

A compacted segment is a CompactedSegment message (spacelink/storage/v1). It is a
contract of its own kind: no call takes or gives it, but what was written once
must be readable for as long as the store is, so it is kept in proto/, where
changes to it are checked as those to the calls are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from pcodec import ChunkConfig, standalone

from spacelink.columns import TelemetryColumns
from spacelink.storage.v1 import segment_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

_TIME = "time_unix_nano"
_STATUS = "status"
_DTYPES: dict[str, np.dtype[Any]] = {_TIME: np.dtype("<i8"), _STATUS: np.dtype("u1")}
_VALUE = np.dtype("<f4")

# On hours of a dish at 1 Hz, level 11 takes 13.5 bytes a sample and writes 5.7
# million values a second; level 8 takes 14.0 and writes 6.7 million, level 12
# gains nothing more. 8 bits are for statuses.
_CONFIG = ChunkConfig(compression_level=11, enable_8_bit=True)


class CorruptSegmentError(ValueError):
    """A stored segment cannot be read, or would not be read as it was written."""


def encode(columns: TelemetryColumns) -> bytes:
    """Write samples in the compacted format.

    Returns:
        A CompactedSegment message, from which decode gives the very bits of the
        columns: it was tried, since what it is made of is deleted.
    """
    segment = pb.CompactedSegment(sample_count=len(columns))
    for name, values in _named(columns):
        codec, data = _compress(name, values)
        segment.columns.add(name=name, codec=codec, data=data)
    return segment.SerializeToString()


def decode(device_id: str, data: bytes, metrics: Collection[str] | None = None) -> TelemetryColumns:
    """Read a device's samples in the compacted format.

    Args:
        device_id: the device.
        data: a CompactedSegment message.
        metrics: only these, which takes less time; None means all.

    Raises:
        CorruptSegmentError: data is not a CompactedSegment message that this
            version can read.
    """
    try:
        segment = pb.CompactedSegment.FromString(data)
    except DecodeError:
        raise CorruptSegmentError("not a CompactedSegment message") from None
    wanted = [
        column
        for column in segment.columns
        if metrics is None or column.name in metrics or column.name in _DTYPES
    ]
    columns = {column.name: _expand(column, segment.sample_count) for column in wanted}
    if _TIME not in columns or len(columns) < len(wanted):
        raise CorruptSegmentError(f"expected one column for each metric, and {_TIME}")
    times = columns.pop(_TIME)
    status = columns.pop(_STATUS, None)
    return TelemetryColumns(device_id, times, columns, status)


def _named(columns: TelemetryColumns) -> list[tuple[str, NDArray[Any]]]:
    named: list[tuple[str, NDArray[Any]]] = [(_TIME, columns.time_unix_nano), *columns.metrics.items()]
    return named if columns.status is None else [*named, (_STATUS, columns.status)]


def _dtype(name: str) -> np.dtype[Any]:
    known: np.dtype[Any] | None = _DTYPES.get(name)
    return _VALUE if known is None else known


def _compress(name: str, values: NDArray[Any]) -> tuple[pb.ColumnCodec.ValueType, bytes]:
    array = np.ascontiguousarray(values, _dtype(name))
    plain = array.tobytes()
    packed: bytes = standalone.simple_compress(array, _CONFIG)
    if len(packed) >= len(plain):
        return pb.COLUMN_CODEC_PLAIN, plain
    if _decompress(name, packed).tobytes() != plain:
        raise CorruptSegmentError(f"{name}: not the same after compression")
    return pb.COLUMN_CODEC_PCODEC, packed


def _expand(column: pb.CompactedColumn, count: int) -> NDArray[Any]:
    if column.codec == pb.COLUMN_CODEC_PCODEC:
        values = _decompress(column.name, column.data)
    elif column.codec == pb.COLUMN_CODEC_PLAIN:
        whole = len(column.data) // _dtype(column.name).itemsize
        values = np.frombuffer(column.data, _dtype(column.name), whole)
    else:
        raise CorruptSegmentError(f"{column.name}: codec {column.codec} belongs to a newer version")
    if len(values) != count or values.dtype != _dtype(column.name):
        raise CorruptSegmentError(
            f"{column.name}: {len(values)} values of {values.dtype} for {count} samples"
        )
    return values


def _decompress(name: str, data: bytes) -> NDArray[Any]:
    try:
        values: NDArray[Any] | None = standalone.simple_decompress(data)
    except RuntimeError as error:
        raise CorruptSegmentError(f"{name}: {error}") from None
    # Nothing comes of a column without values.
    return np.empty(0, _dtype(name)) if values is None else values
