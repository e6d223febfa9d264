"""Tenants and the versions of their keys. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import versions
from spacelink_server.storage.schema import tenant_keys, tenant_version, tenants

if TYPE_CHECKING:
    from collections.abc import Collection


class Tenant(NamedTuple):
    """A tenant; a limit of 0 is none, and a retention of 0 days for ever."""

    tenant_id: str
    display_name: str
    samples_per_day: int
    max_devices: int
    domains: tuple[str, ...]
    create_time: int
    raw_retention_days: int = 0
    rollup_retention_days: int = 0


class TenantKey(NamedTuple):
    """A version of a tenant's key.

    Attributes:
        tenant_id: the tenant; "*" is the installation itself.
        key_version: counts up from 1.
        fingerprint: tells whether the master key is the one it was made from.
        create_time: since when it signs tokens.
        expire_time: until when its tokens are good; None: it signs new tokens.
    """

    tenant_id: str
    key_version: int
    fingerprint: bytes
    create_time: int
    expire_time: int | None


def insert(connection: sa.Connection, tenant: Tenant) -> None:
    """Add a tenant that is not there yet."""
    connection.execute(sa.insert(tenants).values(_to_row(tenant)))
    versions.count_up(connection, tenant_version)


def update(connection: sa.Connection, tenant: Tenant) -> None:
    """Replace what is stored of a tenant."""
    # A key that tables are distributed by is never set.
    values = dict(zip(tenants.c.keys()[1:], _to_row(tenant)[1:], strict=True))
    connection.execute(sa.update(tenants).where(tenants.c.tenant_id == tenant.tenant_id).values(values))
    versions.count_up(connection, tenant_version)


def get(connection: sa.Connection, tenant_id: str, *, locked: bool = False) -> Tenant | None:
    """Read a tenant; if it is to be locked, no other transaction that locks it runs until this one ends."""
    query = sa.select(tenants).where(tenants.c.tenant_id == tenant_id)
    # SQLite has one writer anyway, and SQLAlchemy leaves the clause out for it.
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    return _from_row(row) if row else None


def page(connection: sa.Connection, after: str, limit: int) -> list[Tenant]:
    """Read tenants behind one, ordered by tenant_id."""
    query = sa.select(tenants).where(tenants.c.tenant_id > after).order_by(tenants.c.tenant_id).limit(limit)
    return [_from_row(row) for row in connection.execute(query)]


def all_tenants(connection: sa.Connection) -> list[Tenant]:
    """Read every tenant."""
    return [_from_row(row) for row in connection.execute(sa.select(tenants))]


def insert_key(connection: sa.Connection, key: TenantKey) -> None:
    """Add a version of a tenant's key."""
    connection.execute(sa.insert(tenant_keys).values(tuple(key)))
    versions.count_up(connection, tenant_version)


def expire_key(connection: sa.Connection, tenant_id: str, key_version: int, expire_time: int) -> None:
    """Set until when the tokens of a key are good."""
    k = tenant_keys.c
    connection.execute(
        sa.update(tenant_keys)
        .where(k.tenant_id == tenant_id, k.key_version == key_version)
        .values(expire_time_unix_nano=expire_time)
    )
    versions.count_up(connection, tenant_version)


def version(connection: sa.Connection) -> int:
    """Give a number that counts up with every change of a tenant or its keys."""
    return versions.get(connection, tenant_version)


def keys(connection: sa.Connection) -> list[TenantKey]:
    """Read all keys of all tenants, and those of the installation."""
    return [TenantKey(*row) for row in connection.execute(sa.select(tenant_keys))]


def current_key_version(connection: sa.Connection, tenant_id: str) -> int | None:
    """Tell which key signs a tenant's new tokens; None: there is no such tenant."""
    return current_key_versions(connection, [tenant_id]).get(tenant_id)


def current_key_versions(connection: sa.Connection, tenant_ids: Collection[str]) -> dict[str, int]:
    """Tell which keys sign the new tokens of some tenants."""
    k = tenant_keys.c
    query = sa.select(k.tenant_id, k.key_version).where(
        k.tenant_id.in_(tenant_ids), k.expire_time_unix_nano.is_(None)
    )
    return dict(connection.execute(query).all())


def _to_row(tenant: Tenant) -> tuple[Any, ...]:
    return tuple(tenant._replace(domains=json.dumps(tenant.domains)))  # type: ignore[arg-type]


def _from_row(row: Any) -> Tenant:
    tenant = Tenant(*row)
    return tenant._replace(domains=tuple(json.loads(row.domains)))
