"""A server whose Ingest calls go as a test says, and a source for the uplink."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from spacelink.columns import TelemetryColumns
from spacelink.uplink import Batch, Dropped
from spacelink.v1.telemetry_pb2 import IngestAck, IngestReady, IngestRequest, IngestResponse, RejectedBatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message

    Play = Callable[["Stage"], Awaitable[None]]

START = 1_760_000_000_000_000_000


def samples(number: int, device_id: str = "dish") -> TelemetryColumns:
    return TelemetryColumns.from_arrays(device_id, [START + number * 10**9], latency_ms=[number])


class MemorySource:
    """Batches that are numbers, kept in memory.

    Attributes:
        items: what is to be sent.
        acked_through: the server's cursor.
        most_in_flight: the most messages without an ack whenever one was given out.
    """

    def __init__(self, count: int, *, device_id: str = "dish", stream_id: str = "stream") -> None:
        self.stream_id = stream_id
        self.items: list[Batch | Dropped] = [
            Batch(number, samples(number, device_id).encode()) for number in range(1, count + 1)
        ]
        self.acked_through = 0
        self.rejected: list[RejectedBatch] = []
        self.resumed: list[int] = []
        self.ended = asyncio.Event()
        self.ended.set()
        self.most_in_flight = 0
        self.renamed = ""

    async def resume(self, ready: IngestReady) -> bool:
        self.resumed.append(ready.committed_sequence)
        self.acked_through = ready.committed_sequence
        if self.renamed:
            self.stream_id, self.renamed = self.renamed, ""
            return False
        return True

    def next_after(self, sequence: int) -> Batch | Dropped | None:
        for item in self.items:
            if item[0] == sequence + 1:
                self.most_in_flight = max(self.most_in_flight, sequence + 1 - self.acked_through)
                return item
        return None

    async def wait_after(self, sequence: int) -> bool:
        await self.ended.wait()
        return False

    def acked(self, committed_sequence: int, rejected: Sequence[RejectedBatch]) -> None:
        self.acked_through = committed_sequence
        self.rejected += rejected


class Stage:
    """What a scripted server does in one Ingest call, and what it saw."""

    def __init__(self, requests: AsyncIterator[IngestRequest], context: Any) -> None:
        self._requests = requests
        self._context = context

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What came with the call."""
        return list(self._context.invocation_metadata())

    @property
    def authorization(self) -> str | None:
        """What the call presents."""
        return dict(self.metadata).get("authorization")

    async def read(self) -> IngestRequest | None:
        return await anext(self._requests, None)

    async def start(self, committed: int = 0, window: int = 64, names: list[str] | None = None) -> str:
        """Answer a start with ready; the client may cancel the call as soon as it has that."""
        request = await self.read()
        assert request is not None
        assert request.WhichOneof("message") == "start"
        if names is not None:
            names.append(request.start.stream_id)
        ready = IngestReady(
            committed_sequence=committed,
            max_unacked_batches=window,
            max_batch_samples=1000,
            max_batch_bytes=1 << 20,
        )
        await self.write(IngestResponse(ready=ready))
        return request.start.stream_id

    async def write(self, response: IngestResponse) -> None:
        await self._context.write(response)

    async def ack(self, sequence: int) -> None:
        await self.write(IngestResponse(ack=IngestAck(committed_sequence=sequence)))

    async def batches(self, count: int) -> list[int]:
        """Read batches; give their sequences."""
        sequences = []
        for _ in range(count):
            request = await self.read()
            assert request is not None
            assert TelemetryColumns.decode(request.batch.SerializeToString()).metrics["latency_ms"][
                0
            ] == np.float32(request.batch.sequence)
            sequences.append(request.batch.sequence)
        return sequences

    async def rest(self) -> list[int]:
        """Read until the client closes its side, and ack each batch."""
        sequences = []
        while (request := await self.read()) is not None:
            sequences.append(request.batch.sequence)
            await self.ack(request.batch.sequence)
        return sequences

    async def fail(self, code: grpc.StatusCode, reason: str, *details: Message) -> None:
        status = Status(message="told so")
        for detail in (ErrorInfo(reason=reason, domain="spacelink"), *details):
            status.details.add().Pack(detail)
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        await self._context.abort(code, "told so", trailers)


class ScriptedServer:
    """A real gRPC server whose Ingest calls play one scene after the other."""

    def __init__(self) -> None:
        self.scenes: list[Play] = []
        self.failures: list[AssertionError] = []
        self.address = ""
        self._server = grpc.aio.server()

    async def start(self) -> None:
        handler = grpc.stream_stream_rpc_method_handler(
            self._ingest, IngestRequest.FromString, IngestResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("spacelink.v1.TelemetryService", {"Ingest": handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)
        assert self.failures == []
        assert self.scenes == [], "not all scenes were played"

    async def _ingest(self, requests: AsyncIterator[IngestRequest], context: Any) -> None:
        try:
            assert self.scenes, "a call too many"
            await self.scenes.pop(0)(Stage(requests, context))
        except AssertionError as failure:
            self.failures.append(failure)
            # Ends the uplink; the test fails when the server stops.
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the scene failed: {failure}")
