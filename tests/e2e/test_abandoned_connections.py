"""Clients that go away without a word, and connections that speak no gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from spacelink.v1 import telemetry_pb2 as pb
from tests.e2e.batches import HOUR, START, make_batch, stored_samples
from tests.e2e.calls import SERVING, assert_clean, eventually, health, stub, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from tests.conftest import ServerProcess, StartServer


def _descriptors(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


async def _abandon(server: ServerProcess, index: int) -> None:
    """Open a connection with calls of every kind under way, and cut it."""
    async with server.channel(("grpc.use_local_subchannel_pool", 1)) as channel:
        producer = await Producer.open(channel, f"stream-{index % 10}")
        for sequence in range(producer.committed + 1, producer.committed + 6):
            await producer.send(sequence, make_batch(f"d-{index}", START + HOUR * sequence))
        unstarted = Producer(channel)
        await unstarted.call.wait_for_connection()
        watch = stub(channel).WatchTelemetry(pb.WatchTelemetryRequest())
        await watch.initial_metadata()
        query = stub(channel).QueryTelemetry(pb.QueryTelemetryRequest())
        await query.initial_metadata()
        asyncio.ensure_future(submit(channel, make_batch(f"s-{index}"))).add_done_callback(_ignore)
        # Leaving cuts the connection: no half-close, nothing read.


def _ignore(task: asyncio.Future[int]) -> None:
    if not task.cancelled():
        task.exception()


async def test_clients_that_disappear(tmp_path: Path, servers: StartServer) -> None:
    """Nothing of them stays behind: no stream, no connection, no line in the log."""
    server = servers(tmp_path)
    async with server.channel() as channel:
        await submit(channel, make_batch("first"))
        before = _descriptors(server)
        for start in range(0, 200, 20):
            await asyncio.gather(*[_abandon(server, index) for index in range(start, start + 20)])

        async def connections_are_closed() -> bool:
            # SQLite's pool of readers may have grown meanwhile.
            return _descriptors(server) < before + 40

        await eventually(connections_are_closed)
        # Streams are taken over, and what was committed before is still there.
        stored = stored_samples(tmp_path)
        for index in range(10):
            producer = await Producer.open(channel, f"stream-{index}")
            await producer.send(producer.committed + 1, make_batch(f"again-{index}"))
            assert await producer.close() == producer.committed + 1
        assert all(stored_samples(tmp_path)[name] == count for name, count in stored.items())
    assert await asyncio.to_thread(server.terminate) == 0
    assert_clean(server.log)


async def test_connections_that_speak_no_grpc(channel: grpc.aio.Channel, server: ServerProcess) -> None:
    host, port = server.address.split(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for index in range(60):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            if index % 3 == 0:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            elif index % 3 == 1:
                connection.sendall(os.urandom(2000))
            else:
                connection.sendall(preface + os.urandom(2000))
    # Some that say nothing at all, and stay.
    silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    assert await health(channel) == SERVING
    assert await submit(channel, make_batch("after")) == 3
    for connection in silent:
        connection.close()
    assert_clean(server.log)
