"""Sends batches on Ingest streams; the server and the no-op handler are fed by this same code."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import grpc.aio

from bench.encoders.ingest import StreamEncoder, start_message
from bench.load.ack_log import AckLog
from bench.load.spec import LoadSpec
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

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


class _Stream:
    def __init__(self, number: int, spec: LoadSpec, log: AckLog) -> None:
        self._number = number
        self._encoder = StreamEncoder(number, spec.connections, spec.batch_size)
        self._window = spec.window
        self._metadata = spec.metadata
        self._log = log
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
        self._acked = response.ready.committed_sequence
        self._window = min(self._window, response.ready.max_unacked_batches)

    async def run(self) -> None:
        await asyncio.gather(self._send(), self._receive())

    async def _send(self) -> None:
        write, message, sent_at = self._call.write, self._encoder.message, self._sent_at
        sequence = self._acked
        while (now := time.perf_counter()) < self._log.deadline:
            if len(sent_at) >= self._window:
                self._room.clear()
                await self._room.wait()
                continue
            sequence += 1
            sent_at.append(now)
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
        for _ in range(ack.committed_sequence - self._acked):
            self._log.add(self._sent_at.popleft(), now)
        self._acked = ack.committed_sequence
