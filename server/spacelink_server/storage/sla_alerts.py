"""What tenants were told of their networks' SLAs. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import sqlalchemy as sa

from spacelink_server.storage.schema import sla_alerts

_a = sla_alerts.c


def raise_level(
    connection: sa.Connection, tenant_id: str, network_id: str, period_start: int, level: int
) -> bool:
    """Note how bad it is with a network's SLA, and forget the periods before.

    Args:
        connection: in a write transaction that is alone.
        tenant_id: with network_id, names the network.
        network_id: its id.
        period_start: when the SLA's period began.
        level: 1 at risk, 2 breached.

    Returns:
        False where that much was noted of the period before.
    """
    of_network = (_a.tenant_id == tenant_id, _a.network_id == network_id)
    noted = connection.scalar(
        sa.select(_a.level).where(*of_network, _a.period_start_unix_nano == period_start)
    )
    if noted is not None and noted >= level:
        return False
    connection.execute(sa.delete(sla_alerts).where(*of_network))
    connection.execute(sa.insert(sla_alerts).values((tenant_id, network_id, period_start, level)))
    return True


def forget(connection: sa.Connection, tenant_id: str, network_id: str) -> None:
    """Forget what was noted of a network, whose terms have changed."""
    connection.execute(sa.delete(sla_alerts).where(_a.tenant_id == tenant_id, _a.network_id == network_id))
