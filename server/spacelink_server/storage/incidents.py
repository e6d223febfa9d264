"""Incidents of devices. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from spacelink_server.storage.schema import incidents, network_devices

if TYPE_CHECKING:
    from collections.abc import Collection


class Incident(NamedTuple):
    """A time in which something was wrong with a device.

    Attributes:
        incident_id: names it.
        device_id: the device.
        cause: a spacelink.v1.IncidentCause.
        start_time: when it began.
        detect_time: when it was found.
        end_time: when it was over; None while it is open.
        measured: what was measured when it was found.
        threshold: what that was measured against.
    """

    incident_id: str
    device_id: str
    cause: int
    start_time: int
    detect_time: int
    end_time: int | None
    measured: float
    threshold: float


class IncidentFilter(NamedTuple):
    """Which incidents are wanted.

    Attributes:
        network_id: only of devices of this network; empty means all.
        device_ids: only of these devices; none means all.
        start: incidents over by then are left out.
        end: incidents that began then or later are left out.
        open_only: only open ones.
    """

    network_id: str
    device_ids: Collection[str]
    start: int
    end: int
    open_only: bool


_i = incidents.c
_COLUMNS = [column for column in incidents.c if column.name != "tenant_id"]


def open_incident(connection: sa.Connection, tenant_id: str, incident: Incident) -> bool:
    """Store an open incident.

    Returns:
        False where the device has an open incident of this cause, or one that
        was not over when this one began: another server found it first.
    """
    known = sa.select(_i.incident_id).where(
        _i.tenant_id == tenant_id,
        _i.device_id == incident.device_id,
        _i.cause == incident.cause,
        _i.end_time_unix_nano.is_(None) | (_i.end_time_unix_nano > incident.start_time),
    )
    if connection.execute(known.limit(1)).one_or_none():
        return False
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(incidents).values((tenant_id, *incident)))
    except IntegrityError:
        return False
    return True


def close_incident(
    connection: sa.Connection, tenant_id: str, device_id: str, cause: int, end_time: int
) -> Incident | None:
    """End a device's open incident of a cause.

    Returns:
        The incident; None where there is none, because another server closed it
        first, or where it began later.
    """
    is_it = (
        _i.tenant_id == tenant_id,
        _i.device_id == device_id,
        _i.cause == cause,
        _i.end_time_unix_nano.is_(None),
    )
    row = connection.execute(sa.select(*_COLUMNS).where(*is_it)).one_or_none()
    if row is None:
        return None
    found = Incident(*row)
    if end_time < found.start_time:
        return None
    closed = connection.execute(sa.update(incidents).where(*is_it).values(end_time_unix_nano=end_time))
    return found._replace(end_time=end_time) if closed.rowcount else None


def open_of(connection: sa.Connection, tenant_id: str, device_ids: Collection[str]) -> list[Incident]:
    """Read the open incidents of devices."""
    query = sa.select(*_COLUMNS).where(
        _i.tenant_id == tenant_id, _i.device_id.in_(device_ids), _i.end_time_unix_nano.is_(None)
    )
    return [Incident(*row) for row in connection.execute(query)]


def page(
    connection: sa.Connection,
    tenant_id: str,
    wanted: IncidentFilter,
    before: tuple[int, str] | None,
    limit: int,
) -> list[Incident]:
    """Read incidents, the newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        wanted: which of its incidents.
        before: start time and id of the one they are behind; None for the first.
        limit: the most to read.
    """
    query = sa.select(*_COLUMNS).where(_i.tenant_id == tenant_id, *_conditions(tenant_id, wanted))
    if before is not None:
        query = query.where(sa.tuple_(_i.start_time_unix_nano, _i.incident_id) < sa.tuple_(*before))
    query = query.order_by(_i.start_time_unix_nano.desc(), _i.incident_id.desc()).limit(limit)
    return [Incident(*row) for row in connection.execute(query)]


def _conditions(tenant_id: str, wanted: IncidentFilter) -> list[sa.ColumnElement[bool]]:
    is_open = _i.end_time_unix_nano.is_(None)
    conditions = [_i.start_time_unix_nano < wanted.end, is_open | (_i.end_time_unix_nano > wanted.start)]
    if wanted.open_only:
        conditions.append(is_open)
    if wanted.device_ids:
        conditions.append(_i.device_id.in_(wanted.device_ids))
    if wanted.network_id:
        d = network_devices.c
        member = sa.select(d.device_id).where(
            d.tenant_id == tenant_id, d.network_id == wanted.network_id, d.device_id == _i.device_id
        )
        conditions.append(member.exists())
    return conditions
