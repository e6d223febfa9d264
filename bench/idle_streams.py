"""`bench idle-streams`: what an Ingest stream costs the server that is open and says nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import grpc.aio

from bench.peers import SpaceLink
from bench.peers.base import Server
from bench.processes import rss_bytes
from spacelink.v1.telemetry_pb2 import IngestRequest, IngestStart
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub

_processes = multiprocessing.get_context("spawn")
# The server's allocations trail the streams' ready messages by little; a second is plenty.
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class IdleStreams:
    """What idle streams cost.

    Attributes:
        streams: how many were open.
        connections: over how many connections.
        before_bytes: the server's resident set with a single stream open.
        after_bytes: the same with all of them.
    """

    streams: int
    connections: int
    before_bytes: int
    after_bytes: int

    @property
    def bytes_per_stream(self) -> float:
        """Resident bytes a stream."""
        return (self.after_bytes - self.before_bytes) / self.streams


def measure_idle(streams: int, connections: int, directory: Path) -> IdleStreams:
    """Open streams that get ready and then say nothing, and compare the server's memory."""
    _allow_many_files()
    with (
        tempfile.TemporaryDirectory(dir=directory) as place,
        SpaceLink().serve(Path(place)) as server,
        _holder(server, streams, connections) as holder,
    ):
        before = _settled_rss(holder, server.pid)
        after = _settled_rss(holder, server.pid)
    return IdleStreams(streams, connections, before, after)


def _settled_rss(holder: Connection, pid: int) -> int:
    error = holder.recv()
    if error is not None:
        raise RuntimeError(f"opening streams failed: {error!r}") from error
    time.sleep(_SETTLE_SECONDS)
    rss = rss_bytes(pid)
    holder.send("go on")
    return rss


def _allow_many_files() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _holder(server: Server, streams: int, connections: int) -> Iterator[Connection]:
    ours, theirs = _processes.Pipe()
    arguments = (server, streams, connections, theirs)
    process = _processes.Process(target=_hold, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def _hold(server: Server, streams: int, connections: int, connection: Connection) -> None:
    try:
        asyncio.run(_open_streams(server, streams, connections, connection))
    except Exception as error:
        connection.send(error)


async def _open_streams(server: Server, streams: int, connections: int, connection: Connection) -> None:
    # Channels to one address share a connection unless each has a pool of its own.
    channels = [
        grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(connections)
    ]

    async def open_stream(number: int) -> object:
        call = TelemetryServiceStub(channels[number % connections]).Ingest(metadata=server.metadata)
        await call.write(IngestRequest(start=IngestStart(stream_id=f"idle-{number}")))
        response = await call.read()
        if response is grpc.aio.EOF:
            raise RuntimeError(await call.details())
        return call

    calls = [await open_stream(streams)]
    await _hand_over(connection)
    for number in range(streams):
        calls.append(await open_stream(number))
    await _hand_over(connection)


async def _hand_over(connection: Connection) -> None:
    connection.send(None)
    await asyncio.to_thread(connection.recv)
