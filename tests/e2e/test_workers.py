"""Several processes behind one port, and several servers on one database."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from spacelink_server.access import first_start
from spacelink_server.access.keys import MASTER_KEY_FILE
from tests.conftest import ANY_PORT, EXIT_SECONDS, start_server
from tests.e2e.batches import START, make_batch, times_of
from tests.e2e.calls import eventually, query, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer
    from tests.postgres import Cluster


def workers_of(server: ServerProcess) -> list[int]:
    """Give the process ids of a server's workers."""
    children = subprocess.run(
        ["ps", "-ww", "--ppid", str(server.process.pid), "-o", "pid=,args="],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = children.stdout.splitlines()
    return [int(line.split()[0]) for line in lines if "spawn_main" in line]


@pytest.fixture
def server(tmp_path: Path, servers: StartServer, database: str) -> ServerProcess:
    return servers(tmp_path / "data", "--database", database, "--workers", "2")


async def test_workers_share_a_port_die_one_by_one_and_drain(server: ServerProcess, device_id: str) -> None:
    """Each connection is served by some worker; one that dies is replaced, and what it had acked is there."""
    before = workers_of(server)
    assert len(before) == 2
    for sequence in range(1, 7):
        async with server.channel() as channel:
            producer = await Producer.open(channel, device_id)
            assert producer.committed == sequence - 1
            await producer.send(sequence, make_batch(device_id, START + sequence * 10**12, count=2))
            await producer.acked(sequence)
        if sequence in (2, 4):
            victim = workers_of(server)[0]
            ready_before = server.log.count("takes calls")
            os.kill(victim, signal.SIGKILL)
            await eventually(partial(_is_replaced, server, victim, ready_before))
    async with server.channel() as channel:
        assert len(times_of(await query(channel, device_id))) == 12
    assert not set(before) <= set(workers_of(server))
    await drain_all(server, device_id)


async def _is_replaced(server: ServerProcess, victim: int, ready_before: int) -> bool:
    found = workers_of(server)
    return victim not in found and server.log.count("takes calls") == ready_before + 1


async def drain_all(server: ServerProcess, device_id: str) -> None:
    """Have SIGTERM drain the workers."""
    channels = [server.channel() for _ in range(6)]
    producers = [await Producer.open(channel, f"{device_id}/{n}") for n, channel in enumerate(channels)]
    for producer in producers:
        await producer.send(1, make_batch(device_id))
    terminated = asyncio.create_task(asyncio.to_thread(server.terminate))
    for producer in producers:
        # Asked to stop, it does; what it had sent before is acked.
        assert await producer.close() == 1
    assert await terminated == 0
    for channel in channels:
        await channel.close()
    assert workers_of(server) == []
    assert "draining 2 workers" in server.log
    assert "Traceback" not in server.log


async def test_workers_end_when_their_parent_is_killed(server: ServerProcess) -> None:
    workers = workers_of(server)
    server.process.kill()

    async def have_ended() -> bool:
        return not any(map(_is_running, workers))

    await eventually(have_ended)


def _is_running(pid: int) -> bool:
    found = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and "Z" not in found.stdout


def failed_start(data_dir: Path, *flags: str) -> str:
    """Run a server that cannot start, and give what it says."""
    command = [sys.executable, "-m", "spacelink", "server", "--data-dir", str(data_dir)]
    done = subprocess.run(
        [*command, "--admin-listen", ANY_PORT, *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=EXIT_SECONDS,
    )
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_that_is_in_use(tmp_path: Path, database: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = failed_start(tmp_path, "--database", database, "--workers", "2", "--listen", address)
    assert f"listen {address}: the address is in use; --listen" in said


def test_workers_need_a_database(tmp_path: Path) -> None:
    assert "several need a PostgreSQL database" in failed_start(
        tmp_path, "--workers", "2", "--listen", ANY_PORT
    )


# Several servers


@pytest.fixture(scope="module")
def two(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Give two servers on one database, which the tests share; each takes devices of its own."""
    url = cluster.create_database()
    directories = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    started = [start_server(directories[0], "--database", url)]
    for name in (MASTER_KEY_FILE, first_start.OPERATOR_TOKEN_FILE):
        shutil.copy(directories[0] / name, directories[1])
    started.append(start_server(directories[1], "--database", url))
    yield started
    for server in started:
        server.kill()
    cluster.drop_database(url)


async def test_a_stream_moves_between_servers(two: list[ServerProcess], device_id: str) -> None:
    async with two[0].channel() as here, two[1].channel() as there:
        older = await Producer.open(here, device_id)
        await older.send(1, make_batch(device_id))
        await older.acked(1)
        newer = await Producer.open(there, device_id)
        assert newer.committed == 1
        await newer.send(2, make_batch(device_id, START + 10**12))
        await newer.acked(2)
        # The older server hears of it when it next commits for the stream.
        await older.send(2, make_batch(device_id, START + 2 * 10**12))
        with pytest.raises(Exception, match="newer stream"):
            await older.to_end()
        assert len(times_of(await query(here, device_id))) == 6


async def test_a_watcher_sees_what_another_server_commits(two: list[ServerProcess], device_id: str) -> None:
    from tests.e2e.test_watch import _watch  # noqa: PLC0415

    async with two[0].channel() as here, two[1].channel() as there:
        # What the other server committed just before may still come: only this device counts.
        watch = await _watch(here, device_ids=[device_id])
        for number, channel in enumerate((there, here, there)):
            batch = make_batch(device_id, START + number * 10**12)
            await submit(channel, batch)
            seen = await watch.read()
            assert times_of([seen.batch]) == times_of([batch])
            assert seen.lost_batches == 0
        watch.cancel()


def test_a_server_without_the_master_key_does_not_start(tmp_path: Path, two: list[ServerProcess]) -> None:
    url = next(part for part in two[0].process.args if str(part).startswith("postgresql://"))  # type: ignore[union-attr]
    assert "master.key is missing" in failed_start(tmp_path, "--database", str(url), "--listen", ANY_PORT)
    tmp_path.joinpath(MASTER_KEY_FILE).write_text("0" * 64)
    assert "not the one" in failed_start(tmp_path, "--database", str(url), "--listen", ANY_PORT)
