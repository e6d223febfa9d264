"""Sends requests encoded beforehand over HTTP/1.1 connections that are kept open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import cast

from bench.load.ack_log import AckLog
from bench.load.spec import HttpTarget, LoadResult, LoadSpec
from bench.walk import nth_batch

# What the requests of one load may take in memory.
_MAX_BYTES = 1_500_000_000


class HttpLoad:
    """Connections that each have one request under way."""

    def __init__(self, spec: LoadSpec, target: HttpTarget) -> None:
        self._spec = spec
        self._requests = _encode_requests(spec, target)
        self._connections: list[_Connection] = []
        self.log = AckLog(spec)

    async def connect(self) -> None:
        """Open all connections."""
        loop = asyncio.get_running_loop()
        for requests in self._requests:
            factory = partial(_Connection, iter(requests), self.log, loop.create_future())
            _, connection = await loop.create_connection(factory, self._spec.host, self._spec.port)
            self._connections.append(connection)

    async def run(self) -> None:
        """Send until the deadline, and wait for the last answers."""
        for connection in self._connections:
            connection.send_next()
        await asyncio.gather(*(connection.done for connection in self._connections))

    def result(self) -> LoadResult:
        """Sum up; call it while the connections are still open."""
        return self.log.result()

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], log: AckLog, done: asyncio.Future[None]) -> None:
        self.done = done
        self._requests = requests
        self._log = log
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is not derived from asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def send_next(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._log.deadline:
            self.done.set_result(None)
            return
        request = next(self._requests, None)
        if request is None:
            self._log.exhausted = True
            self.done.set_result(None)
            return
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"\r\n\r\n"):
            return
        # 204 has no body: the blank line ends the answer.
        if not self._answer.startswith(b"HTTP/1.1 204"):
            self.done.set_exception(RuntimeError(f"the server answered {self._answer!r}"))
            return
        self._answer = b""
        self._log.add(self._sent_at, time.perf_counter())
        self.send_next()

    def close(self) -> None:
        self._transport.close()


def _encode_requests(spec: LoadSpec, target: HttpTarget) -> list[list[bytes]]:
    head = "\r\n".join((f"POST {target.path} HTTP/1.1", f"Host: {spec.host}:{spec.port}", *target.headers))
    requests: list[list[bytes]] = [[] for _ in range(spec.connections)]
    total = 0
    for index in count():
        for connection, mine in enumerate(requests):
            if index * spec.connections + connection >= spec.expected_batches or total > _MAX_BYTES:
                return requests
            body = target.encode(nth_batch(connection, spec.connections, index, spec.batch_size))
            mine.append(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            total += len(mine[-1])
    raise AssertionError
