"""`bench watcher`: ingest with and without a watcher that has stopped reading."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import grpc

from bench.ingest import Progress
from bench.measure import Settings, measure
from bench.peers import SpaceLink
from bench.peers.base import Server
from spacelink.v1.telemetry_pb2 import WatchTelemetryRequest
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub

_processes = multiprocessing.get_context("spawn")
_STREAMS = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Samples acked a second without and with the watcher, one after the other."""

    alone: float
    watched: float

    @property
    def ratio(self) -> float:
        """What is left with the watcher."""
        return self.watched / self.alone


def run_pairs(size: int, pairs: int, seconds: float, directory: Path, say: Progress) -> list[Pair]:
    """Measure pairs; every other one has the watcher first, so that a drift of the machine cancels out."""
    load = Settings(size, _STREAMS, SpaceLink.window, seconds, warmup=1.0, expected_rate=0)
    found = []
    for number in range(pairs):
        rates: dict[bool, float] = {}
        for watched in (True, False) if number % 2 else (False, True):
            say(f"pair {number + 1} of {pairs}: {'with' if watched else 'without'} a stalled watcher")
            rates[watched] = _rate(load, directory, watched)
        found.append(Pair(rates[False], rates[True]))
    return found


def median_ratio(pairs: list[Pair]) -> float:
    """Give the median of what is left with the watcher."""
    return median(pair.ratio for pair in pairs)


def _rate(load: Settings, directory: Path, watched: bool) -> float:
    found = (
        measure(SpaceLink(), load, directory, beside=stalled_watcher)
        if watched
        else measure(SpaceLink(), load, directory)
    )
    return found.load.samples_per_second


@contextmanager
def stalled_watcher(server: Server) -> Iterator[None]:
    """Run a watcher that reads the first batch and no other.

    Raises:
        RuntimeError: it did not get as far as that.
    """
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_watch, args=(server, theirs), daemon=True)
    process.start()
    try:
        _expect(ours, "watching")
        yield
        _expect(ours, "stalled")
    finally:
        process.kill()
        process.join()


def _expect(connection: Connection, word: str) -> None:
    if not connection.poll(timeout=30) or connection.recv() != word:
        raise RuntimeError(f"the watcher never said that it is {word}")


def _watch(server: Server, connection: Connection) -> None:
    channel = grpc.insecure_channel(server.address)
    grpc.channel_ready_future(channel).result(timeout=10)
    call = TelemetryServiceStub(channel).WatchTelemetry(WatchTelemetryRequest(), metadata=server.metadata)
    connection.send("watching")
    next(call)
    connection.send("stalled")
    while True:
        time.sleep(60)
