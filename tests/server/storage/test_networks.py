from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink_server.storage import networks
from spacelink_server.storage.networks import Network, ScoreProfile

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore


def network(network_id: str, **changes: object) -> Network:
    return Network(network_id, "Nörd", {"period": "x", "target": 99.9}, "leo", 5)._replace(**changes)  # type: ignore[arg-type]


def insert(store: SqlStore, tenant_id: str, *rows: Network) -> None:
    for row in rows:
        store.transact(lambda c, row=row: networks.insert(c, tenant_id, row))  # type: ignore[misc]


def test_a_network_is_read_as_it_was_stored(either_store: SqlStore) -> None:
    row = network("net_1")
    insert(either_store, "acme", row)
    insert(either_store, "globex", network("net_1", display_name="other"))
    assert either_store.read(lambda c: networks.get(c, "acme", "net_1")) == row
    assert either_store.read(lambda c: networks.get(c, "acme", "net_2")) is None
    changed = row._replace(display_name="new", sla={}, profile_id="")
    either_store.transact(lambda c: networks.update(c, "acme", changed))
    assert either_store.read(lambda c: networks.get(c, "acme", "net_1")) == changed
    other = either_store.read(lambda c: networks.get(c, "globex", "net_1"))
    assert other is not None
    assert other.display_name == "other"


def test_pages_are_in_order_and_of_the_tenant(either_store: SqlStore) -> None:
    rows = [network(name) for name in ("B", "a", "c", "d")]
    insert(either_store, "acme", *rows[::-1])
    insert(either_store, "globex", network("b"))

    def page(wanted: tuple[str, ...], after: str, limit: int) -> list[str]:
        found = either_store.read(lambda c: networks.page(c, "acme", wanted, after, limit))
        return [row.network_id for row in found]

    assert page((), "", 3) == ["B", "a", "c"]
    assert page((), "a", 3) == ["c", "d"]
    assert page(("d", "B", "b"), "", 3) == ["B", "d"]


def test_devices_come_and_go(either_store: SqlStore) -> None:
    def ids(network_id: str, **options: object) -> list[str]:
        return either_store.read(lambda c: networks.device_ids(c, "acme", network_id, **options))  # type: ignore[arg-type]

    many = [f"dish-{n:05d}" for n in range(2500)]
    either_store.transact(lambda c: networks.add_devices(c, "acme", "n", many))
    either_store.transact(lambda c: networks.add_devices(c, "acme", "m", many[:1]))
    either_store.transact(lambda c: networks.add_devices(c, "globex", "n", ["x"]))
    either_store.transact(lambda c: networks.add_devices(c, "acme", "n", []))
    assert ids("n") == many
    assert ids("n", after=many[4], limit=2) == many[5:7]
    either_store.transact(lambda c: networks.remove_devices(c, "acme", "n", [*many[:2499], "x"]))
    either_store.transact(lambda c: networks.remove_devices(c, "acme", "n", []))
    assert ids("n") == many[2499:]
    counts = either_store.read(lambda c: networks.device_counts(c, "acme", ["n", "m", "none"]))
    assert counts == {"n": 1, "m": 1}


def test_profiles_are_read_as_they_were_stored(either_store: SqlStore) -> None:
    rows = [ScoreProfile(name, {"latency": [1.5]}, 7) for name in ("a", "b", "c")]
    for row in rows:
        either_store.transact(lambda c, row=row: networks.insert_profile(c, "acme", row))  # type: ignore[misc]
    assert either_store.read(lambda c: networks.get_profile(c, "acme", "b")) == rows[1]
    assert either_store.read(lambda c: networks.get_profile(c, "globex", "b")) is None
    assert either_store.read(lambda c: networks.profile_page(c, "acme", "a", 1)) == rows[1:2]
    assert either_store.read(lambda c: networks.profile_page(c, "acme", "", 9)) == rows
