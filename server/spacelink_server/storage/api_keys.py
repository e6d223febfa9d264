"""API keys: credentials that stand for minted tokens. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import api_keys

if TYPE_CHECKING:
    from collections.abc import Mapping


class ApiKey(NamedTuple):
    """An API key; its text is not kept.

    Attributes:
        tenant_id: the key's tenant.
        key_id: 32 hexadecimal digits.
        secret_digest: SHA-256 of the key's text.
        display_name: for people.
        token_id: the token that it stands for.
        create_time: when it was made.
        expire_time: when it ends, or None.
        last_use_time: when it was last presented, or None.
        revoked: whether it was ended before its time.
    """

    tenant_id: str
    key_id: str
    secret_digest: bytes
    display_name: str
    token_id: str
    create_time: int
    expire_time: int | None
    last_use_time: int | None
    revoked: bool


def insert(connection: sa.Connection, key: ApiKey) -> None:
    """Add a key."""
    connection.execute(sa.insert(api_keys).values(tuple(key)))


def get(connection: sa.Connection, tenant_id: str, key_id: str) -> ApiKey | None:
    """Read a key."""
    k = api_keys.c
    query = sa.select(api_keys).where(k.tenant_id == tenant_id, k.key_id == key_id)
    row = connection.execute(query).one_or_none()
    return ApiKey(*row) if row else None


def page(
    connection: sa.Connection, tenant_id: str, before: tuple[int, str] | None, limit: int
) -> list[ApiKey]:
    """Read a tenant's keys, newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        before: create_time and key_id of the last one of the page before.
        limit: the most to read.
    """
    k = api_keys.c
    query = sa.select(api_keys).where(k.tenant_id == tenant_id)
    if before is not None:
        query = query.where(sa.tuple_(k.create_time_unix_nano, k.key_id) < sa.tuple_(*before))
    query = query.order_by(k.create_time_unix_nano.desc(), k.key_id.desc()).limit(limit)
    return [ApiKey(*row) for row in connection.execute(query)]


def set_expiry(connection: sa.Connection, tenant_id: str, key_id: str, expire_time: int) -> None:
    """Set when a key ends."""
    connection.execute(_update(tenant_id, key_id).values(expire_time_unix_nano=expire_time))


def revoke(connection: sa.Connection, tenant_id: str, key_id: str) -> None:
    """End a key."""
    connection.execute(_update(tenant_id, key_id).values(revoked=True))


def overdue(connection: sa.Connection, now: int) -> list[ApiKey]:
    """Read the keys of all tenants that have ended but are not revoked."""
    k = api_keys.c
    query = sa.select(api_keys).where(k.expire_time_unix_nano <= now, k.revoked.is_(False))
    return [ApiKey(*row) for row in connection.execute(query)]


def unrevoked(connection: sa.Connection, tenant_id: str) -> list[ApiKey]:
    """Read a tenant's keys that are not revoked."""
    k = api_keys.c
    query = sa.select(api_keys).where(k.tenant_id == tenant_id, k.revoked.is_(False))
    return [ApiKey(*row) for row in connection.execute(query)]


def record_uses(connection: sa.Connection, uses: Mapping[tuple[str, str], int]) -> None:
    """Set when keys, by tenant_id and key_id, were last presented."""
    for (tenant_id, key_id), last_use_time in uses.items():
        connection.execute(_update(tenant_id, key_id).values(last_use_time_unix_nano=last_use_time))


def _update(tenant_id: str, key_id: str) -> sa.Update:
    k = api_keys.c
    return sa.update(api_keys).where(k.tenant_id == tenant_id, k.key_id == key_id)
