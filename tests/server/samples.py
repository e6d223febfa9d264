"""Batches and segments for the server's tests, and a plain model of their samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spacelink._wire import BatchView, is_exact
from spacelink.columns import TelemetryColumns, canonical_view
from spacelink.v1.telemetry_pb2 import TelemetryBatch
from spacelink_server.ingest.validation import Limits, segments_of, well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from spacelink_server.ingest.validation import WellFormedBatch
    from spacelink_server.storage.segments import Segment

# 2025-01-01T00:00:00Z
T0 = 1_735_689_600 * 1_000_000_000
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

# A sample as plain data: its time, its status and the bits of its values by
# metric. A missing value is left out.
Sample: TypeAlias = tuple[int, int, tuple[tuple[str, int], ...]]

MISSING_BITS = int(np.float32(np.nan).view(np.uint32))


def columns(
    device_id: str = "dish-1", offsets: Sequence[int] = (0,), status: Any = None, **metrics: ArrayLike
) -> TelemetryColumns:
    """Make columns with times at offsets in nanoseconds from T0."""
    times = np.array(offsets, np.int64) + T0
    return TelemetryColumns.from_arrays(device_id, times, status=status, **metrics)


def batch(device_id: str = "dish-1", offsets: Sequence[int] = (0,), **metrics: ArrayLike) -> TelemetryBatch:
    """Make a batch; see columns."""
    return TelemetryBatch.FromString(columns(device_id, offsets, **metrics).encode())


def segments(
    device_id: str = "dish-1", offsets: Sequence[int] = (0,), status: Any = None, **metrics: ArrayLike
) -> list[Segment]:
    """Make the segments that a batch is stored as; see columns."""
    return validated(columns(device_id, offsets, status, **metrics).encode())


def segment(device_id: str = "dish-1", offset: int = 0, value: float = 1.0) -> Segment:
    """Make a segment of one sample."""
    (only,) = segments(device_id, [offset], latency_ms=[value])
    return only


def parsed(data: bytes, limits: Limits | None = None) -> WellFormedBatch:
    """Check the form of an encoded batch, as the server does with one it got."""
    view = BatchView()
    view.ParseFromString(data)
    if not is_exact(view, data):
        view = canonical_view(TelemetryBatch.FromString(data))
    return well_formed(view, len(data), limits or Limits())


def validated(data: bytes, limits: Limits | None = None) -> list[Segment]:
    """Validate an encoded batch."""
    return segments_of(parsed(data, limits))


def samples_of(batch: TelemetryBatch) -> list[Sample]:
    """Read a batch value by value, with the public message only."""
    named = [(field.name, values) for field, values in batch.ListFields() if _is_metric(field)]
    named += [(column.name, column.values) for column in batch.extra]
    rows: list[list[tuple[str, int]]] = [[] for _ in batch.time_unix_nano]
    for name, values in named:
        for row, bits in zip(rows, np.asarray(values, np.float32).view(np.uint32).tolist(), strict=True):
            if bits != MISSING_BITS:
                row.append((name, bits))
    statuses = [int(status) for status in batch.status] or [0] * len(rows)
    times = batch.time_unix_nano
    return [(at, status, tuple(sorted(row))) for at, status, row in zip(times, statuses, rows, strict=True)]


def samples_in(payloads: Iterable[bytes]) -> list[Sample]:
    """Read the samples of encoded batches."""
    return [sample for data in payloads for sample in samples_of(TelemetryBatch.FromString(data))]


def in_time_order(samples: Iterable[Sample]) -> list[Sample]:
    """Sort by time, keeping the order of equal times, and leave out repeats."""
    return list(dict.fromkeys(sorted(samples, key=lambda sample: sample[0])))


def _is_metric(field: Any) -> bool:
    return bool(field.is_repeated and field.cpp_type == field.CPPTYPE_FLOAT)
