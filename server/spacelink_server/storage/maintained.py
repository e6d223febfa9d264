"""What maintenance works on, and how several workers share it.

A worker locks the devices it has loaded where the database has row locks; who
comes across a locked device goes on to the next. What counts, though, is the
version of a device: writing what was made of another version is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import bulk
from spacelink_server.storage.schema import compacted_segments, devices, maintained_devices
from spacelink_server.storage.segments import format_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from spacelink_server.storage.segment_pages import StoredSegment


class StaleError(Exception):
    """Another worker has changed a device since it was loaded; nothing was written."""


class DeviceState(NamedTuple):
    """How far maintenance is with a device.

    Attributes:
        version: counts its changes; 0 before the first.
        newest_time: the time of its newest sample, nanoseconds since 1970 UTC.
        newest_sample: that sample as an encoded TelemetryBatch; empty where
            there is none.
    """

    version: int = 0
    newest_time: int = 0
    newest_sample: bytes = b""


def next_tenant(connection: sa.Connection, after: str) -> str | None:
    """Give the tenant behind one that has devices."""
    d = devices.c
    found: str | None = connection.scalar(sa.select(sa.func.min(d.tenant_id)).where(d.tenant_id > after))
    return found


def lock(connection: sa.Connection, query: sa.Select[tuple[str]]) -> list[str]:
    """Lock the devices that a query selects, but for those that another worker has locked."""
    return list(connection.scalars(query.with_for_update(skip_locked=True, of=devices)))


def lock_some(connection: sa.Connection, tenant_id: str, device_ids: Collection[str]) -> set[str]:
    """Lock devices; gives those that no other worker has locked."""
    d = devices.c
    query = sa.select(d.device_id).where(d.tenant_id == tenant_id, d.device_id.in_(device_ids))
    return set(lock(connection, query.order_by(d.device_id)))


def states(connection: sa.Connection, tenant_id: str, device_ids: Collection[str]) -> dict[str, DeviceState]:
    """Read the states of devices; of all of them."""
    m = maintained_devices.c
    query = sa.select(m.device_id, m.version, m.newest_time_unix_nano, m.newest_sample).where(
        m.tenant_id == tenant_id, m.device_id.in_(device_ids)
    )
    found = {row[0]: DeviceState(*row[1:]) for row in connection.execute(query)}
    return {device_id: found.get(device_id, DeviceState()) for device_id in device_ids}


def advance(connection: sa.Connection, tenant_id: str, loaded: Mapping[str, DeviceState]) -> None:
    """Count up the versions of devices and store their newest samples.

    Raises:
        StaleError: a device is not at the version that was loaded.
    """
    now = states(connection, tenant_id, loaded)
    if any(now[device_id].version != state.version for device_id, state in loaded.items()):
        raise StaleError
    rows = [
        (tenant_id, device_id, state.version + 1, state.newest_time, state.newest_sample)
        for device_id, state in loaded.items()
    ]
    bulk.replace(connection, maintained_devices, maintained_devices.c.keys(), rows)


def insert_segments(connection: sa.Connection, tenant_id: str, segments: Sequence[StoredSegment]) -> None:
    """Insert segments that are taken in."""
    rows = [
        (
            tenant_id,
            segment.device_id,
            segment.first_time,
            segment_id,
            segment.last_time,
            segment.sample_count,
            format_of(segment),
            segment.payload,
        )
        for segment, segment_id in segments
    ]
    bulk.insert(connection, compacted_segments, compacted_segments.c.keys(), rows)
