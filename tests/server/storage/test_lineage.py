from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from spacelink_server.storage import lineage
from spacelink_server.storage.lineage import TokenNode, TokenUse

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore

    pass


def digest(token_id: str, *caveats: str) -> bytes:
    return hashlib.sha256(repr((token_id, caveats)).encode()).digest()


def use(
    token_id: str, *caveats: str, tenant_id: str = "acme", count: int = 1, first: int = 1, last: int = 1
) -> TokenUse:
    digests = tuple(digest(token_id, *caveats[:end]) for end in range(len(caveats) + 1))
    return TokenUse(tenant_id, token_id, digests, caveats, count, first, last)


def record(store: SqlStore, *uses: TokenUse) -> list[TokenUse]:
    return store.transact(lambda connection: lineage.record(connection, uses))


def graph(store: SqlStore, *issuers: str, token_id: str = "") -> list[TokenNode]:
    return store.read(lambda connection: lineage.graph(connection, issuers or None, token_id))


def test_a_token_is_stored_with_its_prefixes(store: SqlStore) -> None:
    record(store, use("t", "a", "b", count=3, first=10, last=20))
    assert graph(store) == [
        TokenNode("acme", digest("t"), None, "t", "", 0, 10, 10),
        TokenNode("acme", digest("t", "a"), digest("t"), "t", "a", 0, 10, 10),
        TokenNode("acme", digest("t", "a", "b"), digest("t", "a"), "t", "b", 3, 10, 20),
    ]


def test_counts_add_up(store: SqlStore) -> None:
    record(store, use("t", "a", count=2, first=1, last=5))
    record(store, use("t", "a", count=3, first=6, last=7), use("t", "a", "b", first=8, last=8))
    assert [(node.use_count, node.first_use_time, node.last_use_time) for node in graph(store)] == [
        (0, 1, 1),
        (5, 1, 7),
        (1, 8, 8),
    ]


def test_what_is_new_is_told_once(store: SqlStore) -> None:
    leaf, parent = use("t", "a", "b"), use("t", "a", first=9)
    assert record(store, leaf) == [leaf]
    assert record(store, leaf) == []
    # Seen as a prefix, but never presented.
    assert record(store, leaf, parent) == [parent]
    assert record(store, parent) == []
    assert {node.caveat: node.first_use_time for node in graph(store)} == {"": 1, "a": 9, "b": 1}


def test_parents_come_before_their_children(store: SqlStore) -> None:
    uses = [use("t", *"abc"[:depth], f"leaf-{i}", first=10 - i) for i in range(5) for depth in range(4)]
    record(store, *uses, use("u"), use("v", "x", "y"))
    record(store, use("t", "a", "b", first=99))
    nodes = graph(store)
    seen: set[bytes | None] = {None}
    for node in nodes:
        assert node.parent_digest in seen
        seen.add(node.digest)
    assert len(nodes) == len(seen) - 1 == 4 + 20 + 1 + 3


def test_tenants_and_tokens_are_kept_apart(store: SqlStore) -> None:
    record(store, use("t", "a"), use("u", "a"), use("t", "a", tenant_id="globex", count=7))
    assert [node.tenant_id for node in graph(store, "acme")] == ["acme"] * 4
    assert [node.caveat for node in graph(store, "acme", token_id="u")] == ["", "a"]
    assert [node.use_count for node in graph(store, "globex")] == [0, 7]
    assert graph(store, "initech") == []
    assert graph(store, "acme", token_id="nothing") == []
    everything = graph(store, "acme", "globex", "initech")
    assert len(everything) == 6
    assert everything == graph(store)
    assert {(node.tenant_id, node.digest) for node in everything if node.parent_digest} == {
        ("acme", digest("t", "a")),
        ("acme", digest("u", "a")),
        ("globex", digest("t", "a")),
    }


def test_nothing_to_record(store: SqlStore) -> None:
    assert record(store) == []
    assert graph(store) == []
