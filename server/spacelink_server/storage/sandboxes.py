"""Tenants to try things in."""

from __future__ import annotations

import sqlalchemy as sa

from spacelink_server.storage import maintained
from spacelink_server.storage.schema import (
    REFERENCE,
    audit_events,
    devices,
    limit_state,
    maintained_devices,
    metadata,
    rejected_batches,
    sandboxes,
    stream_cursors,
    token_uses,
    webhook_deliveries,
    webhooks,
)

# What is not made of telemetry stays: the trail of what was done, what was used
# up, and where producers' streams stand, whose spools no longer have what was
# acked. Servers remember that devices are stored, so these stay as well.
_KEPT = {
    audit_events,
    devices,
    limit_state,
    maintained_devices,
    rejected_batches,
    stream_cursors,
    token_uses,
    webhook_deliveries,
    webhooks,
}

_s = sandboxes.c


def insert(connection: sa.Connection, tenant_id: str, owner_tenant_id: str) -> None:
    """Make a tenant another one's sandbox."""
    connection.execute(sa.insert(sandboxes).values((tenant_id, owner_tenant_id)))


def owner(connection: sa.Connection, tenant_id: str) -> str | None:
    """Tell whose sandbox a tenant is; None: it is none."""
    return connection.scalar(sa.select(_s.owner_tenant_id).where(_s.tenant_id == tenant_id))


def clear(connection: sa.Connection, tenant_id: str) -> None:
    """Delete a sandbox's telemetry and all that is made of it or said about it."""
    _stop_maintenance(connection, tenant_id)
    for table in metadata.sorted_tables:
        if REFERENCE not in table.info and table not in _KEPT:
            connection.execute(sa.delete(table).where(table.c.tenant_id == tenant_id))


def _stop_maintenance(connection: sa.Connection, tenant_id: str) -> None:
    """Keep workers from writing what they have made of the telemetry that is to go."""
    d = devices.c
    query = sa.select(d.device_id).where(d.tenant_id == tenant_id).order_by(d.device_id).with_for_update()
    states = maintained.states(connection, tenant_id, list(connection.scalars(query)))
    emptied = {
        device_id: state._replace(newest_time=0, newest_sample=b"") for device_id, state in states.items()
    }
    maintained.advance(connection, tenant_id, emptied)
