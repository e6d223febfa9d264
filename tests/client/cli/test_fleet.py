"""The live table of devices."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from spacelink import AsyncSpaceLinkClient, TelemetryColumns, TelemetryUpdate, errors
from spacelink.cli._fleet import Fleet, follow
from tests.conftest import StartServer

SECOND = 1_000_000_000


def sample(device_id: str, latency: float, age: float = 0.0, status: str = "ACTIVE") -> TelemetryColumns:
    moment = time.time_ns() - int(age * SECOND)
    return TelemetryColumns.from_arrays(device_id, [moment], latency_ms=[latency], status=status)


def drawn(fleet: Fleet, width: int = 140, height: int = 40) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(fleet.table(width, height))
    return captured.get()


def row(text: str, device_id: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.strip().startswith(device_id))
    return re.split(r"\s{2,}", line.strip())


def test_each_device_has_its_newest_sample() -> None:
    fleet = Fleet()
    fleet.seed(sample("dish-01", 40, age=300))
    fleet.seed(sample("dish-02", 50, age=7_300, status="OFFLINE"))
    fleet.update(TelemetryUpdate(sample("dish-01", 41.25), lost_batches=0))
    fleet.update(TelemetryUpdate(sample("dish-01", 99, age=60), lost_batches=0))
    text = drawn(fleet)
    assert row(text, "dish-01")[1] == "ACTIVE"
    assert row(text, "dish-01")[3:] == ["41.25", "-", "-", "-", "-", row(text, "dish-01")[-1]]
    assert row(text, "dish-02")[1:4] == ["OFFLINE", "2 h", "50.00"]
    assert row(text, "dish-02")[-1] == "0.0"
    assert float(row(text, "dish-01")[-1]) > 0


@pytest.mark.parametrize(("age", "text"), [(90, "2 min"), (3_600 * 5, "5 h"), (86_400 * 3, "3 d")])
def test_ages_are_in_their_largest_unit(age: float, text: str) -> None:
    fleet = Fleet()
    fleet.seed(sample("dish-01", 1, age=age))
    assert row(drawn(fleet), "dish-01")[2] == text


def test_a_fleet_that_does_not_fit_says_so() -> None:
    fleet = Fleet()
    for number in range(50):
        fleet.seed(sample(f"dish-{number:02}", number))
    text = drawn(fleet, height=18)
    assert text.count("dish-") == 10
    assert "50 devices" in text
    assert "40 not shown" in text


def test_a_narrow_terminal_has_the_most_important_columns() -> None:
    fleet = Fleet()
    fleet.seed(sample("dish-01", 41.25, status="MAINTENANCE"))
    text = drawn(fleet, width=80)
    cells = row(text, "dish-01")
    assert cells[:2] + cells[3:] == ["dish-01", "MAINTENANCE", "41.25", "-", "-", "-", "0.0"]
    assert "jitter" not in text


def test_lost_batches_are_told() -> None:
    fleet = Fleet()
    fleet.update(TelemetryUpdate(sample("dish-01", 1), lost_batches=3))
    assert "3 batches lost" in fleet.line()


async def until(condition: Callable[[], bool], fleet: Fleet) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), fleet.line()


async def test_following_outlives_a_server_that_restarts(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    fleet = Fleet()
    async with (
        AsyncSpaceLinkClient(server.address, token=server.token, retry_for=0.5) as client,
        AsyncSpaceLinkClient(server.address, token=server.token) as sender,
    ):
        await sender.ingest_columns([sample("dish-01", 1)])
        following = asyncio.ensure_future(follow(client, fleet))
        await until(lambda: "1 devices" in fleet.line(), fleet)
        server.kill()
        await until(lambda: "reconnecting" in fleet.line(), fleet)
        server = servers(tmp_path, listen=server.address)
        async with asyncio.timeout(60):
            # Between its look at what there is and its watch a batch may be missed, but not all.
            while "2 devices" not in fleet.line() or "reconnecting" in fleet.line():
                await sender.ingest_columns([sample("dish-02", 2)])
                await asyncio.sleep(0.02)
        following.cancel()


async def test_following_nobody_is_an_error(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    server.kill()
    async with AsyncSpaceLinkClient(server.address, token=server.token, retry_for=0.1) as client:
        with pytest.raises(errors.UnavailableError):
            await follow(client, Fleet())
