"""`bench soak`: ingest at a part of capacity, reads and maintenance, for a long time."""

from __future__ import annotations

import re
import statistics
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bench.ingest import Progress
from bench.load.process import load_process
from bench.load.spec import LoadInterval, LoadResult, LoadSpec
from bench.peers import SpaceLink
from bench.peers.base import Server
from bench.processes import free_port, rss_bytes
from bench.readers import ReaderProcess, reader_process
from bench.walk import DEVICES, START_SECONDS, nth_batch
from spacelink import SpaceLinkClient

STREAMS = 64
WARMUP_MINUTES = 5
# The ends of the run that are compared.
SPAN_MINUTES = 5
# Fills a window of every stream many times over, and maintenance has much to do.
_CALIBRATION_SECONDS = 10.0
# Acks without maintenance, to compare with.
_QUIET_SECONDS = 60.0
_INTERVAL_SECONDS = 60.0
_OFTEN = "10s"
_NEVER = "3650d"
_RSS_SECONDS = 1.0
_POLL_SECONDS = 0.2
_SCRAPE_TIMEOUT = 30.0
_SECOND = 1_000_000_000
# Watchers end as CANCELLED.
_FAULT = re.compile(
    r"spacelink_\w+_(failures|rejected|refused|left_out)_total"
    r'|spacelink_calls_total\{code="(?!OK"|CANCELLED")'
)

_MakePeer = Callable[..., SpaceLink]


@dataclass(frozen=True, slots=True)
class Minute:
    """What a minute was like.

    Attributes:
        acks: of the load.
        rss_bytes: median of the server's resident set.
        reads: answers by what was asked.
        reads_p50_ms: median of how long they took, by the same.
        reads_p99_ms: 99th percentile of the same.
        updates: batches that watchers were given.
        lost_updates: batches that watchers were told they have lost.
        stored_samples: committed since the server started.
        maintenance_lag_seconds: at its end.
        queue_bytes: at its end.
        errors: what went wrong in it, as clients and the server saw it.
    """

    acks: LoadInterval
    rss_bytes: float
    reads: dict[str, int]
    reads_p50_ms: dict[str, float]
    reads_p99_ms: dict[str, float]
    updates: int
    lost_updates: int
    stored_samples: int
    maintenance_lag_seconds: float
    queue_bytes: int
    errors: dict[str, int]


@dataclass(slots=True)
class Soak:
    """A run.

    Attributes:
        peak: samples a second that are acked at most, with maintenance at work.
        capacity: samples a second that are acked, compacted and rolled up; more can
            be stored for a while, but not for ever.
        rate: samples a second that were sent after that.
        quiet: acks under that load with readers and without maintenance.
        minutes: what each minute with all of it was like.
        acked_samples: how many were acked in these.
        stored_twice_or_not: devices whose samples are not each stored once.
    """

    peak: float = 0.0
    capacity: float = 0.0
    rate: float = 0.0
    quiet: LoadResult | None = None
    minutes: list[Minute] = field(default_factory=list)
    acked_samples: int = 0
    stored_twice_or_not: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """How often anything went wrong."""
        return sum(sum(minute.errors.values()) for minute in self.minutes)

    def ends(self) -> tuple[list[Minute], list[Minute]]:
        """Give the first minutes after the warm-up, and the last ones; shorter runs are cut in three."""
        third = len(self.minutes) // 3
        warmup, span = min(WARMUP_MINUTES, third), max(min(SPAN_MINUTES, third), 1)
        return self.minutes[warmup:][:span], self.minutes[-span:]


def run(
    make_peer: _MakePeer,
    minutes: int,
    batch_size: int,
    share: float,
    directory: Path,
    say: Progress,
    on_minute: Callable[[Minute], None],
) -> Soak:
    """Measure what the server can take, and load it with a share of that for some minutes.

    Args:
        make_peer: makes the server, given flags.
        minutes: how long.
        batch_size: samples in a batch.
        share: of the capacity.
        directory: where to keep the stores; they are removed afterwards.
        say: told what is going on.
        on_minute: told of each minute.

    Raises:
        RuntimeError: the load failed, or a process died.
    """
    found = Soak()
    port = free_port()
    metrics = ("--metrics-listen", f"127.0.0.1:{port}")
    with _serving(make_peer("--maintenance-interval", _OFTEN, *metrics), directory) as server:
        say("calibrating")
        spec = _spec(server, batch_size, _CALIBRATION_SECONDS)
        with load_process(spec) as load:
            start = time.monotonic()
            result = load.run()
            say("waiting for maintenance")
            _wait_taken_in(port)
            found.peak = result.samples_per_second
            found.capacity = result.acked_samples / (time.monotonic() - start)
    found.rate = share * found.capacity
    with _serving(make_peer("--maintenance-interval", _NEVER), directory) as server:
        say(f"acks without maintenance at {found.rate:,.0f} samples/s")
        spec = _spec(server, batch_size, _QUIET_SECONDS, found.rate)
        with reader_process(server), load_process(spec) as load:
            found.quiet = load.run()
    with _serving(make_peer(*metrics), directory) as server:
        say("soaking")
        spec = _spec(server, batch_size, minutes * _INTERVAL_SECONDS, found.rate)
        with load_process(spec) as load, reader_process(server) as readers, _watching_rss(server.pid) as rss:
            minute = _Minutes(readers, rss, port)

            def note(acks: LoadInterval) -> None:
                found.minutes.append(minute.take(acks))
                on_minute(found.minutes[-1])

            result = load.run(note)
        found.acked_samples = result.acked_samples
        say("reading back")
        found.stored_twice_or_not = _not_stored_once(server, result, batch_size)
        committed = int(_scrape(port)["spacelink_samples_total"])
        if committed != result.acked_samples:
            text = f"{committed} committed, {result.acked_samples} acked"
            found.stored_twice_or_not["all"] = text
    return found


