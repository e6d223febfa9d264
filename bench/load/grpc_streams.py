"""Sends batches on Ingest streams; the server and the no-op handler are fed by this same code."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from typing import Any

import grpc.aio

from bench.encoders.ingest import StreamEncoder, start_message
from bench.load.ack_log import AckLog
from bench.load.spec import LoadResult, LoadSpec
from spacelink.v1.telemetry_pb2 import IngestAck, IngestResponse

INGEST = "/spacelink.v1.TelemetryService/Ingest"


class GrpcLoad:
    """Streams that each keep a window of batches under way."""

    def __init__(self, spec: LoadSpec) -> None:
        self.log = AckLog(spec)
        self._spec = spec
        self._streams = [_Stream(number, spec, self.log) for number in range(spec.connections)]

    async def connect(self) -> None:
        """Open all streams and wait until the server is ready for each."""
        # One connection carries all streams: it is the fastest, and what a relay does.
        self._channel = grpc.aio.insecure_channel(f"{self._spec.host}:{self._spec.port}")
        for stream in self._streams:
            await stream.open(self._channel)

    async def run(self) -> None:
        """Send until the deadline, and wait for the last acks."""
        await asyncio.gather(*(stream.run() for stream in self._streams))

    def result(self) -> LoadResult:
        """Sum up; call it while the connection is still open."""
        return replace(self.log.result(), acked_by_stream=tuple(stream.acked for stream in self._streams))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


class _Stream:
    def __init__(self, number: int, spec: LoadSpec, log: AckLog) -> None:
        self._number = number
        self._encoder = StreamEncoder(number, spec.connections, spec.batch_size)
        self._window = spec.window
        # Between two batches, in seconds; streams take turns.
        self._pause = spec.connections / spec.rate if spec.rate else 0.0
        self._first_pause = number / spec.rate if spec.rate else 0.0
        self._metadata = spec.metadata
        self._log = log
        self.acked = 0
        self._sent_at: deque[float] = deque()
        self._room = asyncio.Event()

    async def open(self, channel: grpc.aio.Channel) -> None:
        # Raw bytes out: the messages are encoded already.
        method: Any = channel.stream_stream(INGEST, response_deserializer=IngestResponse.FromString)
        self._call = method(metadata=self._metadata)
        await self._call.write(start_message(self._number))
        response = await self._call.read()
        if response is grpc.aio.EOF:
            raise RuntimeError(f"the server ended the stream: {await self._call.details()}")
        self.acked = response.ready.committed_sequence
        self._window = min(self._window, response.ready.max_unacked_batches)

    async def run(self) -> None:
        await asyncio.gather(self._send(), self._receive())

    async def _send(self) -> None:
        write, message, sent_at = self._call.write, self._encoder.message, self._sent_at
        sequence = self.acked
        due = time.perf_counter() + self._first_pause
        while (now := time.perf_counter()) < self._log.deadline:
            if len(sent_at) >= self._window:
                self._room.clear()
                await self._room.wait()
                continue
            if due > now and self._pause:
                await asyncio.sleep(due - now)
            sequence += 1
            # A batch that is late has waited, too.
            sent_at.append(due if self._pause else now)
            due += self._pause
            await write(message(sequence))
        await self._call.done_writing()

    async def _receive(self) -> None:
        read = self._call.read
        while (response := await read()) is not grpc.aio.EOF:
            self._take_ack(response.ack, time.perf_counter())
            self._room.set()
        code = await self._call.code()
        if code is not grpc.StatusCode.OK or self._sent_at:
            details = await self._call.details()
            raise RuntimeError(f"{code}, {len(self._sent_at)} batches without an ack: {details}")

    def _take_ack(self, ack: IngestAck, now: float) -> None:
        if ack.rejected:
            raise RuntimeError(f"the server rejected a batch: {ack.rejected[0]}")
        for _ in range(ack.committed_sequence - self.acked):
            self._log.add(self._sent_at.popleft(), now)
        self.acked = ack.committed_sequence
