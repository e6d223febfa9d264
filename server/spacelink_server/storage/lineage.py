"""Which tokens were presented, and from which they descend. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import token_uses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


class TokenUse(NamedTuple):
    """How often a token was presented of late.

    Attributes:
        tenant_id: the tenant that issued it; "*" is the installation.
        token_id: its id.
        digests: SHA-256 of its prefix signatures, the bare token's first.
        caveats: their texts, one fewer.
        use_count: how often.
        first_time: the first time of these.
        last_time: the last time of these.
    """

    tenant_id: str
    token_id: str
    digests: tuple[bytes, ...]
    caveats: tuple[str, ...]
    use_count: int
    first_time: int
    last_time: int


class TokenNode(NamedTuple):
    """A token that was presented, or a prefix of one.

    Attributes:
        tenant_id: the tenant that issued it; "*" is the installation.
        digest: SHA-256 of its signature.
        parent_digest: that of the token without its last caveat; None for a
            bare one.
        token_id: its id, which it shares with its parent.
        caveat: the last one; empty for a bare token.
        use_count: how often just this one was presented.
        first_use_time: the first time; of a prefix that never was presented
            when the first token with it was.
        last_use_time: likewise the last time.
    """

    tenant_id: str
    digest: bytes
    parent_digest: bytes | None
    token_id: str
    caveat: str
    use_count: int
    first_use_time: int
    last_use_time: int


def record(connection: sa.Connection, uses: Sequence[TokenUse]) -> list[TokenUse]:
    """Count uses in a write transaction.

    Returns:
        Those of tokens that had never been presented before.
    """
    nodes = {(node.tenant_id, node.digest): node for use in uses for node in _nodes(use)}
    counts = _use_counts(connection, nodes)
    missing = [tuple(node) for name, node in nodes.items() if name not in counts]
    if missing:
        connection.execute(_INSERT, [dict(zip(_COLUMNS, row, strict=True)) for row in missing])
    news = [use for use in uses if not counts.get((use.tenant_id, use.digests[-1]))]
    if news:
        connection.execute(_FIRST_USE, [_parameters(use) for use in news])
    if uses:
        connection.execute(_USE, [_parameters(use) for use in uses])
    return news


def graph(
    connection: sa.Connection, issuers: Collection[str] | None = None, token_id: str = ""
) -> list[TokenNode]:
    """Read what was seen of tokens, parents before their children.

    Args:
        connection: in any transaction.
        issuers: the tenants that issued them; None means all, and the installation.
        token_id: only what descends from this one; empty means all.
    """
    query = sa.select(token_uses)
    if issuers is not None:
        query = query.where(_u.tenant_id.in_(issuers))
    if token_id:
        query = query.where(_u.token_id == token_id)
    roots: list[TokenNode] = []
    children: defaultdict[tuple[str, bytes], list[TokenNode]] = defaultdict(list)
    for row in connection.execute(query.order_by(_u.first_use_time_unix_nano, _u.digest)):
        node = TokenNode(*row)
        parent = node.parent_digest
        (roots if parent is None else children[node.tenant_id, parent]).append(node)
    for node in roots:
        roots.extend(children[node.tenant_id, node.digest])
    return roots


_u = token_uses.c
_COLUMNS = tuple(column.name for column in _u)
_INSERT = sa.insert(token_uses)
_IS = (_u.tenant_id == sa.bindparam("tenant"), _u.digest == sa.bindparam("of"))
_FIRST_USE = sa.update(token_uses).where(*_IS).values(first_use_time_unix_nano=sa.bindparam("first"))
_USE = (
    sa.update(token_uses)
    .where(*_IS)
    .values(use_count=_u.use_count + sa.bindparam("uses"), last_use_time_unix_nano=sa.bindparam("last"))
)


def _nodes(use: TokenUse) -> Iterable[TokenNode]:
    for place, digest in enumerate(use.digests):
        parent = use.digests[place - 1] if place else None
        caveat = use.caveats[place - 1] if place else ""
        yield TokenNode(
            use.tenant_id, digest, parent, use.token_id, caveat, 0, use.first_time, use.first_time
        )


def _use_counts(
    connection: sa.Connection, names: Iterable[tuple[str, bytes]]
) -> dict[tuple[str, bytes], int]:
    """Read how often tokens were presented; those that are not stored are left out."""
    digests: defaultdict[str, list[bytes]] = defaultdict(list)
    for tenant_id, digest in names:
        digests[tenant_id].append(digest)
    counts: dict[tuple[str, bytes], int] = {}
    for tenant_id, wanted in digests.items():
        query = sa.select(_u.digest, _u.use_count)
        rows = connection.execute(query.where(_u.tenant_id == tenant_id, _u.digest.in_(wanted)))
        counts.update({(tenant_id, digest): count for digest, count in rows})
    return counts


def _parameters(use: TokenUse) -> dict[str, object]:
    return {
        "tenant": use.tenant_id,
        "of": use.digests[-1],
        "uses": use.use_count,
        "first": use.first_time,
        "last": use.last_time,
    }
