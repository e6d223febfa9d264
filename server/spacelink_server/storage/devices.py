"""The devices of tenants. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import time

import sqlalchemy as sa

from spacelink_server.storage import tenants
from spacelink_server.storage.inserts import insert_missing
from spacelink_server.storage.schema import devices, maintained_devices, telemetry_segments

_d = devices.c
_m = maintained_devices.c
_s = telemetry_segments.c
# A seek for each device: grouping would go over all segments.
_ARRIVED = (
    sa.select(sa.func.max(_s.first_time_unix_nano))
    .where(_s.tenant_id == _d.tenant_id, _s.device_id == _d.device_id)
    .scalar_subquery()
)
_MAINTAINED = (
    sa.select(_m.newest_time_unix_nano)
    .where(_m.tenant_id == _d.tenant_id, _m.device_id == _d.device_id)
    .scalar_subquery()
)


def all_ids(connection: sa.Connection, tenant_id: str) -> set[str]:
    """Read the ids of all of a tenant's devices."""
    return set(connection.scalars(sa.select(_d.device_id).where(_d.tenant_id == tenant_id)))


def admit(connection: sa.Connection, tenant_id: str, device_id: str) -> bool:
    """Add a device unless the tenant has as many as it may have, and tell whether it is there now.

    In a write transaction, which locks the tenant: no other server counts its
    devices meanwhile.
    """
    of_tenant = _d.tenant_id == tenant_id
    tenant = tenants.get(connection, tenant_id, locked=True)
    if connection.scalar(sa.select(sa.func.count()).where(of_tenant, _d.device_id == device_id)):
        return True
    if tenant and tenant.max_devices:
        count = connection.scalar(sa.select(sa.func.count()).where(of_tenant)) or 0
        if count >= tenant.max_devices:
            return False
    connection.execute(insert_missing(devices).values((tenant_id, device_id, time.time_ns())))
    return True


def last_heard(connection: sa.Connection, tenant_id: str, start: int, end: int) -> list[str]:
    """List the devices whose newest sample, or the first one of their newest batch, lies in [start, end)."""
    query = sa.select(_d.device_id, _ARRIVED, _MAINTAINED).where(_d.tenant_id == tenant_id)
    return [
        device_id
        for device_id, arrived, maintained in connection.execute(query)
        if start <= max(arrived or 0, maintained or 0) < end
    ]
