"""The data directory's disk fills up during ingest, and gets room again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from spacelink import AsyncSpaceLinkClient
from spacelink.errors import SpaceLinkError, from_rpc_error
from tests.e2e.agents import assert_same_samples, make_recording
from tests.e2e.batches import HOUR, START, make_batch, stored_samples
from tests.e2e.calls import NOT_SERVING, SERVING, eventually, failure, health, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.e2e.agents import StartAgent

_SIZE = "64m"
_SAMPLES = 1000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a small disk of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def data_dir(tmp_path: Path, disk: Path) -> Path:
    """Give a data directory on the small disk, its log elsewhere: it must not fill the disk."""
    path = disk / "data"
    path.mkdir()
    (path / "server.log").symlink_to(tmp_path / "server.log")
    return path


def _fill(disk: Path) -> Path:
    """Take all the room there is."""
    path = disk / "filler"
    with path.open("wb") as file:
        while True:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            if not free:
                return path
            file.write(bytes(min(free, 1 << 20)))
            file.flush()


async def _produce(channel: grpc.aio.Channel, stream_id: str, acked: dict[str, int]) -> SpaceLinkError:
    """Send until the server fails, keeping what it acked; give the failure."""
    producer = await Producer.open(channel, stream_id)

    async def send() -> None:
        for sequence in range(1, 10_000):
            await producer.send(sequence, make_batch(stream_id, START + HOUR * sequence, _SAMPLES))

    async def read() -> None:
        async for ack in producer.acks():
            acked[stream_id] = ack.committed_sequence

    sending = asyncio.create_task(send())
    error = await failure(read())
    sending.cancel()
    return error


async def _submit_until_full(channel: grpc.aio.Channel) -> int:
    """Submit large batches until one has no room; give how many samples had.

    The store's log may have room inside of it when the disk has none.
    """
    submitted = 0
    while True:
        batch = make_batch("other", START + submitted, count=100_000, step=1)
        try:
            submitted += await submit(channel, batch)
        except grpc.aio.AioRpcError as error:
            _assert_says_full(from_rpc_error(error))
            return submitted


def _assert_says_full(error: SpaceLinkError) -> None:
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.retry_delay


async def test_disk_fills_up_and_gets_room_again(
    tmp_path: Path, disk: Path, data_dir: Path, servers: StartServer, agents: StartAgent
) -> None:
    recording = make_recording(tmp_path, "dish", 1500, seed=1)
    server = servers(data_dir)
    async with server.channel() as channel:
        agent = agents(server, recording, "--batch-samples", "5", "--window", "1")
        names = [f"stream-{index}" for index in range(4)]
        acked = dict.fromkeys(names, 0)
        producing = [asyncio.create_task(_produce(channel, name, acked)) for name in names]

        async def everybody_delivers() -> bool:
            stored = stored_samples(data_dir)
            return all(acked.values()) and stored.get("dish", 0) > 0

        await eventually(everybody_delivers)
        filler = _fill(disk)
        for error in await asyncio.gather(*producing):
            _assert_says_full(error)
        assert stored_samples(data_dir)["dish"] < 1500, "the agent must have something left to deliver"

        assert await health(channel) == NOT_SERVING
        assert await health(channel, "spacelink.v1.TelemetryService") == NOT_SERVING
        submitted = await _submit_until_full(channel)
        stored = stored_samples(data_dir)
        assert all(stored[name] >= acked[name] * _SAMPLES for name in names), "no false ack"
        assert stored.get("other", 0) == submitted
        assert await health(channel) == NOT_SERVING

        filler.unlink()

        async def serves_again() -> bool:
            return await health(channel) == SERVING

        await eventually(serves_again)
        for name in names:
            producer = await Producer.open(channel, name)
            assert producer.committed >= acked[name]
            await producer.send(producer.committed + 1, make_batch(name, START, count=1))
            assert await producer.close() == producer.committed + 1
            acked[name] = producer.committed
        submitted += await submit(channel, make_batch("other"))
        await asyncio.to_thread(agent.finish)

    server.kill()
    assert "Traceback" not in server.log
    server = servers(data_dir)
    stored = stored_samples(data_dir)
    assert stored == {
        "dish": 1500,
        "other": submitted,
        **{name: acked[name] * _SAMPLES + 1 for name in names},
    }
    async with AsyncSpaceLinkClient(server.address, token=server.token) as client:
        samples = await client.query_telemetry("dish", as_columns=True)
    assert_same_samples(samples["dish"], recording.expected)
