"""Deleting what is past its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.rollups import DAY, HOUR, MINUTE
from spacelink_server.storage.schema import (
    compacted_segments,
    devices,
    maintained_devices,
    pending_windows,
    request_results,
    rollups,
    tenants,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECOND = 1_000_000_000
_DAY_NANOS = DAY * _SECOND

# How long a call with a request_id may be repeated.
REQUEST_DAYS = 7

# Deleted by one transaction, which ingest waits for: hours of a dish at 1 Hz are
# four pages each.
_SEGMENTS = 128
_ROWS = 1000


class Cutoffs(NamedTuple):
    """Up to when a tenant's data is past its time; 0 is never. Both are starts of days (UTC).

    Attributes:
        samples: nanoseconds since 1970 UTC. A day is kept whole or not at all, so
            that the rollups of what is kept can be made anew.
        rollups: likewise.
    """

    samples: int = 0
    rollups: int = 0


def cutoffs(connection: sa.Connection, tenant_id: str, now: int) -> Cutoffs:
    """Tell up to when a tenant's data is past its time at a moment."""
    t = tenants.c
    query = sa.select(t.raw_retention_days, t.rollup_retention_days).where(t.tenant_id == tenant_id)
    row = connection.execute(query).one_or_none()
    return Cutoffs(*(_start(now, days) if days else 0 for days in row)) if row else Cutoffs()


def expired_devices(connection: sa.Connection, tenant_id: str, limits: Cutoffs, after: str) -> Sequence[str]:
    """List some devices behind one that have data past its time."""
    d = devices.c
    expired = [
        sa.select(table.c.device_id)
        .where(table.c.tenant_id == d.tenant_id, table.c.device_id == d.device_id, *conditions)
        .correlate(devices)
        .exists()
        for table, conditions in _expired(limits)
    ]
    query = (
        sa.select(d.device_id)
        .where(d.tenant_id == tenant_id, d.device_id > after, sa.or_(*expired))
        .order_by(d.device_id)
        .limit(_ROWS)
    )
    return list(connection.scalars(query))


def delete_expired(connection: sa.Connection, tenant_id: str, device_id: str, limits: Cutoffs) -> bool:
    """Delete some of a device's data that is past its time, by whole segments; tell whether any was."""
    deleted = 0
    for table, conditions in _expired(limits):
        t = table.c
        start = t.first_time_unix_nano if table is compacted_segments else t.window_start_unix
        mine = [t.tenant_id == tenant_id, t.device_id == device_id, *conditions]
        most = _SEGMENTS if table is compacted_segments else _ROWS
        some = sa.select(start).where(*mine).order_by(start).limit(most).subquery()
        last = connection.scalar(sa.select(sa.func.max(some.c[0])))
        if last is not None:
            deleted += connection.execute(sa.delete(table).where(*mine, start <= last)).rowcount
    if deleted:
        _forget_newest(connection, tenant_id, device_id, limits)
    return deleted > 0


def delete_pending(connection: sa.Connection, tenant_id: str, limits: Cutoffs) -> None:
    """Give up windows whose samples are past their time."""
    p = pending_windows.c
    for seconds in (HOUR, DAY):
        connection.execute(
            sa.delete(pending_windows).where(
                p.tenant_id == tenant_id,
                p.window_seconds == seconds,
                p.window_start_unix < limits.samples // _SECOND,
            )
        )


def old_requests(connection: sa.Connection, tenant_id: str, now: int) -> Sequence[str]:
    """List some request_ids that can be forgotten."""
    r = request_results.c
    old = r.create_time_unix_nano < _start(now, REQUEST_DAYS)
    return connection.scalars(sa.select(r.request_id).where(r.tenant_id == tenant_id, old).limit(_ROWS)).all()


def delete_requests(connection: sa.Connection, tenant_id: str, request_ids: Sequence[str]) -> None:
    """Forget request_ids."""
    r = request_results.c
    connection.execute(
        sa.delete(request_results).where(r.tenant_id == tenant_id, r.request_id.in_(request_ids))
    )


def _forget_newest(connection: sa.Connection, tenant_id: str, device_id: str, limits: Cutoffs) -> None:
    m = maintained_devices.c
    connection.execute(
        sa.update(maintained_devices)
        .where(m.tenant_id == tenant_id, m.device_id == device_id, m.newest_time_unix_nano < limits.samples)
        .values(version=m.version + 1, newest_time_unix_nano=0, newest_sample=b"")
    )


def _start(now: int, days: int) -> int:
    """Give the start of the day that was so many days ago."""
    return now - now % _DAY_NANOS - days * _DAY_NANOS


def _expired(limits: Cutoffs) -> list[tuple[sa.Table, list[sa.ColumnElement[bool]]]]:
    """Name the tables with the conditions under which a row is past its time."""
    start = compacted_segments.c.first_time_unix_nano
    found: list[tuple[sa.Table, list[sa.ColumnElement[bool]]]] = []
    if limits.samples:
        found.append((compacted_segments, [start < limits.samples]))
    if limits.rollups:
        r = rollups.c
        found += [
            (rollups, [r.window_seconds == seconds, r.window_start_unix < limits.rollups // _SECOND])
            for seconds in (MINUTE, HOUR, DAY)
        ]
    return found
