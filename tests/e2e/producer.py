"""A producer that does on its Ingest stream what a test tells it to, right or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

from spacelink.v1.telemetry_pb2 import (
    IngestAck,
    IngestDropped,
    IngestReady,
    IngestRequest,
    IngestResponse,
    IngestStart,
    RejectedBatch,
    TelemetryBatch,
)
from tests.e2e.calls import DEADLINE, SERVICE

_T = TypeVar("_T")


def batch_message(sequence: int, batch: TelemetryBatch) -> bytes:
    """Encode a batch as the next message of a stream."""
    message = IngestRequest(batch=batch)
    message.batch.sequence = sequence
    return message.SerializeToString()


class Producer:
    """An Ingest stream.

    Attributes:
        ready: what the server answered to start; None before that.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        method: grpc.aio.StreamStreamMultiCallable[bytes, IngestResponse] = channel.stream_stream(
            SERVICE + "Ingest", response_deserializer=IngestResponse.FromString
        )
        self.call = method(timeout=DEADLINE)
        self.ready: IngestReady | None = None
        self._error: grpc.aio.AioRpcError | None = None
        self.call.add_done_callback(self._keep_error)

    @classmethod
    async def open(cls, channel: grpc.aio.Channel, stream_id: str) -> Producer:
        """Start a stream and wait for ready."""
        producer = cls(channel)
        await producer.start(stream_id)
        response = await producer.read()
        assert response is not None
        assert response.WhichOneof("message") == "ready"
        producer.ready = response.ready
        return producer

    @property
    def committed(self) -> int:
        """The cursor that ready told."""
        assert self.ready is not None
        return self.ready.committed_sequence

    async def start(self, stream_id: str) -> None:
        await self.send_bytes(IngestRequest(start=IngestStart(stream_id=stream_id)).SerializeToString())

    async def send(self, sequence: int, batch: TelemetryBatch) -> None:
        await self.send_bytes(batch_message(sequence, batch))

    async def send_dropped(self, first: int, last: int, samples: int = 1) -> None:
        dropped = IngestDropped(first_sequence=first, last_sequence=last, sample_count=samples)
        await self.send_bytes(IngestRequest(dropped=dropped).SerializeToString())

    async def send_bytes(self, data: bytes) -> None:
        """Send a message; if the stream is over, reading says so."""
        try:
            await self.call.write(data)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    async def half_close(self) -> None:
        await self.call.done_writing()

    async def read(self) -> IngestResponse | None:
        """Read a message; None at the end of a stream that ended well.

        Raises:
            grpc.aio.AioRpcError: it ended otherwise.
        """
        try:
            response: Any = await self.call.read()
        except grpc.aio.AioRpcError:
            return await self._read_on()
        return None if response is grpc.aio.EOF else response

    async def acks(self) -> AsyncIterator[IngestAck]:
        """Read acks to the end of the stream; drain is skipped."""
        while (response := await self.read()) is not None:
            if response.HasField("ack"):
                yield response.ack

    async def acked(self, sequence: int) -> list[RejectedBatch]:
        """Read until a sequence is acked, and give what was rejected meanwhile."""
        rejected: list[RejectedBatch] = []
        async for ack in self.acks():
            rejected += ack.rejected
            if ack.committed_sequence >= sequence:
                return rejected
        raise AssertionError(f"the stream ended before {sequence} was acked")

    async def to_end(self) -> int:
        """Read to the end and give the last sequence that was acked, 0 for none."""
        last = 0
        async for ack in self.acks():
            assert ack.committed_sequence >= last, "acks never go back"
            last = ack.committed_sequence
        return last

    async def close(self) -> int:
        """End the stream in order and give the last sequence that was acked, 0 for none."""
        await self.half_close()
        return await self.to_end()

    # When a write fails because the server has ended the call, grpc.aio puts an
    # INTERNAL of its own over the server's status, before or after that comes,
    # and gives out no more of what it received (grpc/grpc#36066). The rest reads
    # on below that.

    async def _read_on(self) -> IngestResponse:
        if self._error is None:
            data: Any = await self.call._cython_call.receive_serialized_message()  # type: ignore[attr-defined]
            if data is not grpc.aio.EOF:
                return IngestResponse.FromString(data)
        async with asyncio.timeout(DEADLINE):
            while self._error is None:
                await asyncio.sleep(0.01)
                self._keep_error(self.call)
        raise self._error

    def _keep_error(self, call: Any) -> None:
        """Keep the status of an ended call if it is not grpc.aio's own."""
        code, details = _immediately(call.code()), _immediately(call.details())
        if details != "Internal error from Core" and self._error is None:
            trailers = _immediately(call.trailing_metadata())
            self._error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details)


def _immediately(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise AssertionError("it waits")
