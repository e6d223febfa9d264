"""Segments on their way from ingest to maintenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import bulk, maintained, pending
from spacelink_server.storage import rollups as rollup_rows
from spacelink_server.storage.maintained import DeviceState
from spacelink_server.storage.schema import compacted_segments, devices, telemetry_segments
from spacelink_server.storage.segment_pages import StoredSegment, segment_columns, stored
from spacelink_server.storage.segments import MAX_SPAN_NANOS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spacelink_server.storage.rollups import Rollups

# Taken in by one transaction: ingest waits for its end, and what these bound,
# rows deleted, bytes copied and rollups written, takes some ten milliseconds.
_DEVICES = 64
_ROWS = 512
_BYTES = 1024 * 1024
_SAMPLES = 8192

# Where servers share a database each looks there for what the others committed;
# ids begin with the database's time (see tail.py). They look many times a second.
_SHARED_SECONDS = 10
_SETTLED_ID = sa.text("(extract(epoch FROM now()) - :shared) * 1000000000")

_MINUTE_NANOS = 60 * 1_000_000_000


class Hour(NamedTuple):
    """An hour of a device.

    Attributes:
        device_id: the device.
        start: its start, nanoseconds since 1970 UTC.
    """

    device_id: str
    start: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Segments of a few devices that have not been taken in.

    Attributes:
        states: of the devices.
        segments: by device, ordered by first time.
        neighbours: by device, what has been taken in that may have samples in
            the same minutes.
        reached: the last device that was looked at.
        is_complete: whether the devices up to it have no more.
    """

    states: dict[str, DeviceState]
    segments: dict[str, list[StoredSegment]]
    neighbours: dict[str, list[StoredSegment]]
    reached: str
    is_complete: bool


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What becomes of arrivals.

    Attributes:
        arrivals: what was loaded.
        states: with newer samples where they arrived.
        segments: in place of those that arrived, none reaching over an hour.
        minutes: the rollups of the minutes that samples arrived for.
        hours: the hours they arrived for.
    """

    arrivals: Arrivals
    states: dict[str, DeviceState]
    segments: list[StoredSegment]
    minutes: Rollups
    hours: set[Hour]


def load(connection: sa.Connection, tenant_id: str, after: str) -> Arrivals | None:
    """Load what arrived of a few devices behind one; None where there are none."""
    settled = _settled(connection)
    claimed = maintained.lock(connection, _with_arrivals(tenant_id, after, settled))
    if not claimed:
        return None
    segments, is_complete = _arrived(connection, tenant_id, claimed, settled)
    reached = max(segments, default=claimed[-1])
    return Arrivals(
        maintained.states(connection, tenant_id, list(segments)),
        segments,
        _neighbours(connection, tenant_id, segments),
        claimed[-1] if is_complete else reached,
        is_complete,
    )


def store(connection: sa.Connection, taken: TakenIn, tenant_id: str) -> None:
    """Put what was made of arrivals in their place.

    Raises:
        StaleError: another worker was faster.
    """
    maintained.advance(connection, tenant_id, taken.states)
    names = ("tenant_id", "device_id", "first_time_unix_nano", "segment_id")
    keys = [
        (tenant_id, device_id, arrived.segment.first_time, arrived.segment_id)
        for device_id, segments in taken.arrivals.segments.items()
        for arrived in segments
    ]
    bulk.delete(connection, telemetry_segments, names, keys)
    maintained.insert_segments(connection, tenant_id, taken.segments)
    rollup_rows.replace(connection, tenant_id, taken.minutes)
    pending.mark(connection, tenant_id, taken.hours)


def _settled(connection: sa.Connection) -> list[sa.ColumnElement[bool]]:
    """Give the condition under which other servers have seen a segment."""
    if connection.dialect.name != "postgresql":
        return []
    return [telemetry_segments.c.segment_id < _SETTLED_ID.bindparams(shared=_SHARED_SECONDS)]


def _with_arrivals(
    tenant_id: str, after: str, settled: list[sa.ColumnElement[bool]]
) -> sa.Select[tuple[str]]:
    d = devices.c
    t = telemetry_segments.c
    arrived = sa.select(t.device_id).where(t.tenant_id == d.tenant_id, t.device_id == d.device_id, *settled)
    return (
        sa.select(d.device_id)
        .where(d.tenant_id == tenant_id, d.device_id > after, arrived.correlate(devices).exists())
        .order_by(d.device_id)
        .limit(_DEVICES)
    )


def _arrived(
    connection: sa.Connection,
    tenant_id: str,
    claimed: list[str],
    settled: list[sa.ColumnElement[bool]],
) -> tuple[dict[str, list[StoredSegment]], bool]:
    """Read segments of the devices claimed; tell whether these are all."""
    t = telemetry_segments.c
    query = (
        sa.select(*segment_columns(telemetry_segments))
        .where(t.tenant_id == tenant_id, t.device_id >= claimed[0], t.device_id <= claimed[-1], *settled)
        .order_by(t.device_id, t.first_time_unix_nano, t.segment_id)
        .limit(_ROWS)
    )
    found: dict[str, list[StoredSegment]] = {}
    owned = frozenset(claimed)
    size = samples = 0
    rows = [stored(row) for row in connection.execute(query)]
    for row in rows:
        segment = row.segment
        if found and (size + len(segment.payload) > _BYTES or samples + segment.sample_count > _SAMPLES):
            return found, False
        if segment.device_id in owned:
            found.setdefault(segment.device_id, []).append(row)
            size += len(segment.payload)
            samples += segment.sample_count
    return found, len(rows) < _ROWS


def _neighbours(
    connection: sa.Connection, tenant_id: str, arrived: Mapping[str, list[StoredSegment]]
) -> dict[str, list[StoredSegment]]:
    """Read what has been taken in of the minutes that segments are in.

    Terminals report what they measure now, so most devices have the same hours
    and are read together.
    """
    together: dict[tuple[int, int], list[tuple[str, int, int]]] = {}
    for device_id, segments in arrived.items():
        for start, end in _spans(segments):
            hours = start // MAX_SPAN_NANOS, end // MAX_SPAN_NANOS
            together.setdefault(hours, []).append((device_id, start, end))
    found: dict[str, list[StoredSegment]] = {}
    t = compacted_segments.c
    for (first_hour, _), spans in together.items():
        query = sa.select(*segment_columns(compacted_segments)).where(
            t.tenant_id == tenant_id,
            t.device_id.in_([device_id for device_id, _, _ in spans]),
            t.first_time_unix_nano >= first_hour * MAX_SPAN_NANOS,
            t.first_time_unix_nano < max(end for _, _, end in spans),
            t.last_time_unix_nano >= min(start for _, start, _ in spans),
        )
        for row in map(stored, connection.execute(query)):
            found.setdefault(row.segment.device_id, []).append(row)
    return found


def _spans(segments: Sequence[StoredSegment]) -> list[tuple[int, int]]:
    """Give the minutes that segments are in as ranges of time, none with an hour that has no sample."""
    spans: list[tuple[int, int]] = []
    for segment, _ in sorted(segments):
        start = segment.first_time - segment.first_time % _MINUTE_NANOS
        end = segment.last_time - segment.last_time % _MINUTE_NANOS + _MINUTE_NANOS
        if spans and start < spans[-1][1] + MAX_SPAN_NANOS:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((start, end))
    return spans
