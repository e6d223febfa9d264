from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink._times import nanos
from spacelink.v1 import network_pb2 as pb
from spacelink.v1.partner_pb2 import WEBHOOK_PAYLOAD_SPACELINK
from spacelink_server.access.writes import Database
from spacelink_server.errors import UnavailableError
from spacelink_server.networks import detection, watch
from spacelink_server.networks.detection import IncidentDetection
from spacelink_server.storage import audit, incidents, outbox, tenants, webhooks
from spacelink_server.storage.incidents import Incident, IncidentFilter
from spacelink_server.storage.store import CommitGroup, StoreUnavailableError, Submission
from spacelink_server.storage.tenants import Tenant
from spacelink_server.storage.webhooks import SecretVersion, Webhook
from tests.server.samples import SECOND, T0, segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spacelink_server.storage.sqlite import SqliteStore

ALL = IncidentFilter("", (), 0, 2**63 - 1, open_only=False)
LOSS = pb.INCIDENT_CAUSE_PACKET_LOSS
LATENCY = pb.INCIDENT_CAUSE_LATENCY
SILENCE = pb.INCIDENT_CAUSE_SILENCE


class Server:
    """A server's detection, and the clock it goes by."""

    def __init__(self, store: SqliteStore, threads: ThreadPoolExecutor) -> None:
        self.store = store
        self.now = 0
        database = Database(store, threads, threads)
        self.detection = IncidentDetection(store, database, threads, lambda: T0 + self.now * SECOND)

    def commit(self, device_id: str, offsets: Sequence[int], **columns: Any) -> None:
        """Commit samples at offsets in seconds from T0, as they were just received."""
        made = segments(device_id, [offset * SECOND for offset in offsets], **columns)
        self.store.commit(CommitGroup(submissions=[Submission("acme", "", made)]))
        self.now = max(self.now, offsets[-1] + 1)
        self.detection.observe("acme", made)

    async def play(self, device_id: str, start: int, end: int, **values: float | str) -> None:
        """Commit a sample each second, a few seconds at a time, and let it be judged."""
        given = {"latency_ms": 25.0, "packet_loss_percent": 0.0, "status": "ACTIVE", **values}
        for first in range(start, end, 600):
            offsets = range(first, min(first + 600, end))
            columns = {
                name: value if isinstance(value, str) else np.full(len(offsets), value)
                for name, value in given.items()
            }
            self.commit(device_id, offsets, **columns)
        await self.detection.step()

    def found(self, *causes: int) -> list[Incident]:
        """Give the stored incidents, the oldest first."""
        every = self.store.read(lambda c: incidents.page(c, "acme", ALL, None, 100))
        return [each for each in every[::-1] if not causes or each.cause in causes]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def server(store: SqliteStore, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(detection, "_SILENCE_STEPS", 1)
    store.transact(lambda c: tenants.insert(c, Tenant("acme", "", 0, 0, (), 0)))
    return Server(store, threads)


def seconds(time: int | None) -> int:
    assert time is not None
    return (time - T0) // SECOND


async def test_an_outage_opens_and_closes_one_incident(server: Server) -> None:
    await server.play("d", 0, 1200)
    await server.play("d", 1200, 1230, packet_loss_percent=100.0)
    await server.play("d", 1230, 1290)
    (found,) = server.found()
    assert (found.device_id, found.cause) == ("d", LOSS)
    assert seconds(found.detect_time) - 1200 <= 60
    await server.play("d", 1290, 1800)
    (closed,) = server.found()
    assert closed == found._replace(end_time=closed.end_time)
    assert 1230 <= seconds(closed.end_time) <= 1230 + 120
    chain = server.store.read(lambda c: audit.page(c, "acme", limit=10))
    assert [event.action for event in chain] == ["incident.close", "incident.open"]


async def test_a_step_of_latency_is_found(server: Server) -> None:
    await server.play("d", 0, 3600)
    await server.play("d", 3600, 3900, latency_ms=85.0)
    (found,) = server.found()
    assert found.cause == LATENCY
    assert seconds(found.detect_time) - 3600 <= 75
    assert found.measured == pytest.approx(85)
    assert found.end_time is None


async def test_a_healthy_device_has_none(server: Server) -> None:
    await server.play("d", 0, 7200)
    assert server.found() == []


async def test_silence_opens_and_samples_close_it(server: Server) -> None:
    await server.play("d", 0, 60)
    server.now = 100
    await server.detection.step()
    assert server.found() == []
    server.now = 200
    await server.detection.step()
    (found,) = server.found()
    assert (found.cause, found.end_time) == (SILENCE, None)
    await server.detection.step()
    assert server.found() == [found]
    await server.play("d", 300, 310)
    (closed,) = server.found()
    assert seconds(closed.end_time) == 310


async def test_webhooks_are_told(server: Server) -> None:
    hook = Webhook(
        "acme", "h", "", "https://h", (), WEBHOOK_PAYLOAD_SPACELINK, (SecretVersion(1, None),), 0, "", None, 0
    )
    server.store.transact(lambda c: webhooks.insert(c, hook))
    await server.play("d", 0, 60)
    server.now = 200
    await server.detection.step()
    await server.play("d", 300, 310)
    (found,) = server.found()
    told = server.store.read(lambda c: outbox.page(c, "acme", "h", None, 9, dead_only=False))[::-1]
    assert [event.event_type for event in told] == [
        "incident.opened",
        "device.silent",
        "incident.closed",
        "device.back",
    ]
    assert {event.ordering_key for event in told} == {"d"}
    opened, closed = json.loads(told[0].data), json.loads(told[2].data)
    assert opened["incident_id"] == closed["incident_id"] == found.incident_id
    assert (opened["cause"], opened["device_id"]) == ("silence", "d")
    assert nanos(opened["start_time"]) == found.start_time
    assert nanos(closed["end_time"]) == found.end_time
    assert "end_time" not in opened


async def test_a_restarted_server_goes_on(
    server: Server, threads: ThreadPoolExecutor, store: SqliteStore
) -> None:
    await server.play("d", 0, 3600)
    await server.play("d", 3600, 3700, latency_ms=85.0)
    (found,) = server.found()
    again = Server(store, threads)
    again.now = server.now
    await again.play("d", 3700, 3800, latency_ms=85.0)
    assert again.found() == [found]
    await again.play("d", 3800, 4000)
    (closed,) = again.found()
    assert closed == found._replace(end_time=closed.end_time)


async def test_what_was_committed_but_not_judged_is_judged_after_a_restart(
    server: Server, threads: ThreadPoolExecutor, store: SqliteStore
) -> None:
    await server.play("d", 0, 1200)
    offsets = range(1200, 1260)
    server.commit("d", offsets, packet_loss_percent=np.full(60, 100.0))  # and it stops
    again = Server(store, threads)
    again.now = server.now
    await again.play("d", 1260, 1500)
    (found,) = again.found(LOSS)
    assert (seconds(found.start_time) - 1200) in range(-15, 16)
    assert found.end_time is not None


async def test_silence_that_began_before_a_restart_is_found(
    server: Server, threads: ThreadPoolExecutor, store: SqliteStore
) -> None:
    await server.play("d", 0, 60)
    again = Server(store, threads)
    again.now = 1000
    await again.detection.step()
    assert again.found() == []  # it may come back in a moment
    again.now = 1100
    await again.detection.step()
    (found,) = again.found()
    assert (found.cause, seconds(found.start_time)) == (SILENCE, 59)
    # Another server knows of it, and closes it.
    third = Server(store, threads)
    await third.play("d", 1200, 1210)
    assert third.found()[0].end_time is not None


async def test_devices_out_of_service_are_not_silent(
    server: Server, threads: ThreadPoolExecutor, store: SqliteStore
) -> None:
    await server.play("d", 0, 60)
    again = Server(store, threads)
    for again.now in (2 * 86_400, 2 * 86_400 + 100):
        await again.detection.step()
    assert again.found() == []


async def test_servers_that_see_the_same_open_one(
    server: Server, threads: ThreadPoolExecutor, store: SqliteStore
) -> None:
    other = Server(store, threads)
    await server.play("d", 0, 1200)
    made = segments("d", [offset * SECOND for offset in range(1200, 1300)], packet_loss_percent=[100.0] * 100)
    store.commit(CommitGroup(submissions=[Submission("acme", "", made)]))
    for each in (server, other):
        each.now = 1300
        each.detection.observe("acme", made)
    await asyncio.gather(server.detection.step(), other.detection.step())
    assert len(server.found(LOSS)) == 1


async def test_a_device_that_moved_to_another_server_is_not_silent(
    server: Server, threads: ThreadPoolExecutor, store: SqliteStore
) -> None:
    other = Server(store, threads)
    await server.play("d", 0, 60)
    await other.play("d", 60, 120)
    server.now = other.now = 125
    await server.detection.step()
    assert server.found() == []


async def test_what_the_store_refused_is_written_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.play("d", 0, 600)

    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailableError("full")

    with monkeypatch.context() as patch:
        patch.setattr(server.store, "transact", refuse)
        server.commit("d", range(600, 700), packet_loss_percent=[100.0] * 100)
        with pytest.raises(UnavailableError):
            await server.detection.step()
    assert server.found() == []
    await server.detection.step()
    assert [found.cause for found in server.found()] == [LOSS]


async def test_too_much_at_once_goes_unjudged(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(detection, "_MAX_WAITING_BYTES", 1)
    server.commit("a", range(60), latency_ms=[1.0] * 60)
    server.commit("b", range(60), latency_ms=[1.0] * 60)
    await server.detection.step()
    assert "1 batches are not searched" in caplog.text
    assert server.detection.left_out == 1
    caplog.clear()
    await server.detection.step()
    assert "not searched" not in caplog.text


async def test_devices_that_come_all_at_once_are_prepared_a_few_at_a_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_PREPARED_AT_ONCE", 2)
    for number in range(5):
        server.commit(f"d{number}", range(100), packet_loss_percent=[100.0] * 100)
    for _ in range(3):
        await server.detection.step()
    assert sorted(found.device_id for found in server.found(LOSS)) == [f"d{number}" for number in range(5)]
