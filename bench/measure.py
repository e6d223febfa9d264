"""One measurement: a fresh server, a load, and a look whether what was acked is there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.load.process import load_process
from bench.load.spec import LoadResult, LoadSpec
from bench.peers import Peer
from bench.peers.base import Server
from bench.processes import cpu_seconds, disk_bytes, family_cpu_seconds, machine_cpu_seconds, peak_rss_bytes
from bench.walk import ALL_METRICS

# VictoriaMetrics shows samples up to a second after it has acked them.
_VISIBLE_DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How to load a peer.

    Attributes:
        batch_size: samples in a batch.
        connections: connections or streams.
        window: batches under way on each of them.
        seconds: how long to measure.
        warmup: how long to load before that.
        expected_rate: batches a second to have encoded beforehand.
    """

    batch_size: int
    connections: int
    window: int
    seconds: float
    warmup: float
    expected_rate: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one measurement found.

    Attributes:
        load: what the load generator saw.
        server_rss_bytes: the server's largest resident set while under load.
        server_cpu_seconds: the server's processor time while under load, and its database's.
        disk_bytes: what its store takes on disk after a clean stop.
        other_cores: processor cores that anything but server and load generator
            kept busy meanwhile; where that is much, the figures say little.
    """

    load: LoadResult
    server_rss_bytes: int
    server_cpu_seconds: float
    disk_bytes: int
    other_cores: float


def measure(
    peer: Peer,
    settings: Settings,
    directory: Path,
    *,
    beside: Callable[[Server], AbstractContextManager[None]] = lambda _server: nullcontext(),
) -> Measurement:
    """Load a fresh server of a peer.

    Args:
        peer: the system to measure.
        settings: how to load it.
        directory: where to keep the store; it is removed afterwards.
        beside: what runs beside the load.

    Raises:
        RuntimeError: the load failed, or what was acked is not what is stored.
    """
    with tempfile.TemporaryDirectory(dir=directory) as place:
        with peer.serve(Path(place)) as server, load_process(_spec(peer, server, settings)) as load:
            clock = _Clock(server)
            with beside(server):
                result = load.run()
            clock.stop()
            rss = peak_rss_bytes(server.pid)
            if peer.keeps_data:
                _check_stored(peer, server, result.acked_samples * len(ALL_METRICS))
        other = (clock.machine - clock.server - result.cpu_seconds) / clock.elapsed
        return Measurement(result, rss, clock.server, disk_bytes(server.data), max(other, 0.0))


class _Clock:
    """How much processor time goes by: the server's and the whole machine's."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._now()

    def stop(self) -> None:
        self.elapsed, self.server, self.machine = (
            now - before for now, before in zip(self._now(), self._before, strict=True)
        )

    def _now(self) -> tuple[float, float, float]:
        used = cpu_seconds(self._server.pid)
        if self._server.database_pid is not None:
            used += family_cpu_seconds(self._server.database_pid)
        return time.monotonic(), used, machine_cpu_seconds()


def _spec(peer: Peer, server: Server, settings: Settings) -> LoadSpec:
    return LoadSpec(
        host=server.host,
        port=server.port,
        metadata=server.metadata,
        http=peer.http,
        batch_size=settings.batch_size,
        connections=settings.connections,
        window=settings.window,
        warmup=settings.warmup,
        seconds=settings.seconds,
        expected_batches=int(settings.expected_rate * (settings.warmup + settings.seconds)),
    )


def _check_stored(peer: Peer, server: Server, acked: int) -> None:
    deadline = time.monotonic() + _VISIBLE_DEADLINE
    while (stored := peer.stored_values(server)) != acked and time.monotonic() < deadline:
        time.sleep(0.5)
    if stored != acked:
        raise RuntimeError(f"{peer.name} acked {acked} values and has {stored}: the measurement is void")
