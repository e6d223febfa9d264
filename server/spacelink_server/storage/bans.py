"""Bans of tokens. Times are nanoseconds since 1970 UTC.

A ban ends a token, all that was made of it by adding caveats, and all that was
minted with any of these. A tenant's bans end its own tokens; those of tenant
"*", the installation, end the tokens of any tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import versions
from spacelink_server.storage.schema import ban_version, bans, token_ancestors, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

_INSTALLATION = "*"


class Ban(NamedTuple):
    """A ban; it has one of digest, token_id and minted_before.

    Attributes:
        tenant_id: whose tokens it ends; "*" is the installation.
        ban_id: 32 hexadecimal digits.
        digest: SHA-256 of a prefix signature.
        token_id: the id of a minted token.
        minted_before: ends all tokens of the tenant that were minted before;
            not in the future, for tokens minted later are not looked at again.
        reason: for people.
        actor: who made it, as in the audit chain.
        create_time: when it was made.
    """

    tenant_id: str
    ban_id: str
    digest: bytes | None
    token_id: str | None
    minted_before: int | None
    reason: str
    actor: str
    create_time: int


class BannedTokens(NamedTuple):
    """What all bans together end, as pairs with the tenant whose bans they are.

    Attributes:
        version: what version gave when they were read.
        digests: of prefix signatures.
        token_ids: of minted tokens; those that have expired are left out.
    """

    version: int
    digests: Sequence[tuple[str, bytes]]
    token_ids: Sequence[tuple[str, str]]


def insert(connection: sa.Connection, ban: Ban) -> None:
    """Add a ban."""
    connection.execute(sa.insert(bans).values(tuple(ban)))
    versions.count_up(connection, ban_version)


def delete(connection: sa.Connection, tenant_id: str, ban_id: str) -> None:
    """Lift a ban."""
    connection.execute(sa.delete(bans).where(_b.tenant_id == tenant_id, _b.ban_id == ban_id))
    versions.count_up(connection, ban_version)


def find(
    connection: sa.Connection,
    tenant_id: str | None,
    *,
    ban_id: str | None = None,
    digest: bytes | None = None,
    token_id: str | None = None,
) -> list[Ban]:
    """Read the bans with just this ban_id, digest or token_id, of a tenant or, with None, of all."""
    named = {_b.ban_id: ban_id, _b.digest: digest, _b.token_id: token_id}
    query = _select(tenant_id).where(
        *(column == value for column, value in named.items() if value is not None)
    )
    return [Ban(*row) for row in connection.execute(query)]


def page(
    connection: sa.Connection, tenant_id: str | None, before: tuple[int, str] | None, limit: int
) -> list[Ban]:
    """Read bans, newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant; None means all.
        before: create_time and ban_id of the last one of the page before.
        limit: the most to read.
    """
    query = _select(tenant_id)
    if before is not None:
        query = query.where(sa.tuple_(_b.create_time_unix_nano, _b.ban_id) < sa.tuple_(*before))
    query = query.order_by(_b.create_time_unix_nano.desc(), _b.ban_id.desc()).limit(limit)
    return [Ban(*row) for row in connection.execute(query)]


def _select(tenant_id: str | None) -> sa.Select[Any]:
    query = sa.select(bans)
    return query if tenant_id is None else query.where(_b.tenant_id == tenant_id)


def version(connection: sa.Connection) -> int:
    """Give a number that counts up with every ban that is made or lifted."""
    return versions.get(connection, ban_version)


def banned_tokens(connection: sa.Connection, now: int) -> BannedTokens:
    """Read all that is banned, in one transaction."""
    return BannedTokens(
        version(connection),
        connection.execute(_DIGESTS).all(),
        connection.execute(_TOKEN_IDS, {"now": now}).all(),
    )


_b, _t, _a = bans.c, tokens.c, token_ancestors.c

_DIGESTS = sa.select(_b.tenant_id, _b.digest).where(_b.digest.is_not(None))


def _token_ids() -> sa.Select[str, str]:
    by_id = sa.select(_b.tenant_id, _b.token_id).where(_b.token_id.is_not(None))
    by_time = sa.select(_t.tenant_id, _t.token_id).join_from(
        tokens,
        bans,
        sa.and_(_b.tenant_id == _t.tenant_id, _t.mint_time_unix_nano < _b.minted_before_unix_nano),
    )
    by_ancestor = sa.select(_a.tenant_id, _a.token_id).join_from(
        token_ancestors,
        bans,
        sa.and_(_b.digest == _a.ancestor_digest, _b.tenant_id.in_((_a.tenant_id, _INSTALLATION))),
    )
    directly = sa.union(by_id, by_time, by_ancestor).subquery()
    banned = sa.select(directly.c.tenant_id, directly.c.token_id).cte("banned", recursive=True)
    # Digests say nothing of a minter that is banned by its id or its age.
    by_minter = sa.select(_t.tenant_id, _t.token_id).join_from(
        tokens,
        banned,
        sa.and_(_t.minter == banned.c.token_id, banned.c.tenant_id.in_((_t.tenant_id, _INSTALLATION))),
    )
    banned = banned.union(by_minter)
    is_token = sa.and_(_t.tenant_id == banned.c.tenant_id, _t.token_id == banned.c.token_id)
    return (
        sa.select(banned.c.tenant_id, banned.c.token_id)
        .join_from(banned, tokens, is_token, isouter=True)
        .where(sa.or_(_t.expire_time_unix_nano.is_(None), _t.expire_time_unix_nano > sa.bindparam("now")))
    )


_TOKEN_IDS = _token_ids()
