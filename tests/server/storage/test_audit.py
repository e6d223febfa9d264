from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from spacelink import audit as chains
from spacelink_server.storage import audit
from spacelink_server.storage.audit import Event
from spacelink_server.storage.schema import audit_events

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore
    from spacelink_server.storage.transactions import Connection
    from tests.server.stores import Place

TENANTS = ("acme", "globex")


def append(store: SqlStore, *events: Event, tenant_id: str = "acme") -> None:
    def work(connection: Connection) -> None:
        for event in events:
            audit.append(connection, tenant_id, event)

    store.transact(work)


def lines(store: SqlStore, tenant_id: str = "acme") -> list[bytes]:
    rows = store.read(lambda connection: audit.chain(connection, tenant_id, after=0, limit=20_000))
    return [row.line for row in rows]


def test_thousands_of_events_of_concurrent_writers_are_two_chains(store: SqlStore) -> None:
    """Threads hand their work to the one that writes, as the server's calls do."""
    # Where each statement is a round trip, fewer say as much.
    turns = 50 if store.one_writer else 10
    writer = ThreadPoolExecutor(1)
    together = threading.Barrier(8)

    def write(thread: int) -> None:
        together.wait()
        for turn in range(turns):
            events = [Event(f"user:{thread}", "test", f"{turn}/{n}", detail={"n": n}) for n in range(25)]
            tenant_id = TENANTS[(thread + turn) % 2]
            writer.submit(append, store, *events, tenant_id=tenant_id).result()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    writer.shutdown()
    exports = {tenant_id: lines(store, tenant_id) for tenant_id in TENANTS}
    for exported in exports.values():
        assert chains.verify(exported) == chains.Verification(
            100 * turns, json.loads(exported[-1])["event_hash"]
        )
    seen = {
        (event["actor"], event["resource"]) for chain in exports.values() for event in map(json.loads, chain)
    }
    assert len(seen) == 200 * turns


def test_an_event_holds_all_that_was_said(store: SqlStore) -> None:
    detail: dict[str, chains.Json] = {"text": 'é\u2028"\\\x00\U0001f600', "list": [1, {"b": True, "a": None}]}
    append(store, Event("user:ä", "test.é", "thing", "REFUSED", detail))
    (line,) = lines(store)
    event = json.loads(line)
    assert {key: event[key] for key in ("actor", "action", "resource", "outcome", "detail")} == {
        "actor": "user:ä",
        "action": "test.é",
        "resource": "thing",
        "outcome": "REFUSED",
        "detail": detail,
    }
    assert chains.verify([line]).intact


def test_a_chain_goes_on_after_a_restart(place: Place) -> None:
    for _ in range(3):
        store = place.open()
        append(store, Event("system", "test", "thing"))
        found = chains.verify(lines(store))
        store.close()
    assert (found.intact, found.event_count) == (True, 3)


def test_a_sequence_cannot_be_taken_twice(store: SqlStore) -> None:
    append(store, Event("system", "test", "thing"))
    row = ("acme", 1, "test", "{}", b"")
    with pytest.raises(sa.exc.IntegrityError):
        store.transact(lambda connection: connection.execute(sa.insert(audit_events).values(row)))
    append(store, Event("system", "test", "thing"))
    assert chains.verify(lines(store)).event_count == 2


def test_what_has_no_canonical_form_is_not_recorded(store: SqlStore) -> None:
    with pytest.raises(ValueError, match=r"2\*\*53"):
        append(store, Event("system", "test", "thing", detail={"n": 2**60}))
    assert lines(store) == []
