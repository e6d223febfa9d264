from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from spacelink.v1 import network_pb2 as pb
from spacelink.v1.partner_pb2 import WEBHOOK_PAYLOAD_SPACELINK
from spacelink_server.access.writes import Database
from spacelink_server.networks import catalog, terms
from spacelink_server.networks.alerts import SlaAlerts
from spacelink_server.networks.history import History
from spacelink_server.storage import audit, networks, outbox, sla_alerts, tenants, webhooks
from spacelink_server.storage.networks import Network
from spacelink_server.storage.tenants import Tenant
from spacelink_server.storage.webhooks import SecretVersion, Webhook
from tests.server.samples import SECOND, T0
from tests.server.stored_telemetry import put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink_server.storage.sql_store import SqlStore

HOUR = 3600
DAY = 24 * HOUR
# A day of which 1 % may be lost: 14.4 minutes.
SLA = pb.Sla(availability_target_percent=99, period=pb.SLA_PERIOD_DAY, max_sample_gap=Duration(seconds=60))


class Installation:
    """A tenant with a network and a webhook; telemetry comes every half minute."""

    def __init__(self, store: SqlStore, threads: ThreadPoolExecutor) -> None:
        self.store = store
        self.now = 0
        self._threads = threads
        stored = catalog.to_json(terms.terms_of(SLA, "sla").message)
        store.transact(lambda c: tenants.insert(c, Tenant("acme", "", 0, 0, (), 0)))
        store.transact(lambda c: networks.insert(c, "acme", Network("north", "", stored, "", 0)))
        store.transact(lambda c: networks.add_devices(c, "acme", "north", ["d", "e"]))

    def server(self) -> SlaAlerts:
        database = Database(self.store, self._threads, self._threads)
        history = History(self.store, self._threads)
        return SlaAlerts(database, history, lambda: T0 + self.now * SECOND)

    def add_webhook(self, *event_types: str) -> None:
        secrets = (SecretVersion(1, None),)
        payload = WEBHOOK_PAYLOAD_SPACELINK
        hook = Webhook("acme", "h", "", "https://h", event_types, payload, secrets, 0, "", None, 0)
        self.store.transact(lambda c: webhooks.insert(c, hook))

    def play(self, device_id: str, minutes: float, status: str = "ACTIVE") -> None:
        """Let time pass in which a device sends."""
        end = self.now + round(minutes * 60)
        put(self.store, device_id, range(self.now, end, 30), tenant_id="acme", status=status)
        self.now = end

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        events = self.store.read(lambda c: outbox.page(c, "acme", "h", None, 9, dead_only=False))
        return [(event.event_type, json.loads(event.data)) for event in events[::-1]]


@pytest.fixture
def installation(either_store: SqlStore) -> Iterator[Installation]:
    with ThreadPoolExecutor(1) as threads:
        yield Installation(either_store, threads)


async def test_each_level_is_announced_once_in_a_period(installation: Installation) -> None:
    installation.add_webhook()
    servers = [installation.server() for _ in range(2)]

    async def look() -> list[str]:
        """Let both servers look, and then one that was just started."""
        await asyncio.gather(*(server.look() for server in servers))
        await installation.server().look()
        return [event_type for event_type, _ in installation.told()]

    installation.play("d", 60)
    installation.play("d", 11, "OFFLINE")
    assert await look() == []
    installation.play("d", 1, "OFFLINE")
    assert await look() == ["sla.at_risk"]
    installation.play("d", 2, "OFFLINE")
    assert await look() == ["sla.at_risk"]
    installation.play("d", 2, "OFFLINE")
    assert await look() == ["sla.at_risk", "sla.breached"]
    installation.play("d", 60)
    assert await look() == ["sla.at_risk", "sla.breached"]

    chain = installation.store.read(lambda c: audit.page(c, "acme", limit=10))
    assert [event.action for event in chain] == ["sla.breached", "sla.at_risk"]

    installation.now = DAY
    installation.play("d", 30, "OFFLINE")
    # At once, and so it was never at risk.
    assert (await look())[2:] == ["sla.breached"]


async def test_what_is_said(installation: Installation) -> None:
    installation.add_webhook()
    installation.play("d", 60)
    installation.play("d", 20, "OFFLINE")
    installation.play("d", 10)
    await installation.server().look()
    ((event_type, data),) = installation.told()
    assert event_type == "sla.breached"
    # Of the 90 minutes so far, 20 were lost.
    assert data.pop("availability_percent") == pytest.approx(100 * 70 / 90, abs=1e-9)
    assert data == {
        "network_id": "north",
        "period_start_time": "2025-01-01T00:00:00.000000000Z",
        "period_end_time": "2025-01-02T00:00:00.000000000Z",
        "availability_target_percent": 99,
        "worst_device_id": "d",
        "error_budget_minutes": pytest.approx(14.4),
        "error_budget_used_minutes": 20,
        "device_count": 1,
    }
    (event,) = installation.store.read(lambda c: outbox.page(c, "acme", "h", None, 9, dead_only=False))
    assert event.ordering_key == "north"


@pytest.mark.parametrize("wanted", [(), ("sla.breached",), ("incident.opened",)])
async def test_who_asks_for_it_is_told(installation: Installation, wanted: tuple[str, ...]) -> None:
    installation.play("d", 20, "OFFLINE")
    await installation.server().look()
    # Nobody asked, so that nothing counts as announced yet.
    installation.add_webhook(*wanted)
    await installation.server().look()
    expected = [] if "incident.opened" in wanted else ["sla.breached"]
    assert [event_type for event_type, _ in installation.told()] == expected


async def test_changed_terms_are_judged_anew(installation: Installation) -> None:
    installation.add_webhook()
    installation.play("d", 20, "OFFLINE")
    await installation.server().look()
    installation.store.transact(lambda c: sla_alerts.forget(c, "acme", "north"))
    await installation.server().look()
    assert [event_type for event_type, _ in installation.told()] == ["sla.breached"] * 2
