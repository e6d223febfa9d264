"""Reading segments: those that were stored as they came, and those that maintenance has taken in."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import compacted_segments, telemetry_segments
from spacelink_server.storage.segments import FORMATS, MAX_SPAN_NANOS, AnySegment, Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

# Read at once: 2048 segments of one sample each are half an hour, and looking
# back for those that reach into a range is paid for once a page. Large segments
# come fewer at a time.
_PAGE_ROWS = 2048
_PAGE_BYTES = 16 * 1024 * 1024

_AS_IT_CAME = next(number for number, kind in FORMATS.items() if kind is Segment)


class StoredSegment(NamedTuple):
    """A segment and what orders it among those of its device."""

    segment: AnySegment
    segment_id: int


class Page(NamedTuple):
    """All samples in a part of a range.

    Attributes:
        segments: those with samples in the part, ordered by first time.
        end: where the part ends and the next one starts.
    """

    segments: list[AnySegment]
    end: int


class _Rows(NamedTuple):
    stored: list[StoredSegment]
    complete_before: int


def read_page(connection: sa.Connection, tenant_id: str, device_id: str, start: int, end: int) -> Page:
    """Read the segments with samples in [start, end), or in as much of it as is read at once.

    A page stands for itself: between two of them segments may be replaced by
    others with the same samples.
    """
    limit = _PAGE_ROWS
    while True:
        # In this order: what is moved in between is then found twice, and not missed.
        tables = [
            _rows(connection, table, (tenant_id, device_id, start, end), limit)
            for table in (telemetry_segments, compacted_segments)
        ]
        complete_before = min(rows.complete_before for rows in tables)
        if complete_before > start or complete_before >= end:
            found = [stored for rows in tables for stored in rows.stored]
            kept = [stored for stored in found if stored.segment.first_time < complete_before]
            kept.sort(key=lambda stored: (stored.segment.first_time, stored.segment_id))
            return Page([stored.segment for stored in kept], complete_before)
        limit *= 4


def segment_columns(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """Give the columns that stored takes, of either table."""
    t = table.c
    as_format = t.format if "format" in t else sa.literal(_AS_IT_CAME, sa.SmallInteger)
    times = (t.first_time_unix_nano, t.last_time_unix_nano)
    return [t.device_id, *times, t.sample_count, t.payload, as_format, t.segment_id]


def stored(row: Sequence[Any]) -> StoredSegment:
    """Make a segment of a row."""
    *fields, number, segment_id = row
    return StoredSegment(FORMATS[number]._make(fields), segment_id)


def earliest_first_time(table: sa.Table, start: int) -> int:
    """Tell from which first time on segments may reach over a time."""
    if table is compacted_segments:
        return start - start % MAX_SPAN_NANOS
    return start - MAX_SPAN_NANOS


def _rows(connection: sa.Connection, table: sa.Table, wanted: tuple[str, str, int, int], limit: int) -> _Rows:
    """Read segments, and tell up to which time these are all."""
    tenant_id, device_id, start, end = wanted
    values = {
        "tenant": tenant_id,
        "device": device_id,
        "earliest": earliest_first_time(table, start),
        "start": start,
        "end": end,
        "limit": limit,
    }
    found: list[StoredSegment] = []
    # At least as much as made the caller ask for more.
    room = _PAGE_BYTES * limit // _PAGE_ROWS
    for row in connection.execute(_query(table), values):
        found.append(stored(row))
        room -= len(row.payload)
        if len(found) == limit or room < 0:
            return _Rows(found, found[-1].segment.first_time)
    return _Rows(found, end)


@cache
def _query(table: sa.Table) -> sa.Select[Any]:
    """Make the query of _rows once: thousands of reads of an hour each would do little else."""
    t = table.c
    return (
        sa.select(*segment_columns(table))
        .where(
            t.tenant_id == sa.bindparam("tenant"),
            t.device_id == sa.bindparam("device"),
            t.first_time_unix_nano >= sa.bindparam("earliest"),
            t.first_time_unix_nano < sa.bindparam("end"),
            t.last_time_unix_nano >= sa.bindparam("start"),
        )
        .order_by(t.first_time_unix_nano, t.segment_id)
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )
