"""What is known of a tenant's devices as a whole. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import sqlalchemy as sa

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


def last_heard(connection: sa.Connection, tenant_id: str, start: int, end: int) -> list[str]:
    """List the devices whose newest sample, or the first one of their newest batch, lies in [start, end)."""
    query = sa.select(_d.device_id, _ARRIVED, _MAINTAINED).where(_d.tenant_id == tenant_id)
    return [
        device_id
        for device_id, arrived, maintained in connection.execute(query)
        if start <= max(arrived or 0, maintained or 0) < end
    ]
