"""`bench ingest`: every system in turn, round by round, each with the concurrency that suits it best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Measurement, Settings, measure
from bench.peers import InfluxDB, Noop, Peer, SpaceLink, SpaceLinkOnPostgres, VictoriaMetrics

BATCH_SIZES = (1, 10, 60, 1000)

# Long enough for every connection to be busy; it only has to tell which concurrency is better.
_CALIBRATION_WARMUP = 0.3
_CALIBRATION_SECONDS = 0.7
# The best of two: a hiccup of the machine must not rule out a concurrency.
_CALIBRATION_PASSES = 2
# More than any HTTP peer takes on two cores; what is encoded for nothing costs seconds.
_MAX_BATCHES_PER_SECOND = 30_000
_MAX_SAMPLES_PER_SECOND = 1_500_000
# A calibration is short and a store slows down as it fills, so this rarely runs out.
_SPARE = 1.3

Progress = Callable[[str], None]


@dataclass(slots=True)
class Series:
    """The measurements of one system at one batch size."""

    peer: Peer
    settings: Settings
    measurements: list[Measurement] = field(default_factory=list)


def systems() -> list[Peer]:
    """List the systems in the order in which they take turns."""
    return [
        Noop(),
        SpaceLink(),
        SpaceLinkOnPostgres(),
        VictoriaMetrics("remote write"),
        VictoriaMetrics("native"),
        InfluxDB(),
    ]


def available(peers: Iterable[Peer], say: Progress) -> list[Peer]:
    """Leave out what cannot run here, and say why."""
    usable = []
    for peer in peers:
        if reason := peer.unavailable():
            say(f"skipped {peer.name}: {reason}")
        else:
            usable.append(peer)
    return usable


def calibrated(
    peers: Sequence[Peer], sizes: Sequence[int], seconds: float, directory: Path, say: Progress
) -> Iterator[Series]:
    """Give each system at each batch size the concurrency at which it is fastest."""
    for size in sizes:
        for peer in peers:
            say(f"calibrating {peer.name}, batches of {size}")
            tries = [
                (_short_rate(peer, size, connections, directory), connections)
                for connections in peer.connections * _CALIBRATION_PASSES
            ]
            rate, connections = max(tries)
            yield Series(peer, settings(peer, size, connections, seconds, rate * _SPARE))


def uncalibrated(peers: Sequence[Peer], sizes: Sequence[int], seconds: float) -> Iterator[Series]:
    """Give each system at each batch size a concurrency that does for most."""
    for size in sizes:
        for peer in peers:
            yield Series(peer, settings(peer, size, peer.connections[2], seconds, _guessed_rate(size)))


def run_rounds(plan: Sequence[Series], rounds: int, directory: Path, say: Progress) -> None:
    """Measure all of a plan in turn, as many times as there are rounds."""
    for number in range(1, rounds + 1):
        for series in plan:
            size = series.settings.batch_size
            say(f"round {number} of {rounds}: {series.peer.name}, batches of {size}")
            series.measurements.append(measure(series.peer, series.settings, directory))


def settings(peer: Peer, size: int, connections: int, seconds: float, rate: float) -> Settings:
    """Make the settings of a measurement that follows a second of warm-up."""
    return Settings(size, connections, peer.window, seconds, warmup=1.0, expected_rate=rate)


def _short_rate(peer: Peer, size: int, connections: int, directory: Path) -> float:
    short = Settings(
        size, connections, peer.window, _CALIBRATION_SECONDS, _CALIBRATION_WARMUP, _guessed_rate(size)
    )
    return measure(peer, short, directory).load.samples_per_second / size


def _guessed_rate(size: int) -> float:
    return min(_MAX_BATCHES_PER_SECOND, _MAX_SAMPLES_PER_SECOND / size)
