from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink_server.storage import tokens
from spacelink_server.storage.tokens import InheritedLimit, MintedToken

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore

    pass


def token(
    n: int, tenant_id: str = "acme", minter: str = "system", expire_time: int | None = None
) -> MintedToken:
    limit = InheritedLimit("*", bytes([n]) * 32, "quota = 1/day")
    caveats = (f"tenant = {tenant_id}", "label = a")
    return MintedToken(tenant_id, f"{n:032x}", 3, caveats, minter, 1000 + n // 2, expire_time, (limit, limit))


def insert(store: SqlStore, row: MintedToken, *ancestors: bytes) -> None:
    store.transact(lambda connection: tokens.insert(connection, row, ancestors))


def test_a_token_is_read_as_it_was_stored(store: SqlStore) -> None:
    rows = [token(1), token(1, "globex", expire_time=5), token(2)._replace(inherited_limits=())]
    for row in rows:
        insert(store, row)
    for row in rows:
        assert store.read(lambda c, row=row: tokens.get(c, *row[:2])) == row  # type: ignore[misc]
    assert store.read(lambda c: tokens.get(c, "initech", rows[0].token_id)) is None
    ids = [row.token_id for row in rows]
    assert store.read(lambda c: tokens.get_many(c, "acme", [*ids, "x"])) == {
        ids[0]: rows[0],
        ids[2]: rows[2],
    }
    assert store.read(lambda c: tokens.get_many(c, "acme", [])) == {}


def test_ancestors_are_stored_once_each(store: SqlStore) -> None:
    insert(store, token(1), b"a" * 32, b"b" * 32, b"a" * 32)
    insert(store, token(2))
    assert sorted(store.read(lambda c: tokens.ancestors(c, "acme", token(1).token_id))) == [
        b"a" * 32,
        b"b" * 32,
    ]
    assert store.read(lambda c: tokens.ancestors(c, "acme", token(2).token_id)) == []


def test_pages_cover_tokens_minted_at_the_same_time(store: SqlStore) -> None:
    rows = [token(n) for n in range(7)]
    for row in (*rows, token(3, "globex")):
        insert(store, row)
    found: list[MintedToken] = []
    before = None
    while page := store.read(lambda c, before=before: tokens.page(c, "acme", before, 3)):  # type: ignore[misc]
        found += page
        before = (page[-1].mint_time, page[-1].token_id)
    assert found == rows[::-1]


def test_live_tokens_are_those_of_a_minter_that_have_not_expired(store: SqlStore) -> None:
    for n, (minter, expire_time) in enumerate(
        [("user:a", 101), ("user:a", 100), ("user:a", None), ("user:b", None), ("user:a", 99)]
    ):
        insert(store, token(n, minter=minter, expire_time=expire_time))
    insert(store, token(9, "globex", "user:a"))
    live = store.read(lambda c: tokens.live_ids(c, "acme", "user:a", 100))
    assert sorted(live) == [token(0).token_id, token(2).token_id]
