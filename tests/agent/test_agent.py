from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from spacelink import SpaceLinkClient
from spacelink._channel import open_channel
from spacelink._credentials import credentials
from spacelink.errors import AbortedError, InvalidArgumentError
from spacelink.uplink import Uplink
from spacelink_agent._credential import AgentCredentials
from spacelink_agent.agent import Agent
from spacelink_agent.collectors import Chunk, CollectorError
from spacelink_agent.spool import Spool, SpoolSettings
from tests.agent.samples import rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.conftest import ServerProcess


class Rows:
    """Yields numbered rows, and then ends, fails or waits."""

    def __init__(self, device_id: str, count: int, *, fails: bool = False, is_live: bool = False) -> None:
        self.is_live = is_live
        self.source = "" if is_live else "rows"
        self.yielded = asyncio.Event()
        self._device_id = device_id
        self._count = count
        self._fails = fails

    async def collect(self, position: Any) -> AsyncGenerator[Chunk]:
        for number in range(0 if position is None else position + 1, self._count):
            yield Chunk(rows(number, device_id=self._device_id), None if self.is_live else number)
        self.yielded.set()
        if self._fails:
            raise CollectorError("the recording is torn")
        if self.is_live:
            await asyncio.Event().wait()


async def run(
    collector: Rows, directory: Path, server: ServerProcess, *, stop: asyncio.Event | None = None
) -> Spool:
    """Run an agent to its end; give its spool, closed."""
    spool = Spool(directory, SpoolSettings(batch_samples=8))
    try:
        async with open_channel(server.address) as channel, asyncio.timeout(60):
            presented = AgentCredentials(credentials(token=server.token), [], None)
            uplink = Uplink(channel, spool.source, credentials=presented)
            await Agent(collector, spool, uplink, presented).run(stop or asyncio.Event())
    finally:
        spool.close()
    return spool


def stored(server: ServerProcess, device_id: str) -> list[float]:
    with SpaceLinkClient(server.address, token=server.token) as client:
        columns = client.query_telemetry(device_id, as_columns=True)
    return [float(value) for value in columns[device_id].metrics["latency_ms"]] if columns else []


@pytest.fixture
def nowhere(server: ServerProcess) -> ServerProcess:
    """Give a server at an address that nobody listens on: the port is reserved."""
    return replace(server, address="127.0.0.1:1")


async def test_finite_collector_is_delivered_to_its_end(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    spool = await run(Rows(device_id, 100), tmp_path, server)
    assert stored(server, device_id) == list(range(100))
    assert spool.counters.acked_samples == 100
    again = await run(Rows(device_id, 110), tmp_path, server)
    assert stored(server, device_id) == list(range(110))
    assert again.counters.collected_samples == 10


async def test_stop_delivers_what_is_in_no_batch_yet(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    collector = Rows(device_id, 13, is_live=True)
    spool = await run(collector, tmp_path, server, stop=collector.yielded)
    assert stored(server, device_id) == list(range(13))
    assert spool.pending_batches == 0


async def test_stop_without_a_server_leaves_everything_on_disk(
    server: ServerProcess,
    device_id: str,
    tmp_path: Path,
    nowhere: ServerProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spacelink_agent.agent._FLUSH_SECONDS", 0.1)
    collector = Rows(device_id, 13, is_live=True)
    spool = await run(collector, tmp_path, nowhere, stop=collector.yielded)
    assert spool.pending_batches == 2
    await run(Rows(device_id, 0), tmp_path, server)
    assert stored(server, device_id) == list(range(13))


async def test_failure_of_the_collector_comes_after_delivery(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    with pytest.raises(CollectorError, match="the recording is torn"):
        await run(Rows(device_id, 13, fails=True), tmp_path, server)
    assert stored(server, device_id) == list(range(13))


def refuse(directory: Path) -> None:
    """Make a spool whose stream the server refuses."""
    directory.mkdir()
    (directory / "stream.json").write_text(json.dumps({"stream_id": "not an id", "base": 0}))


async def test_refusal_ends_a_finite_collector(server: ServerProcess, device_id: str, tmp_path: Path) -> None:
    refuse(tmp_path / "spool")
    with pytest.raises(InvalidArgumentError, match="stream_id"):
        await run(Rows(device_id, 13), tmp_path / "spool", server)


async def test_refusal_does_not_stop_a_live_collector(
    server: ServerProcess,
    device_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("spacelink_agent.agent._REFUSED_SECONDS", 0.01)
    refuse(tmp_path / "spool")
    collector = Rows(device_id, 13, is_live=True)
    stop = asyncio.Event()
    running = asyncio.ensure_future(run(collector, tmp_path / "spool", server, stop=stop))
    async with asyncio.timeout(30):
        while caplog.text.count("the server refuses") < 3:
            await asyncio.sleep(0.01)
    assert not running.done()
    stop.set()
    spool = await running
    assert spool.counters.collected_samples == 13
    assert spool.pending_batches == 2


async def test_copied_spool_ends_the_older_agent(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    Spool(tmp_path / "first", SpoolSettings()).close()
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    older = Rows(device_id, 8, is_live=True)
    running = asyncio.ensure_future(run(older, tmp_path / "first", server))
    async with asyncio.timeout(30):
        while len(stored(server, device_id)) < 8:
            await asyncio.sleep(0.05)
    await run(Rows(device_id, 0), tmp_path / "second", server)
    with pytest.raises(AbortedError, match="was opened by a newer stream"):
        await running
