"""The data plane in this process, on a store with faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from spacelink.v1 import telemetry_pb2_grpc
from spacelink.v1.telemetry_pb2 import (
    IngestAck,
    IngestDropped,
    IngestReady,
    IngestRequest,
    IngestResponse,
    IngestStart,
    TelemetryBatch,
)
from spacelink_server.access import first_start
from spacelink_server.access.control import AccessControl
from spacelink_server.access.writes import Database
from spacelink_server.ingest.committer import Committer
from spacelink_server.ingest.live import LiveFeed
from spacelink_server.ingest.registry import StreamRegistry
from spacelink_server.ingest.validation import Limits
from spacelink_server.rpc import CallInterceptor
from spacelink_server.services.scopes import RULES
from spacelink_server.services.telemetry import TelemetryService
from tests.credentials import AuthorizedChannel
from tests.server.faults import FaultyStore
from tests.server.stored import stored_segments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from spacelink_server.storage.segments import AnySegment


TENANT = "default"
LIMITS = Limits(max_unacked_batches=8, max_batch_samples=100, max_batch_bytes=4_000)
QUEUE_BYTES = 1024 * 1024


class Plane:
    """A server, and a channel to it."""

    def __init__(self, directory: Path) -> None:
        self.store = FaultyStore(directory)
        self.feed = LiveFeed()
        self.streams = StreamRegistry()
        self.health: list[bool] = []
        keys = first_start.prepare(self.store, directory, {})
        self.token = (directory / first_start.OPERATOR_TOKEN_FILE).read_text().strip()
        self.writer = ThreadPoolExecutor(1)
        self.readers = ThreadPoolExecutor(2)
        database = Database(self.store, self.writer, self.readers)
        self.access = AccessControl(database, keys, RULES, on_health=self._note_health)
        self.committer = Committer(self.store, self.writer, self.feed, QUEUE_BYTES, self._note_health)
        service = TelemetryService(self.store, self.readers, self.committer, self.feed, self.streams, LIMITS)
        self.server = grpc.aio.server(interceptors=(CallInterceptor(), self.access.interceptor))
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(service, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.channel: Any = AuthorizedChannel(channel, self.token)
        self.stub = telemetry_pb2_grpc.TelemetryServiceStub(self.channel)

    async def _note_health(self, healthy: bool) -> None:
        self.health.append(healthy)

    def producer(self) -> Producer:
        """Open a call of Ingest."""
        open_call: Any = self.channel.stream_stream("/spacelink.v1.TelemetryService/Ingest")
        return Producer(open_call())

    async def started(self, stream_id: str = "s") -> Producer:
        """Open a stream."""
        producer = self.producer()
        await producer.start(stream_id)
        return producer

    def segments(self, device_id: str) -> list[AnySegment]:
        """Read all that is stored of a device."""
        return stored_segments(self.store, TENANT, device_id)


class Producer:
    """One call of Ingest, from its producer's side."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.ready = IngestReady()
        self.acks: list[IngestAck] = []
        self.drained = False

    async def start(self, stream_id: str) -> None:
        await self.send(IngestRequest(start=IngestStart(stream_id=stream_id)))
        self.ready = (await self.read()).ready

    async def send(self, request: IngestRequest | bytes) -> None:
        await self.call.write(request if isinstance(request, bytes) else request.SerializeToString())

    async def batch(self, sequence: int, batch: TelemetryBatch) -> None:
        batch.sequence = sequence
        await self.send(IngestRequest(batch=batch))

    async def dropped(self, first: int, last: int) -> None:
        await self.send(IngestRequest(dropped=IngestDropped(first_sequence=first, last_sequence=last)))

    async def read(self) -> IngestResponse:
        """Read the next answer; there must be one."""
        data = await self.call.read()
        assert isinstance(data, bytes), "the stream has ended"
        return IngestResponse.FromString(data)

    async def acked(self, sequence: int) -> None:
        """Read up to the ack of a sequence, or to a drain."""
        while not self.drained and (not self.acks or self.acks[-1].committed_sequence < sequence):
            self._note(await self.read())

    def _note(self, response: IngestResponse) -> None:
        kind = response.WhichOneof("message")
        assert kind in ("ack", "drain")
        if kind == "ack":
            self.acks.append(response.ack)
        else:
            self.drained = True

    def rejected(self) -> list[tuple[int, str, str]]:
        """Give the sequence, reason and message of all batches that were rejected."""
        return [(r.sequence, r.reason, r.message) for ack in self.acks for r in ack.rejected]

    async def close(self) -> None:
        """Half-close, and read what still comes up to the end, which must be a good one."""
        await self.call.done_writing()
        await self.ended()
        assert await self.call.code() is grpc.StatusCode.OK, await self.call.details()

    async def failure(self) -> dict[str, Any]:
        """Read up to the end, which must be an error; give what its status says."""
        await self.ended()
        return status_of(await self.call.code(), await self.call.trailing_metadata())

    async def ended(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            while (data := await self.call.read()) is not grpc.aio.EOF:
                self._note(IngestResponse.FromString(data))


def status_of(code: grpc.StatusCode, trailers: Any) -> dict[str, Any]:
    """Give what an error says, as code, message, reason, and its details by name."""
    status = Status.FromString(dict(trailers)["grpc-status-details-bin"])
    assert status.code == code.value[0]
    found: dict[str, Any] = {"code": code, "message": status.message}
    for detail in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            message = kind()
            if detail.Unpack(message):
                assert kind.__name__ not in found, "a detail came twice"
                found[kind.__name__] = message
    found["reason"] = found["ErrorInfo"].reason
    return found


@contextlib.asynccontextmanager
async def running_plane(directory: Path) -> AsyncIterator[Plane]:
    """Run a data plane."""
    plane = Plane(directory)
    await plane.access.load()
    committing = asyncio.create_task(plane.committer.run())
    polling = asyncio.create_task(plane.access.bans.run())
    await plane.server.start()
    try:
        yield plane
    finally:
        plane.store.gate.set()
        await plane.channel.close()
        await plane.server.stop(0)
        plane.committer.close()
        await committing
        polling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await polling
        plane.writer.shutdown()
        plane.readers.shutdown()
        plane.store.close()