def _wait_taken_in(port: int) -> None:
    """Wait until maintenance has come to all that is stored by now."""
    start = time.monotonic()
    while _scrape(port)["spacelink_maintenance_lag_seconds"] > time.monotonic() - start:
        time.sleep(_POLL_SECONDS)


@contextmanager
def _serving(peer: SpaceLink, directory: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(dir=directory) as place, peer.serve(Path(place)) as server:
        yield server


def _spec(server: Server, batch_size: int, seconds: float, rate: float = 0.0) -> LoadSpec:
    return LoadSpec(
        host=server.host,
        port=server.port,
        metadata=server.metadata,
        http=None,
        batch_size=batch_size,
        connections=STREAMS,
        window=SpaceLink.window,
        warmup=0.0 if rate else 5.0,
        # The last report is of a whole interval.
        seconds=seconds + 1.0 if rate else seconds,
        expected_batches=0,
        rate=rate / batch_size,
        report_seconds=_INTERVAL_SECONDS if rate else 0.0,
    )


@contextmanager
def _watching_rss(pid: int) -> Iterator[list[int]]:
    """Look at the resident set of a process again and again, and give what was seen."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_RSS_SECONDS):
            seen.append(rss_bytes(pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


class _Minutes:
    """Puts together what the clients and the server say of each minute."""

    def __init__(self, readers: ReaderProcess, rss: list[int], metrics_port: int) -> None:
        self._readers = readers
        self._rss = rss
        self._port = metrics_port
        self._faults: Counter[str] = Counter()

    def take(self, acks: LoadInterval) -> Minute:
        reads = self._readers.report()
        scraped = _scrape(self._port)
        faults = _faults(scraped)
        errors = reads.errors + (faults - self._faults)
        self._faults = faults
        rss = statistics.median(self._rss)
        self._rss.clear()
        return Minute(
            acks=acks,
            rss_bytes=rss,
            reads={kind: len(seconds) for kind, seconds in reads.seconds.items()},
            reads_p50_ms={kind: reads.percentile_ms(kind, 50) for kind in reads.seconds},
            reads_p99_ms={kind: reads.percentile_ms(kind, 99) for kind in reads.seconds},
            updates=reads.updates,
            lost_updates=reads.lost,
            stored_samples=int(scraped["spacelink_samples_total"]),
            maintenance_lag_seconds=scraped["spacelink_maintenance_lag_seconds"],
            queue_bytes=int(scraped["spacelink_queue_bytes"]),
            errors=dict(errors),
        )


def _scrape(port: int) -> dict[str, float]:
    """Give the server's metrics, those with labels as `name{label="value"}`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_TIMEOUT) as answer:
        text = answer.read().decode()
    return {
        _series(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _series(name: str, labels: Mapping[str, str]) -> str:
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{shown}}}" if shown else name


def _faults(scraped: Mapping[str, float]) -> Counter[str]:
    """Pick what counts faults of the server, or calls that it did not serve well."""
    return Counter({name: int(value) for name, value in scraped.items() if _FAULT.match(name)})


def _not_stored_once(server: Server, result: LoadResult, batch_size: int) -> dict[str, str]:
    """Read all samples back; name the devices that do not have each that was acked, once."""
    token = server.metadata[0][1].removeprefix("Bearer ")
    found = {}
    with SpaceLinkClient(server.address, token=token) as client:
        for device_id, count in _acked_by_device(result.acked_by_stream, batch_size).items():
            if text := _difference(client, device_id, count):
                found[device_id] = text
    return found


def _acked_by_device(acked: Sequence[int], batch_size: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for stream, sequence in enumerate(acked):
        owned = range(stream, len(DEVICES), len(acked))
        for place in range(min(len(owned), sequence)):
            last = sequence - 1 - (sequence - 1 - place) % len(owned)
            batch = nth_batch(stream, len(acked), last, batch_size)
            counts[DEVICES[batch.device]] = (batch.number + 1) * batch_size
    return counts


def _difference(client: SpaceLinkClient, device_id: str, count: int) -> str:
    """Say what is wrong with a device's times, which are those of consecutive seconds."""
    start = due = START_SECONDS * _SECOND
    for batch in client.query_telemetry(device_id, metrics=["latency_ms"]):
        times = batch.time_unix_nano
        if not np.array_equal(times, due + np.arange(len(times)) * _SECOND):
            return f"not consecutive after {(due - start) // _SECOND} samples"
        due += len(times) * _SECOND
    stored = (due - start) // _SECOND
    return "" if stored == count else f"{count} acked, {stored} stored"
