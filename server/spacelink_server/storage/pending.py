"""Windows that maintenance has not closed yet: hours to compact and roll up, days to roll up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import bulk, maintained
from spacelink_server.storage import rollups as rollup_rows
from spacelink_server.storage.rollups import DAY, HOUR
from spacelink_server.storage.schema import compacted_segments, pending_windows, rollups, telemetry_segments
from spacelink_server.storage.segment_pages import StoredSegment, segment_columns, stored
from spacelink_server.storage.segments import MAX_SPAN_NANOS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from spacelink_server.storage.intake import Hour
    from spacelink_server.storage.maintained import DeviceState
    from spacelink_server.storage.rollups import Rollups

_SECOND = 1_000_000_000

# Closed by one transaction: hours of a dish at 1 Hz are written with 50 kB each.
_WINDOWS = 16
# Loaded at once: 16 hours of a dish at 1 Hz, as they came, or compacted a day of it
# alone. What is made of them takes some 170 bytes a sample meanwhile.
_BYTES = 4 * 1024 * 1024
_SAMPLES = 65_536


class Window(NamedTuple):
    """A window of a device.

    Attributes:
        start_unix: its start, seconds since 1970 UTC.
        device_id: the device.
    """

    start_unix: int
    device_id: str


# Before all others.
FIRST_WINDOW = Window(-1, "")


@dataclass(frozen=True, slots=True)
class OpenWindows:
    """Windows to be closed.

    Attributes:
        window_seconds: HOUR or DAY.
        states: of the devices.
        segments: by window, ordered by how they were stored.
        reached: the last window that was looked at.
    """

    window_seconds: int
    states: dict[str, DeviceState]
    segments: dict[Window, list[StoredSegment]]
    reached: Window


@dataclass(frozen=True, slots=True)
class ClosedWindows:
    """What becomes of windows.

    Attributes:
        opened: what was loaded.
        segments: in place of the hours' segments; not read of days.
        rollups: of the windows.
    """

    opened: OpenWindows
    segments: list[StoredSegment]
    rollups: Rollups


def mark(connection: sa.Connection, tenant_id: str, hours: Collection[Hour]) -> None:
    """Note that samples arrived for hours; the rollups of these and of their days no longer hold."""
    for seconds in (HOUR, DAY):
        windows = {Window(hour.start // _SECOND // seconds * seconds, hour.device_id) for hour in hours}
        _delete_windows(connection, rollups, tenant_id, seconds, windows)
        marked = [(tenant_id, seconds, *window) for window in sorted(windows)]
        bulk.replace(connection, pending_windows, pending_windows.c.keys(), marked)


def load(
    connection: sa.Connection, tenant_id: str, window_seconds: int, span: tuple[int, int], after: Window
) -> OpenWindows | None:
    """Load a few windows behind one that lie in a span; None where there are none.

    Args:
        connection: of a transaction.
        tenant_id: the tenant.
        window_seconds: HOUR or DAY.
        span: start and end, seconds since 1970 UTC.
        after: the window behind which to look.
    """
    wanted = [
        Window._make(row) for row in connection.execute(_within_span(tenant_id, window_seconds, span, after))
    ]
    if not wanted:
        return None
    claimed = maintained.lock_some(connection, tenant_id, {window.device_id for window in wanted})
    segments: dict[Window, list[StoredSegment]] = {}
    size = samples = 0
    reached = wanted[-1]
    for window in wanted:
        # Another worker may have closed it before its device was locked.
        if window.device_id not in claimed or not _is_open(connection, tenant_id, window_seconds, window):
            continue
        segments[window] = _segments(connection, tenant_id, window, window_seconds)
        size += sum(len(each.segment.payload) for each in segments[window])
        samples += sum(each.segment.sample_count for each in segments[window])
        if size > _BYTES or samples > _SAMPLES:
            reached = window
            break
    states = maintained.states(connection, tenant_id, {window.device_id for window in segments})
    return OpenWindows(window_seconds, states, segments, reached)


def close(connection: sa.Connection, closed: ClosedWindows, tenant_id: str) -> None:
    """Store what was made of windows.

    Raises:
        StaleError: another worker was faster.
    """
    opened = closed.opened
    maintained.advance(connection, tenant_id, opened.states)
    if opened.window_seconds == HOUR:
        for window in opened.segments:
            connection.execute(sa.delete(compacted_segments).where(*_within(tenant_id, window, HOUR)))
        maintained.insert_segments(connection, tenant_id, closed.segments)
    rollup_rows.replace(connection, tenant_id, closed.rollups)
    _delete_windows(connection, pending_windows, tenant_id, opened.window_seconds, opened.segments)


def arrived_spans(
    connection: sa.Connection, tenant_id: str, device_ids: Sequence[str], start: int, end: int
) -> list[tuple[str, int, int]]:
    """Tell where there are samples that no rollup has.

    Read before the rollups: what is taken in meanwhile is then found twice, and
    not missed.

    Args:
        connection: of a read transaction.
        tenant_id: the tenant.
        device_ids: the devices wanted.
        start: of the range, nanoseconds since 1970 UTC.
        end: of the range, exclusive.

    Returns:
        Device, first and last time of every segment with samples in the range
        that maintenance has not taken in.
    """
    t = telemetry_segments.c
    query = sa.select(t.device_id, t.first_time_unix_nano, t.last_time_unix_nano).where(
        t.tenant_id == tenant_id,
        t.device_id.in_(device_ids),
        t.first_time_unix_nano >= start - MAX_SPAN_NANOS,
        t.first_time_unix_nano < end,
        t.last_time_unix_nano >= start,
    )
    return [(device_id, first, last) for device_id, first, last in connection.execute(query)]


def _within_span(
    tenant_id: str, window_seconds: int, span: tuple[int, int], after: Window
) -> sa.Select[tuple[int, str]]:
    p = pending_windows.c
    query = sa.select(p.window_start_unix, p.device_id).where(
        p.tenant_id == tenant_id,
        p.window_seconds == window_seconds,
        p.window_start_unix >= span[0],
        p.window_start_unix <= span[1] - window_seconds,
        sa.tuple_(p.window_start_unix, p.device_id) > sa.tuple_(*map(sa.literal, after)),
    )
    if window_seconds == DAY:
        # Not before its hours: these are what it is made of.
        hours = pending_windows.alias().c
        open_hours = sa.select(hours.device_id).where(
            hours.tenant_id == p.tenant_id,
            hours.window_seconds == HOUR,
            hours.window_start_unix >= p.window_start_unix,
            hours.window_start_unix < p.window_start_unix + DAY,
            hours.device_id == p.device_id,
        )
        query = query.where(~open_hours.correlate(pending_windows).exists())
    return query.order_by(p.window_start_unix, p.device_id).limit(_WINDOWS)


def _delete_windows(
    connection: sa.Connection,
    table: sa.Table,
    tenant_id: str,
    window_seconds: int,
    windows: Iterable[Window],
) -> None:
    """Delete what a table has of windows, all devices of a start at once."""
    by_start: dict[int, list[str]] = {}
    for window in windows:
        by_start.setdefault(window.start_unix, []).append(window.device_id)
    for start, device_ids in by_start.items():
        connection.execute(
            sa.delete(table).where(
                table.c.tenant_id == tenant_id,
                table.c.window_seconds == window_seconds,
                table.c.window_start_unix == start,
                table.c.device_id.in_(device_ids),
            )
        )


def _is_open(connection: sa.Connection, tenant_id: str, window_seconds: int, window: Window) -> bool:
    p = pending_windows.c
    query = sa.select(p.device_id).where(
        p.tenant_id == tenant_id,
        p.window_seconds == window_seconds,
        p.window_start_unix == window.start_unix,
        p.device_id == window.device_id,
    )
    return connection.scalar(query) is not None


def _segments(
    connection: sa.Connection, tenant_id: str, window: Window, window_seconds: int
) -> list[StoredSegment]:
    query = sa.select(*segment_columns(compacted_segments)).where(*_within(tenant_id, window, window_seconds))
    return [stored(row) for row in connection.execute(query.order_by(compacted_segments.c.segment_id))]


def _within(tenant_id: str, window: Window, window_seconds: int) -> list[sa.ColumnElement[bool]]:
    t = compacted_segments.c
    return [
        t.tenant_id == tenant_id,
        t.device_id == window.device_id,
        t.first_time_unix_nano >= window.start_unix * _SECOND,
        t.first_time_unix_nano < (window.start_unix + window_seconds) * _SECOND,
    ]
