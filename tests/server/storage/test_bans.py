from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from spacelink_server.storage import bans, tokens
from spacelink_server.storage.bans import Ban
from spacelink_server.storage.tokens import MintedToken

if TYPE_CHECKING:
    import sqlalchemy as sa

    from spacelink_server.storage.sql_store import SqlStore

NOW = 1_000_000


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def a_ban(tenant_id: str, ban_id: str, at: int, **target: Any) -> Ban:
    return Ban(
        tenant_id,
        ban_id,
        target.get("digest"),
        target.get("token_id"),
        target.get("minted_before"),
        "leaked",
        "system",
        at,
    )


def ban(store: SqlStore, tenant_id: str, ban_id: str = "b", at: int = 0, **target: Any) -> Ban:
    made = a_ban(tenant_id, ban_id, at, **target)
    store.transact(lambda connection: bans.insert(connection, made))
    return made


def mint(
    store: SqlStore,
    tenant_id: str,
    token_id: str,
    *ancestors: str,
    minter: str = "system",
    at: int = NOW,
    expires: int | None = None,
) -> None:
    token = MintedToken(tenant_id, token_id, 1, (f"tenant = {tenant_id}",), minter, at, expires, ())
    store.transact(lambda connection: tokens.insert(connection, token, map(digest, ancestors)))


def banned_ids(store: SqlStore, now: int = NOW) -> set[tuple[str, str]]:
    found = store.read(lambda connection: bans.banned_tokens(connection, now)).token_ids
    assert len(set(found)) == len(found)
    return set(found)


def test_nothing_is_banned_at_first(store: SqlStore) -> None:
    assert store.read(bans.version) == 0
    assert store.read(lambda connection: bans.banned_tokens(connection, NOW)) == (0, [], [])


def test_every_change_counts_the_version_up(store: SqlStore) -> None:
    ban(store, "acme", "b1", digest=digest("a"))
    assert store.read(bans.version) == 1
    ban(store, "globex", "b2", token_id="t")
    assert store.read(bans.version) == 2
    store.transact(lambda connection: bans.delete(connection, "acme", "b1"))
    assert store.read(bans.version) == 3
    assert store.read(lambda connection: bans.banned_tokens(connection, NOW)) == (3, [], [("globex", "t")])


def test_a_ban_that_is_not_committed_changes_nothing(store: SqlStore) -> None:
    def fail(connection: sa.Connection) -> None:
        bans.insert(connection, a_ban("acme", "b", 0, digest=digest("a")))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.transact(fail)
    assert store.read(bans.version) == 0


def test_digests_come_with_the_tenant_of_their_ban(store: SqlStore) -> None:
    ban(store, "acme", "b1", digest=digest("a"))
    ban(store, "*", "b2", digest=digest("a"))
    found = store.read(lambda connection: bans.banned_tokens(connection, NOW))
    assert set(found.digests) == {("acme", digest("a")), ("*", digest("a"))}
    assert not found.token_ids


def test_a_banned_id_need_not_be_known(store: SqlStore) -> None:
    ban(store, "acme", token_id="t")
    assert banned_ids(store) == {("acme", "t")}


def test_tokens_minted_before(store: SqlStore) -> None:
    for token_id, at in (("early", NOW - 1), ("on time", NOW), ("late", NOW + 1)):
        mint(store, "acme", token_id, at=at)
    mint(store, "globex", "elsewhere", at=NOW - 1)
    ban(store, "acme", minted_before=NOW)
    assert banned_ids(store) == {("acme", "early")}


def test_a_ban_on_an_ancestor_bans_what_was_minted_with_it(store: SqlStore) -> None:
    mint(store, "acme", "child", "bare", "site")
    mint(store, "acme", "sibling", "bare", "other site")
    ban(store, "acme", digest=digest("site"))
    assert banned_ids(store) == {("acme", "child")}


def test_bans_of_the_installation_reach_every_tenant_and_others_do_not(store: SqlStore) -> None:
    mint(store, "acme", "a", "operator")
    mint(store, "globex", "b", "operator")
    ban(store, "acme", "b1", digest=digest("operator"))
    assert banned_ids(store) == {("acme", "a")}
    ban(store, "*", "b2", digest=digest("operator"))
    assert banned_ids(store) == {("acme", "a"), ("globex", "b")}


