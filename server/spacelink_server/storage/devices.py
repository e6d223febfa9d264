"""The devices of tenants."""

from __future__ import annotations

import time

import sqlalchemy as sa

from spacelink_server.storage import tenants
from spacelink_server.storage.schema import devices

_d = devices.c


def all_ids(connection: sa.Connection, tenant_id: str) -> set[str]:
    """Read the ids of all of a tenant's devices."""
    return set(connection.scalars(sa.select(_d.device_id).where(_d.tenant_id == tenant_id)))


def admit(connection: sa.Connection, tenant_id: str, device_id: str) -> bool:
    """Add a device unless the tenant has as many as it may have, and tell whether it is there now.

    In a write transaction: no other may write between its statements.
    """
    of_tenant = _d.tenant_id == tenant_id
    if connection.scalar(sa.select(sa.func.count()).where(of_tenant, _d.device_id == device_id)):
        return True
    tenant = tenants.get(connection, tenant_id)
    if tenant and tenant.max_devices:
        count = connection.scalar(sa.select(sa.func.count()).where(of_tenant)) or 0
        if count >= tenant.max_devices:
            return False
    connection.execute(sa.insert(devices).values((tenant_id, device_id, time.time_ns())))
    return True
