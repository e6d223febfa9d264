from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from spacelink_server.storage import incidents, networks
from spacelink_server.storage.incidents import Incident, IncidentFilter

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore
    from tests.server.stores import Place

FOREVER = 2**63 - 1
ALL = IncidentFilter("", (), -FOREVER, FOREVER, open_only=False)


def incident(n: int, device_id: str = "d", cause: int = 1, start: int = 100) -> Incident:
    return Incident(f"{n:032x}", device_id, cause, start, start + 5, None, 1.5, 0.5)


def opened(store: SqlStore, row: Incident, tenant_id: str = "acme") -> bool:
    return store.transact(lambda c: incidents.open_incident(c, tenant_id, row))


def closed(
    store: SqlStore, end: int, device_id: str = "d", cause: int = 1, tenant_id: str = "acme"
) -> Incident | None:
    return store.transact(lambda c: incidents.close_incident(c, tenant_id, device_id, cause, end))


def listed(store: SqlStore, wanted: IncidentFilter = ALL) -> list[Incident]:
    return store.read(lambda c: incidents.page(c, "acme", wanted, None, 100))


def test_one_is_open_for_each_device_and_cause(either_store: SqlStore) -> None:
    assert opened(either_store, incident(1))
    assert not opened(either_store, incident(2, start=200))
    assert opened(either_store, incident(3, cause=2))
    assert opened(either_store, incident(4, device_id="e"))
    assert opened(either_store, incident(1), tenant_id="globex")
    found = either_store.read(lambda c: incidents.open_of(c, "acme", ["d", "x"]))
    assert sorted(found) == [incident(1), incident(3, cause=2)]


def test_what_is_over_is_opened_again_only_later(either_store: SqlStore) -> None:
    opened(either_store, incident(1, start=100))
    assert closed(either_store, 150) == incident(1)._replace(end_time=150)
    assert closed(either_store, 160) is None
    # Found anew after a restart, it is the one that was there.
    assert not opened(either_store, incident(2, start=110))
    assert opened(either_store, incident(3, start=150))


def test_the_end_of_an_earlier_one_closes_nothing(either_store: SqlStore) -> None:
    opened(either_store, incident(1, start=100))
    assert closed(either_store, 99) is None
    assert listed(either_store) == [incident(1)]


def test_pages_are_newest_first_and_filtered(either_store: SqlStore) -> None:
    rows = [incident(n, device_id=f"d{n}", start=100 * (n // 2)) for n in range(1, 7)]
    for row in rows:
        opened(either_store, row)
    closed(either_store, 150, device_id="d2")
    either_store.transact(lambda c: networks.add_devices(c, "acme", "net", ["d2", "d5"]))
    either_store.transact(lambda c: networks.add_devices(c, "globex", "net", ["d1"]))

    def ids(wanted: IncidentFilter) -> list[str]:
        return [row.device_id for row in listed(either_store, wanted)]

    assert ids(ALL) == ["d6", "d5", "d4", "d3", "d2", "d1"]
    assert ids(ALL._replace(open_only=True)) == ["d6", "d5", "d4", "d3", "d1"]
    assert ids(ALL._replace(network_id="net")) == ["d5", "d2"]
    assert ids(ALL._replace(device_ids=["d1", "d2"])) == ["d2", "d1"]
    assert ids(ALL._replace(start=150, end=300)) == ["d5", "d4", "d3", "d1"]
    assert ids(ALL._replace(start=149)) == ["d6", "d5", "d4", "d3", "d2", "d1"]
    seen: list[Incident] = []
    before = None
    while page := either_store.read(lambda c, before=before: incidents.page(c, "acme", ALL, before, 2)):  # type: ignore[misc]
        seen += page
        before = (page[-1].start_time, page[-1].incident_id)
    assert seen == listed(either_store)


def test_servers_that_race_open_one(place: Place, request: pytest.FixtureRequest) -> None:
    """Each server of a shared store has a connection of its own; an embedded store has one server."""
    stores = [place.open() for _ in range(1 if "sqlite" in request.node.name else 4)]
    start = Barrier(len(stores))

    def race(number: int) -> bool:
        start.wait()
        return opened(stores[number], incident(number))

    with ThreadPoolExecutor(len(stores)) as threads:
        won = list(threads.map(race, range(len(stores))))
    found = listed(stores[0])
    for store in stores:
        store.close()
    assert won.count(True) == 1
    assert len(found) == 1
