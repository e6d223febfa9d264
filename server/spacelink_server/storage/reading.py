"""Reading samples back in time order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from spacelink.columns import TelemetryColumns, merge
from spacelink_server.storage import compaction
from spacelink_server.storage.segment_pages import read_page
from spacelink_server.storage.segments import AnySegment, CompactedSegment, Segment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from spacelink_server.storage.transactions import Transactions

# Either as stored, or decoded because it had to be cut or merged.
Part: TypeAlias = AnySegment | TelemetryColumns

# Merged samples are handed out in parts of so many bytes: below the 4 MiB that a
# gRPC client takes by default, with room for names.
_PART_BYTES = 3_000_000

# Overlapping segments are merged when so many bytes of them are there: enough to
# merge seldom, little to hold.
_MERGE_BYTES = 4 * 1024 * 1024


def read(
    store: Transactions,
    tenant_id: str,
    device_id: str,
    start: int,
    end: int,
    metrics: Collection[str] | None = None,
) -> Iterator[Part]:
    """Read a device's samples with times in [start, end), in time order.

    Samples that are equal in every column are given once. A batch that was
    stored as it came, lies wholly in the range and overlaps nothing comes as it
    is stored.

    Args:
        store: where to read.
        tenant_id: the tenant.
        device_id: the device.
        start: nanoseconds since 1970 UTC.
        end: likewise, exclusive.
        metrics: these are enough, though there may be others; None means all.
    """
    while start < end:
        # A transaction for each page: a slow reader must not keep the store from
        # tidying up behind its writers.
        page = store.read(partial(read_page, tenant_id=tenant_id, device_id=device_id, start=start, end=end))
        for part in _merged(page.segments):
            if isinstance(part, Segment) and start <= part.first_time and part.last_time < page.end:
                yield part
            else:
                yield from _clipped(columns_of(part, metrics), start, page.end)
        start = page.end


def columns_of(part: Part, metrics: Collection[str] | None = None) -> TelemetryColumns:
    """Give a part as columns; see read for metrics."""
    if isinstance(part, Segment):
        return TelemetryColumns.decode(part.payload)
    if isinstance(part, CompactedSegment):
        return compaction.decode(part.device_id, part.payload, metrics)
    return part


def payload_of(part: Part) -> bytes:
    """Give a part as an encoded TelemetryBatch."""
    return part.payload if isinstance(part, Segment) else columns_of(part).encode()


def _merged(segments: Sequence[AnySegment]) -> Iterator[Part]:
    """Resolve overlaps; holds only what the next segment may still reach into."""
    held: list[Part] = []
    last = size = 0
    room = _MERGE_BYTES
    for segment in segments:
        if held and segment.first_time > last:
            yield _joined(held)
            held, size, room = [], 0, _MERGE_BYTES
        held.append(segment)
        last = max(last, segment.last_time)
        size += len(segment.payload)
        if size > room and len(held) > 1:
            final, rest = _split(_joined(held), segment.first_time)
            yield final
            held, size = [rest], len(rest) * _sample_bytes(rest)
            # What overlaps this deeply is not merged anew with each segment.
            room = size + _MERGE_BYTES
    if held:
        yield _joined(held)


def _joined(parts: list[Part]) -> Part:
    return parts[0] if len(parts) == 1 else merge([columns_of(part) for part in parts])


def _split(part: Part, time: int) -> tuple[TelemetryColumns, TelemetryColumns]:
    """Part samples before a time from those at it and later."""
    columns = columns_of(part)
    row = int(np.searchsorted(columns.time_unix_nano, time))
    return columns.take(slice(0, row)), columns.take(slice(row, None))


def _clipped(columns: TelemetryColumns, start: int, end: int) -> Iterator[TelemetryColumns]:
    first, last = (int(row) for row in np.searchsorted(columns.time_unix_nano, [start, end]))
    count = max(_PART_BYTES // _sample_bytes(columns), 1)
    for offset in range(first, last, count):
        yield columns.take(slice(offset, min(offset + count, last)))


def _sample_bytes(columns: TelemetryColumns) -> int:
    """Give the encoded size of one sample: its time, values and status."""
    return 8 + 4 * len(columns.metrics) + 1
