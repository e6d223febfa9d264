"""What is kept of tokens that were minted. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import token_ancestors, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class InheritedLimit(NamedTuple):
    """A limit of another token that a minted one draws from, too.

    Attributes:
        tenant_id: the tenant that issued the other token.
        digest: SHA-256 of the prefix signature that ends with the limit.
        caveat: the limit, such as "quota = 10000/day".
    """

    tenant_id: str
    digest: bytes
    caveat: str


class MintedToken(NamedTuple):
    """A token that was minted.

    Attributes:
        tenant_id: the tenant that issued it; "*" is the installation itself.
        token_id: 32 hexadecimal digits.
        key_version: the version of the tenant's key that signed it.
        caveats: all of them in their order, the tenant's first.
        minter: the token_id of the token that minted it, "user:NAME" for a
            session, or "system".
        mint_time: when it was minted.
        expire_time: its earliest expiry, or None.
        inherited_limits: limits of its minter.
    """

    tenant_id: str
    token_id: str
    key_version: int
    caveats: tuple[str, ...]
    minter: str
    mint_time: int
    expire_time: int | None
    inherited_limits: tuple[InheritedLimit, ...]


def insert(connection: sa.Connection, token: MintedToken, ancestors: Iterable[bytes]) -> None:
    """Add a token.

    Args:
        connection: in a write transaction.
        token: the token.
        ancestors: digests of prefix signatures; a ban on any bans the token.
    """
    connection.execute(sa.insert(tokens).values(_to_row(token)))
    rows = [(token.tenant_id, token.token_id, digest) for digest in set(ancestors)]
    if rows:
        connection.execute(sa.insert(token_ancestors).values(rows))


def get(connection: sa.Connection, tenant_id: str, token_id: str) -> MintedToken | None:
    """Read a token."""
    t = tokens.c
    query = sa.select(tokens).where(t.tenant_id == tenant_id, t.token_id == token_id)
    row = connection.execute(query).one_or_none()
    return _from_row(row) if row else None


def get_many(connection: sa.Connection, tenant_id: str, token_ids: Collection[str]) -> dict[str, MintedToken]:
    """Read some of a tenant's tokens, by their ids."""
    t = tokens.c
    query = sa.select(tokens).where(t.tenant_id == tenant_id, t.token_id.in_(token_ids))
    return {row.token_id: _from_row(row) for row in connection.execute(query)}


def ancestors(connection: sa.Connection, tenant_id: str, token_id: str) -> list[bytes]:
    """Read the digests whose bans are bans on a token."""
    a = token_ancestors.c
    query = sa.select(a.ancestor_digest).where(a.tenant_id == tenant_id, a.token_id == token_id)
    return list(connection.scalars(query))


def page(
    connection: sa.Connection, tenant_id: str, before: tuple[int, str] | None, limit: int
) -> list[MintedToken]:
    """Read a tenant's tokens, newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        before: mint_time and token_id of the last one of the page before.
        limit: the most to read.
    """
    t = tokens.c
    query = sa.select(tokens).where(t.tenant_id == tenant_id)
    if before is not None:
        query = query.where(sa.tuple_(t.mint_time_unix_nano, t.token_id) < sa.tuple_(*before))
    query = query.order_by(t.mint_time_unix_nano.desc(), t.token_id.desc()).limit(limit)
    return [_from_row(row) for row in connection.execute(query)]


def live_ids(connection: sa.Connection, tenant_id: str, minter: str, now: int) -> list[str]:
    """Read the ids of the tokens of a minter that have not expired."""
    t = tokens.c
    alive = sa.or_(t.expire_time_unix_nano.is_(None), t.expire_time_unix_nano > now)
    query = sa.select(t.token_id).where(t.tenant_id == tenant_id, t.minter == minter, alive)
    return list(connection.scalars(query))


def _to_row(token: MintedToken) -> tuple[Any, ...]:
    limits = [(limit.tenant_id, limit.digest.hex(), limit.caveat) for limit in token.inherited_limits]
    return (*token[:3], json.dumps(token.caveats), *token[4:7], json.dumps(limits))


def _from_row(row: Any) -> MintedToken:
    limits = tuple(
        InheritedLimit(tenant_id, bytes.fromhex(digest), caveat)
        for tenant_id, digest, caveat in json.loads(row.inherited_limits)
    )
    return MintedToken(
        row.tenant_id,
        row.token_id,
        row.key_version,
        tuple(json.loads(row.caveats)),
        row.minter,
        row.mint_time_unix_nano,
        row.expire_time_unix_nano,
        limits,
    )
