"""From where tenants' tokens are good."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from spacelink_server.storage import versions
from spacelink_server.storage.schema import ip_allowlists, tenant_version

if TYPE_CHECKING:
    from collections.abc import Sequence

_a = ip_allowlists.c


def replace(connection: sa.Connection, tenant_id: str, cidrs: Sequence[str]) -> None:
    """Set a tenant's list; an empty one sets no bound."""
    connection.execute(sa.delete(ip_allowlists).where(_a.tenant_id == tenant_id))
    if cidrs:
        connection.execute(sa.insert(ip_allowlists).values([(tenant_id, cidr) for cidr in cidrs]))
    versions.count_up(connection, tenant_version)


def get(connection: sa.Connection, tenant_id: str) -> list[str]:
    """Read a tenant's list, in order."""
    query = sa.select(_a.cidr).where(_a.tenant_id == tenant_id).order_by(_a.cidr)
    return list(connection.scalars(query))


def all_of(connection: sa.Connection) -> dict[str, list[str]]:
    """Read the lists of all tenants that have one."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for tenant_id, cidr in connection.execute(sa.select(ip_allowlists).order_by(_a.cidr)):
        found[tenant_id].append(cidr)
    return dict(found)
