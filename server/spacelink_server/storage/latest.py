"""The newest sample of each device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from spacelink.columns import TelemetryColumns
from spacelink_server.storage.schema import devices, maintained_devices, telemetry_segments
from spacelink_server.storage.segments import MAX_SPAN_NANOS

if TYPE_CHECKING:
    from collections.abc import Sequence


def newest_samples(
    connection: sa.Connection, tenant_id: str, device_ids: Sequence[str]
) -> dict[str, TelemetryColumns]:
    """Read the newest sample of each device that has one; of several with its time the one stored last.

    Costs two look-ups for a device, whatever is stored of it.
    """
    # In this order: what is moved in between is then found twice, and not missed.
    arrived = _arrived(connection, tenant_id, device_ids)
    m = maintained_devices.c
    query = sa.select(m.device_id, m.newest_time_unix_nano, m.newest_sample).where(
        m.tenant_id == tenant_id, m.device_id.in_(device_ids)
    )
    payloads = dict(arrived)
    for device_id, time, sample in connection.execute(query):
        if sample and time > arrived.get(device_id, (-1, b""))[0]:
            payloads[device_id] = (time, sample)
    return {device_id: newest_of(payload) for device_id, (_, payload) in payloads.items()}


def newest_of(payload: bytes) -> TelemetryColumns:
    """Give the last sample of an encoded TelemetryBatch."""
    return TelemetryColumns.decode(payload).take(slice(-1, None))


def _arrived(
    connection: sa.Connection, tenant_id: str, device_ids: Sequence[str]
) -> dict[str, tuple[int, bytes]]:
    """Find, by device, the last time and the payload of the segment with the newest sample.

    Among segments that maintenance has not taken in yet.
    """
    t = telemetry_segments.c
    candidates = _candidates(tenant_id, device_ids).subquery().c
    place = sa.func.row_number().over(
        partition_by=candidates.device_id,
        order_by=(candidates.last_time_unix_nano.desc(), candidates.segment_id.desc()),
    )
    key = (candidates.device_id, candidates.first_time_unix_nano, candidates.segment_id)
    ranked = sa.select(*key, place.label("place")).subquery().c
    query = sa.select(t.device_id, t.last_time_unix_nano, t.payload).where(
        ranked.place == 1,
        t.tenant_id == tenant_id,
        t.device_id == ranked.device_id,
        t.first_time_unix_nano == ranked.first_time_unix_nano,
        t.segment_id == ranked.segment_id,
    )
    return {device_id: (last, payload) for device_id, last, payload in connection.execute(query)}


def _candidates(tenant_id: str, device_ids: Sequence[str]) -> sa.Select[Any]:
    """Select the segments that can reach the newest sample, without their payloads."""
    t = telemetry_segments.c
    d = devices.c
    other = telemetry_segments.alias().c
    # An aggregate of its own for each device is one look-up in the index.
    newest = (
        sa.select(sa.func.max(other.first_time_unix_nano))
        .where(other.tenant_id == d.tenant_id, other.device_id == d.device_id)
        .correlate(devices)
        .scalar_subquery()
    )
    starts = (
        sa.select(d.device_id, newest.label("newest"))
        .where(d.tenant_id == tenant_id, d.device_id.in_(device_ids))
        .subquery()
    )
    return sa.select(t.device_id, t.first_time_unix_nano, t.segment_id, t.last_time_unix_nano).where(
        t.tenant_id == tenant_id,
        t.device_id == starts.c.device_id,
        t.first_time_unix_nano >= starts.c.newest - MAX_SPAN_NANOS,
    )
