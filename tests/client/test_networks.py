"""The SDK's calls about networks against the server's own service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spacelink import AsyncSpaceLinkClient
from spacelink._network_messages import from_message, to_message
from spacelink.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from spacelink.networks import (
    Incident,
    LatencyRequirement,
    LossRequirement,
    MaintenanceWindow,
    Network,
    Objective,
    ScoreProfile,
    Sla,
)
from spacelink.v1 import network_pb2 as pb
from spacelink_server.storage import incidents
from tests.server.installation import Installation, running
from tests.server.samples import SECOND, T0
from tests.server.stored_telemetry import put_steady
from tests.server.stores import Place

START = datetime(2025, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

SLA = Sla(
    availability_target_percent=99.5,
    period="quarter",
    min_outage=timedelta(seconds=30),
    unknown_time="down",
    max_sample_gap=timedelta(seconds=10),
    maintenance_windows=(MaintenanceWindow(START, START + HOUR, "upgrade"),),
    objectives=(Objective("latency_ms", 50, 100, 95), Objective("qoo", 90, 10)),
    objective_interval=timedelta(minutes=1),
)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running(Place(tmp_path)) as installation:
        yield installation


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[AsyncSpaceLinkClient]:
    async with AsyncSpaceLinkClient(installation.address, token=installation.operator) as client:
        yield client


async def test_networks_are_managed(client: AsyncSpaceLinkClient) -> None:
    made = await client.create_network("north", ["a", "b"], display_name="North", sla=SLA, profile_id="voice")
    assert made == Network("north", "North", SLA, "voice", 2, made.create_time)
    assert await client.get_network("north") == made
    assert [each async for each in client.list_networks()] == [made]
    assert [each async for each in client.list_networks(["south"])] == []
    changed = await client.update_network("north", sla=Sla())
    assert changed == replace(made, sla=Sla())
    await client.update_network_devices("north", add=["c"], remove=["a"])
    assert [each async for each in client.list_network_devices("north")] == ["b", "c"]
    with pytest.raises(AlreadyExistsError):
        await client.create_network("north")
    with pytest.raises(NotFoundError):
        await client.get_network("south")


async def test_profiles_are_managed(client: AsyncSpaceLinkClient) -> None:
    profile = ScoreProfile("own", (LatencyRequirement(95, 10, 20),), LossRequirement(1, 2), 5, "Ours")
    assert await client.create_score_profile(profile) == profile
    listed = [each async for each in client.list_score_profiles()]
    assert listed[-1] == profile
    assert listed[0].profile_id == "leo"
    assert listed[0].built_in
    with pytest.raises(InvalidArgumentError):
        await client.create_score_profile(ScoreProfile("empty"))


async def test_reports(client: AsyncSpaceLinkClient, installation: Installation) -> None:
    put_steady(installation.store, "a", 0, 3600)
    put_steady(installation.store, "b", 0, 1800)
    put_steady(installation.store, "b", 1800, 2000, status="OFFLINE")
    put_steady(installation.store, "b", 2000, 3600, packet_loss_percent=50.0)
    await client.create_network("n", ["a", "b"], sla=Sla(objectives=(Objective("qoo", 90, 10),)))
    health = await client.get_network_health("n", start=START, end=START + HOUR)
    assert health.scheme == "worst_device"
    assert [device.device_id for device in health.devices] == ["b", "a"]
    assert health.devices[0].last_sample_time == START + HOUR - timedelta(seconds=1)
    assert health.window.score == 0
    assert health.window.worst_device is not None
    assert health.window.worst_device.score == health.devices[0].window
    sla = await client.get_network_sla("n", start=START, end=START + HOUR)
    assert not sla.network.compliant
    (outage,) = sla.devices[0].outages
    assert (outage.length, outage.cause) == (timedelta(seconds=200), "offline")
    assert sla.devices[0].all_objectives is not None
    assert sla.devices[0].all_objectives.objective is None
    month = await client.get_network_sla("n", period=START)
    assert (month.start_time, month.end_time) == (START, datetime(2025, 2, 1, tzinfo=UTC))
    trend = await client.get_network_trend(
        "n", "latency_ms", START, START + HOUR, step=timedelta(minutes=30), device_ids=["a"]
    )
    assert [(point.start_time - START, point.count, point.p50) for point in trend.points] == [
        (timedelta(0), 1800, 20),
        (timedelta(minutes=30), 1800, 20),
    ]
    assert trend.previous is None
    assert trend.p50_change is None


async def test_pages_become_one_report(client: AsyncSpaceLinkClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacelink._client._PAGE_SIZE", 2)
    names = [f"d{number}" for number in range(5)]
    await client.create_network("n", names)
    health = await client.get_network_health("n", start=START, end=START + HOUR)
    assert [device.device_id for device in health.devices] == names
    sla = await client.get_network_sla("n", start=START, end=START + HOUR)
    assert [device.device_id for device in sla.devices] == names


async def test_hours_end_now(client: AsyncSpaceLinkClient) -> None:
    await client.create_network("n")
    report = await client.get_network_health("n", hours=2)
    length = report.window.end_time - report.window.start_time
    assert timedelta(hours=2) <= length <= timedelta(hours=2, minutes=1)
    with pytest.raises(ValueError, match="hours"):
        await client.get_network_health("n", 2, start=START)


async def test_incidents(client: AsyncSpaceLinkClient, installation: Installation) -> None:
    row = incidents.Incident("1" * 32, "a", pb.INCIDENT_CAUSE_SILENCE, T0, T0 + SECOND, None, 70.0, 60.0)
    installation.store.transact(lambda c: incidents.open_incident(c, "default", row))
    found = [incident async for incident in client.list_incidents(open_only=True)]
    assert found == [
        Incident("1" * 32, "a", "silence", START, START + timedelta(seconds=1), None, 70.0, 60.0)
    ]
    assert [incident async for incident in client.list_incidents(end=START)] == []


def test_an_unknown_word_is_refused_by_field() -> None:
    with pytest.raises(ValueError, match="period 'decade': expected one of day, week"):
        to_message(Sla(period="decade"), pb.Sla)


def test_what_a_newer_server_says_is_read() -> None:
    message = to_message(SLA, pb.Sla)
    message.period = 99  # type: ignore[assignment]
    assert from_message(Sla, message) == replace(SLA, period="")
