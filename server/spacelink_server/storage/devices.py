"""What is known of a tenant's devices as a whole. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import sqlalchemy as sa

from spacelink_server.storage.schema import devices, telemetry_segments

_d = devices.c
_s = telemetry_segments.c
# A seek for each device: grouping would go over all segments.
_NEWEST = (
    sa.select(sa.func.max(_s.first_time_unix_nano))
    .where(_s.tenant_id == _d.tenant_id, _s.device_id == _d.device_id)
    .scalar_subquery()
    .label("newest")
)


def last_heard(connection: sa.Connection, tenant_id: str, start: int, end: int) -> list[str]:
    """List the devices whose newest segment begins in [start, end)."""
    found = sa.select(_d.device_id, _NEWEST).where(_d.tenant_id == tenant_id).subquery()
    query = sa.select(found.c.device_id).where(found.c.newest >= start, found.c.newest < end)
    return list(connection.scalars(query))