def test_a_ban_by_id_reaches_all_generations(store: SqlStore) -> None:
    mint(store, "*", "operator")
    mint(store, "acme", "parent", minter="operator")
    mint(store, "acme", "child", minter="parent")
    mint(store, "acme", "grandchild", minter="child")
    mint(store, "globex", "cousin", minter="operator")
    ban(store, "acme", "b1", token_id="parent")
    assert banned_ids(store) == {("acme", "parent"), ("acme", "child"), ("acme", "grandchild")}
    ban(store, "*", "b2", token_id="operator")
    assert banned_ids(store) >= {("*", "operator"), ("globex", "cousin")}


def test_another_tenants_ban_of_an_id_reaches_nobody(store: SqlStore) -> None:
    mint(store, "acme", "parent")
    mint(store, "acme", "child", minter="parent")
    ban(store, "globex", token_id="parent")
    assert banned_ids(store) == {("globex", "parent")}


def test_a_ban_by_age_reaches_what_was_minted_later_with_it(store: SqlStore) -> None:
    mint(store, "acme", "old", at=NOW - 10)
    mint(store, "acme", "young", minter="old", at=NOW + 10)
    mint(store, "acme", "independent", at=NOW + 10)
    ban(store, "acme", minted_before=NOW)
    assert banned_ids(store) == {("acme", "old"), ("acme", "young")}


def test_expired_tokens_are_left_out_but_what_they_minted_is_not(store: SqlStore) -> None:
    mint(store, "acme", "session", minter="user:ada", expires=NOW)
    mint(store, "acme", "minted", minter="session", expires=NOW + 1)
    ban(store, "acme", token_id="session")
    assert banned_ids(store, NOW - 1) == {("acme", "session"), ("acme", "minted")}
    assert banned_ids(store, NOW) == {("acme", "minted")}


def test_a_lifted_ban_is_gone(store: SqlStore) -> None:
    mint(store, "acme", "child", "site")
    made = ban(store, "acme", digest=digest("site"))
    store.transact(lambda connection: bans.delete(connection, "acme", made.ban_id))
    assert banned_ids(store) == set()
    assert store.read(lambda connection: bans.find(connection, "acme", ban_id=made.ban_id)) == []


def test_reading_bans_back(store: SqlStore) -> None:
    made = [
        ban(store, "acme", "b1", at=1, digest=digest("a")),
        ban(store, "acme", "b2", at=2, token_id="t"),
        ban(store, "acme", "b3", at=2, minted_before=NOW),
        ban(store, "acme", "b4", at=3, token_id="t"),
    ]
    other = ban(store, "globex", "b1", digest=digest("a"))

    def find(tenant_id: str | None, **target: Any) -> list[Ban]:
        return store.read(lambda connection: bans.find(connection, tenant_id, **target))

    assert find("acme", ban_id="b3") == [made[2]]
    assert find("globex", ban_id="b3") == []
    assert find("acme", digest=digest("a")) == [made[0]]
    assert find("acme", token_id="t") == [made[1], made[3]]
    assert find("globex", digest=digest("a")) == [other]
    assert find("globex", token_id="t") == []
    assert sorted(find(None, digest=digest("a"))) == [made[0], other]
    assert find(None, token_id="t") == [made[1], made[3]]


def test_pages_of_bans_are_newest_first(store: SqlStore) -> None:
    made = [ban(store, "acme", f"b{i}", at=i // 2, digest=digest(f"{i}")) for i in range(7)]
    ban(store, "globex", token_id="t")

    def page(before: tuple[int, str] | None) -> list[Ban]:
        return store.read(lambda connection: bans.page(connection, "acme", before, 3))

    read = page(None)
    for expected in (3, 6, 7, 7):
        assert len(read) == expected
        read += page((read[-1].create_time, read[-1].ban_id))
    assert read == made[::-1]
    everywhere = store.read(lambda connection: bans.page(connection, None, None, 100))
    assert len(everywhere) == 8
