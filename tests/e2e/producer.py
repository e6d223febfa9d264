"""A producer that does on its Ingest stream what a test tells it to, right or wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from spacelink._stream_call import StreamCall
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
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(SERVICE + "Ingest")
        self.call = method(timeout=DEADLINE)
        self._stream = StreamCall(self.call)
        self.ready: IngestReady | None = None

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
        await self._stream.write(data)

    async def half_close(self) -> None:
        await self._stream.done_writing()

    async def read(self) -> IngestResponse | None:
        """Read a message; None at the end of a stream that ended well.

        Raises:
            grpc.aio.AioRpcError: it ended otherwise.
        """
        data = await self._stream.read()
        return None if data is None else IngestResponse.FromString(data)

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
