"""Reads beside a load: queries, summaries, latest samples and watchers, in a process of their own."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np
import uvloop

from bench.peers.base import Server
from bench.walk import DEVICES, START_SECONDS
from spacelink import AsyncSpaceLinkClient
from spacelink.columns import concatenate

_processes = multiprocessing.get_context("spawn")

_SECOND = 1_000_000_000
_START = START_SECONDS * _SECOND
_HOUR = 3600 * _SECOND

# Between two of a kind, in seconds: what a few dashboards ask for.
_PAUSES = {"query": 0.25, "summary": 1.0, "latest": 1.0}
_WATCHERS = 2
# A day of a quarter of the fleet, up to what was newest a while ago: hours go by
# in seconds here, and the rollups that such a summary is of come with the next
# pass of maintenance.
_SUMMARIZED_DEVICES = 16
_SUMMARIZED = 24 * _HOUR
_ROLLED_UP_SECONDS = 180.0

_Ask = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Reads:
    """What was read since the last report.

    Attributes:
        seconds: how long each answer took, by what was asked.
        updates: batches that watchers were given.
        lost: batches that they were told they have lost.
        errors: answers that failed or were wrong, by what is wrong.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    updates: int = 0
    lost: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def percentile_ms(self, kind: str, percentile: float) -> float:
        """Give a percentile of how long answers took; NaN where there was none."""
        seconds = self.seconds.get(kind)
        return float(np.percentile(seconds, percentile)) * 1000 if seconds else math.nan


class ReaderProcess:
    """Readers that are at work."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def report(self) -> Reads:
        """Give what was read since the last call.

        Raises:
            EOFError: the process died.
        """
        self._connection.send("report")
        found: Reads = self._connection.recv()
        return found


@contextmanager
def reader_process(server: Server) -> Iterator[ReaderProcess]:
    """Read from a server that is fed by the load generator, until this leaves."""
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_main, args=(server, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ReaderProcess(ours)
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()
        process.join()


def _main(server: Server, connection: Connection) -> None:
    uvloop.run(_run(server, connection))


async def _run(server: Server, connection: Connection) -> None:
    token = server.metadata[0][1].removeprefix("Bearer ")
    async with AsyncSpaceLinkClient(server.address, token=token) as client:
        readers = _Readers(client)
        async with readers.reading():
            with suppress(EOFError):
                while await asyncio.to_thread(connection.recv):
                    await asyncio.to_thread(connection.send, readers.take())


class _Readers:
    """Asks, and checks each answer: a device has a sample for every second up to its newest."""

    def __init__(self, client: AsyncSpaceLinkClient) -> None:
        self._client = client
        self._random = random.Random(1)
        self._newest: dict[str, int] = {}
        # Times of reading the newest samples, and the newest that every device had.
        self._reached: deque[tuple[float, int]] = deque()
        self._reads = Reads()

    def take(self) -> Reads:
        reads, self._reads = self._reads, Reads()
        return reads

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        kinds: dict[str, _Ask] = {"query": self._query, "summary": self._summary, "latest": self._latest}
        tasks = [asyncio.create_task(self._repeat(kind, ask)) for kind, ask in kinds.items()]
        tasks += [asyncio.create_task(self._watch(device)) for device in DEVICES[:_WATCHERS]]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _repeat(self, kind: str, ask: _Ask) -> None:
        while True:
            await asyncio.sleep(_PAUSES[kind])
            start = time.perf_counter()
            try:
                await ask()
            except Exception as error:
                self._reads.errors[f"{kind}: {error!r}"] += 1
            else:
                self._reads.seconds.setdefault(kind, []).append(time.perf_counter() - start)

    async def _latest(self) -> None:
        async for samples in self._client.list_latest_telemetry(DEVICES):
            newest = int(samples.time_unix_nano[-1])
            _expect("no older than the one before", newest >= self._newest.get(samples.device_id, 0))
            self._newest[samples.device_id] = newest
        if len(self._newest) == len(DEVICES):
            self._reached.append((time.monotonic(), min(self._newest.values())))

    async def _query(self) -> None:
        if not self._newest:
            return
        device_id, newest = self._random.choice(list(self._newest.items()))
        start = max(newest - _HOUR, _START)
        batches = [batch async for batch in self._client.query_telemetry(device_id, start, newest)]
        times = concatenate(batches).time_unix_nano if batches else np.empty(0, np.int64)
        _expect("each second once", np.array_equal(times, np.arange(start, newest, _SECOND)))

    async def _summary(self) -> None:
        while len(self._reached) > 1 and self._reached[1][0] < time.monotonic() - _ROLLED_UP_SECONDS:
            self._reached.popleft()
        if not self._reached or self._reached[0][0] > time.monotonic() - _ROLLED_UP_SECONDS:
            return
        end = self._reached[0][1]
        devices = self._random.sample(DEVICES, _SUMMARIZED_DEVICES)
        start = max(end - _SUMMARIZED, _START)
        found = await self._client.summarize_telemetry(devices, start, end)
        count = sum(summary.sample_count for summary in found)
        _expect("each second once", count == (end - start) // _SECOND * len(devices))

    async def _watch(self, device_id: str) -> None:
        while True:
            try:
                async for update in self._client.watch_telemetry(device_id):
                    self._reads.updates += 1
                    self._reads.lost += update.lost_batches
            except Exception as error:
                self._reads.errors[f"watch: {error!r}"] += 1
            else:
                self._reads.errors["watch: ended"] += 1
            await asyncio.sleep(1)


def _expect(what: str, holds: bool) -> None:
    if not holds:
        raise RuntimeError(f"expected {what}")
