"""Tables for a reader and a document for a program."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from rich.console import Console
from rich.table import Column, Table

from bench.detection import CLOSED_WITHIN_S, FOUND_WITHIN_S, Found, Incident, middle_and_latest
from bench.health import PERCENTAGES, Health
from bench.idle_streams import IdleStreams
from bench.ingest import Series
from bench.measure import Measurement
from bench.networks import Report
from bench.peers import SpaceLink
from bench.query import QUESTIONS, Answers
from bench.recording import Recording
from bench.rest import BATCH, CONNECTIONS, Overhead
from bench.rest import Rates as RestRates
from bench.scoring import DEVICES, Rates
from bench.size import Size
from bench.soak import SPAN_MINUTES, Minute, Soak
from bench.tokens import Verifications
from bench.walk import ALL_METRICS
from bench.watcher import Pair, median_ratio

# Wide enough for every column where there is no terminal to ask.
_WIDTH = 180
# The kernel's own work for a load, such as its writing to the disk, stays below this.
_DISTURBED_CORES = 0.3
_FSYNCS = 50


def console() -> Console:
    """Make a console that does not squeeze its tables in a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH)


def machine(directory: Path) -> dict[str, Any]:
    """Describe the machine, as far as it bears on the figures."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "fsync_ms": _fsync_ms(directory),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def show_machine(out: Console, facts: dict[str, Any]) -> None:
    """Print what the figures were measured on."""
    memory = facts["memory_bytes"] / 2**30
    out.print(
        f"{facts['date']}: {facts['cores']} cores ({facts['processor']}), {memory:.0f} GiB, "
        f"fsync of 4 KiB {facts['fsync_ms']:.1f} ms, Python {facts['python']}, grpcio {facts['grpcio']}"
    )


def show_ingest(out: Console, plan: Sequence[Series]) -> None:
    """Print a table for each batch size, and what an ack of each system means."""
    for size, group in groupby(plan, key=lambda series: series.settings.batch_size):
        out.print(_ingest_table(size, list(group)))
    meanings = {series.peer.name: series.peer.durability for series in plan}
    for name, durability in meanings.items():
        out.print(f"An ack of {name} means: {durability}.")
    warn_if_disturbed(out, plan)


def show_latency(out: Console, plan: Sequence[Series]) -> None:
    """Print the ack latency table."""
    table = _table("Ack latency, 64 streams", ("samples a batch", "window", "system"))
    for heading in ("samples/s", "p50 ms", "p99 ms", "RSS MB"):
        table.add_column(heading, justify="right")
    for series in plan:
        load = series.settings
        table.add_row(
            str(load.batch_size),
            str(load.window),
            series.peer.name,
            _number(_rate(series)),
            *(f"{_median(series, pick):.1f}" for pick in (_p50, _p99)),
            f"{_median(series, _rss) / 1e6:.0f}",
        )
    out.print(table)
    warn_if_disturbed(out, plan)


def warn_if_disturbed(out: Console, plan: Sequence[Series]) -> None:
    """Say so where other processes have taken part of the machine."""
    other = max(measurement.other_cores for series in plan for measurement in series.measurements)
    if other > _DISTURBED_CORES:
        out.print(f"Other processes kept up to {other:.1f} cores busy: the figures say little.")


def show_tokens(out: Console, found: Verifications) -> None:
    """Print what it takes to verify a token."""
    table = Table("five caveats", Column("µs a token", justify="right"), title="Verification of tokens")
    for name, value in found.medians().items():
        table.add_row(name, f"{value:.1f}")
    out.print(table)


def show_watcher(out: Console, size: int, pairs: list[Pair]) -> None:
    """Print what a stalled watcher costs."""
    table = _table(f"Ingest with a stalled watcher, {size} samples a batch", ())
    for heading in ("samples/s without", "samples/s with", "ratio"):
        table.add_column(heading, justify="right")
    for pair in pairs:
        table.add_row(_number(pair.alone), _number(pair.watched), f"{pair.ratio:.3f}")
    out.print(table)
    out.print(f"The median ratio is {median_ratio(pairs):.3f}.")


def show_idle(out: Console, found: Sequence[IdleStreams]) -> None:
    """Print what idle streams cost."""
    table = _table("Idle Ingest streams", ())
    for heading in ("streams", "connections", "RSS before MB", "RSS after MB", "KB a stream"):
        table.add_column(heading, justify="right")
    for idle in found:
        sizes = (f"{idle.before_bytes / 1e6:.1f}", f"{idle.after_bytes / 1e6:.1f}")
        table.add_row(str(idle.streams), str(idle.connections), *sizes, f"{idle.bytes_per_stream / 1000:.1f}")
    out.print(table)


def show_scoring(out: Console, rates: Rates) -> None:
    """Print the samples scored a second on one core."""
    table = _table(f"QoO and R of {DEVICES} devices in one pass, one core", ())
    for heading in ("samples/s", "plain Python, samples/s", "ratio", "largest difference"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{rates.vectorised:,.0f}",
        f"{rates.plain:,.0f}",
        f"{rates.vectorised / rates.plain:.0f}",
        f"{rates.difference:.1e}",
    )
    out.print(table)


def show_detection(out: Console, found: Sequence[Found]) -> None:
    """Print what was found of the faults in each recording."""
    table = _table("Degradation at known times", ("recording", "fault"))
    headings = ("injected", f"found within {FOUND_WITHIN_S} s", "median s", "latest s")
    closing_headings = (f"closed within {CLOSED_WITHIN_S} s", "median s", "latest s")
    for heading in (*headings, *closing_headings, "false", "precision", "recall"):
        table.add_column(heading, justify="right")
    for one in found:
        delays = (f"{seconds:.0f}" for seconds in middle_and_latest(one.delays_s))
        closings = (f"{seconds:.0f}" for seconds in middle_and_latest(one.closings_s))
        table.add_row(
            *(one.recording, one.fault, str(one.injected), str(one.in_time), *delays),
            *(str(one.closed), *closings, str(len(one.false))),
            *(f"{one.precision:.2f}", f"{one.recall:.2f}"),
        )
    out.print(table)


def show_incidents(out: Console, recording: Recording, incidents: Sequence[Incident]) -> None:
    """Print the incidents of a recording as it is."""
    time = recording.samples.time_unix_nano
    hours = int(time[-1] - time[0]) / 3600e9
    out.print(f"{recording.name} as it is, {hours:.1f} h: incidents {len(incidents)}")
    for one in incidents:
        opened = np.datetime64(int(one.opened_ns), "ns").astype("datetime64[s]")
        lasted = (one.closed_ns - one.opened_ns) / 1e9
        out.print(f"  {opened}Z {one.cause.name.lower()}: {one.value:.1f}, closed {lasted:.0f} s later")


def show_health(out: Console, profile: str, found: Sequence[Health]) -> None:
    """Print how the minutes of each recording scored."""
    table = _table(f"QoO by the minute, profile {profile}", ("recording",))
    for heading in ("minutes", "scored", "without data", *(f"p{percentage}" for percentage in PERCENTAGES)):
        table.add_column(heading, justify="right")
    table.add_column("held down by, minutes")
    for one in found:
        limiting = ", ".join(f"{item} {count}" for item, count in one.limiting.items() if count)
        scores = (f"{score:.1f}" for score in one.percentiles)
        table.add_row(one.recording, str(one.minutes), str(one.scored), str(one.empty), *scores, limiting)
    out.print(table)


def show_answers(out: Console, found: Sequence[Answers]) -> None:
    """Print how long each question takes on each store."""
    table = _table("Answers, ms (medians)", ("store",))
    for question in QUESTIONS:
        table.add_column(question, justify="right")
    for answers in found:
        medians = [answers.median(question) for question in QUESTIONS]
        table.add_row(answers.store, *("" if m is None else f"{m * 1000:,.0f}" for m in medians))
    out.print(table)


def show_reports(out: Console, devices: int, found: Sequence[Report]) -> None:
    """Print how long each report about a network takes."""
    table = _table(f"Reports about {devices:,} devices, ms", ("report",))
    for heading in ("first", "median", "longest", "processor time, median"):
        table.add_column(heading, justify="right")
    for each in found:
        seconds = (each.first, each.median, max(each.seconds), each.median_processor)
        table.add_row(each.name, *(f"{value * 1000:,.0f}" for value in seconds))
    out.print(table)


def show_rest(out: Console, overhead: Overhead, rates: RestRates) -> None:
    """Print what the bridge adds to a call, and what it takes in."""
    table = _table("One call both ways, ms", ())
    for heading in ("gRPC", "REST", "added"):
        table.add_column(heading, justify="right")
    table.add_row(f"{overhead.grpc_ms:.2f}", f"{overhead.rest_ms:.2f}", f"{overhead.added_ms:.2f}")
    out.print(table)
    table = _table(f"Ingest over REST, {CONNECTIONS} connections", ("samples a request",))
    table.add_column("samples/s", justify="right")
    table.add_row(f"{BATCH:,}", _number(rates.batch))
    table.add_row("1", _number(rates.single))
    out.print(table)


def show_size(out: Console, found: Size) -> None:
    """Print what a sample takes in each part of a store."""
    title = f"{found.samples:,} samples of {len(found.columns)} columns: {', '.join(found.columns)}"
    table = _table(title, ("stored",))
    table.add_column("bytes/sample", justify="right")
    for part, size in found.bytes_a_sample.items():
        table.add_row(part, f"{size:.2f}")
    out.print(table)


def show_minute(out: Console, minute: Minute) -> None:
    """Print a line of a soak."""
    acks = minute.acks
    reads = (
        f"{kind} {minute.reads[kind]} x {minute.reads_p50_ms[kind]:.0f}/{minute.reads_p99_ms[kind]:.0f}"
        for kind in sorted(minute.reads)
    )
    out.print(
        f"{time.strftime('%H:%M:%S')}  RSS {minute.rss_bytes / 1e6:.1f} MB  "
        f"ack p50/p99/max {acks.latency_p50_ms:.1f}/{acks.latency_p99_ms:.1f}/{acks.latency_max_ms:.0f} ms  "
        f"{', '.join(reads)} ms p50/p99  watched {minute.updates} (lost {minute.lost_updates})  "
        f"stored {minute.stored_samples:,}  lag {minute.maintenance_lag_seconds:.0f} s  "
        f"queue {minute.queue_bytes / 1e6:.1f} MB  errors {sum(minute.errors.values())}"
    )
    for error, count in minute.errors.items():
        out.print(f"  {count} x {error}", markup=False)


def show_soak(out: Console, found: Soak) -> None:
    """Print what a soak comes to."""
    table = _table(
        f"{len(found.minutes)} minutes at {found.rate:,.0f} samples/s; "
        f"capacity {found.capacity:,.0f}, peak {found.peak:,.0f}",
        ("",),
    )
    first, last = found.ends()
    for heading in (f"first {len(first)} min", f"last {len(last)} min", "last ÷ first", "no maintenance"):
        table.add_column(heading, justify="right")
    assert found.quiet is not None
    rows: list[tuple[str, Callable[[Minute], float], float | None]] = [
        ("RSS MB", lambda minute: minute.rss_bytes / 1e6, None),
        ("ack p50 ms", lambda minute: minute.acks.latency_p50_ms, found.quiet.latency_p50_ms),
        ("ack p99 ms", lambda minute: minute.acks.latency_p99_ms, found.quiet.latency_p99_ms),
        ("ack max ms", lambda minute: minute.acks.latency_max_ms, found.quiet.latency_max_ms),
    ]
    for name, pick, quiet in rows:
        # The longest of all; of the others the middle.
        summed_up = max if name == "ack max ms" else statistics.median
        before, after = (summed_up(map(pick, minutes)) for minutes in (first, last))
        ends = (f"{before:.1f}", f"{after:.1f}", f"{after / before:.3f}")
        table.add_row(name, *ends, "" if quiet is None else f"{quiet:.1f}")
    out.print(table)
    if len(first) < SPAN_MINUTES:
        out.print("Too short to tell: the warm-up takes five minutes, and so do both ends.")
    out.print(f"Errors: {found.errors}.")
    if found.stored_twice_or_not:
        for device_id, text in found.stored_twice_or_not.items():
            out.print(f"{device_id}: {text}")
    else:
        out.print(f"All {found.acked_samples:,} samples acked are stored, each once.")


def write_json(file: Path, document: dict[str, Any]) -> None:
    """Write a document for a program."""
    file.write_text(json.dumps(document, indent=2) + "\n")


def series_document(series: Series) -> dict[str, Any]:
    """Describe all measurements of a series."""
    return {
        "system": series.peer.name,
        "durability_at_ack": series.peer.durability,
        **asdict(series.settings),
        "median_samples_per_second": _rate(series),
        "median_values_per_second": _rate(series) * len(ALL_METRICS),
        "measurements": [asdict(measurement) for measurement in series.measurements],
    }


def _ingest_table(size: int, group: list[Series]) -> Table:
    table = _table(f"Ingest, {size} samples x {len(ALL_METRICS)} metrics a batch", ("system",))
    headings = ("conns x window", "samples/s", "values/s", "SpaceLink ÷ this", "ack p50 ms", "ack p99 ms")
    for heading in (*headings, "CPU µs/batch", "RSS MB", "wire B/sample", "disk B/sample"):
        table.add_column(heading, justify="right")
    ours = next((_rate(series) for series in group if isinstance(series.peer, SpaceLink)), None)
    for series in group:
        table.add_row(*_ingest_row(series, ours))
    return table


def _ingest_row(series: Series, ours: float | None) -> list[str]:
    rate = _rate(series)
    return [
        series.peer.name,
        f"{series.settings.connections} x {series.settings.window}",
        _number(rate),
        _number(rate * len(ALL_METRICS)),
        "" if ours is None else f"{ours / rate:.2f}",
        f"{_median(series, _p50):.1f}",
        f"{_median(series, _p99):.1f}",
        f"{_median(series, _cpu) * series.settings.batch_size * 1e6:.0f}",
        f"{_median(series, _rss) / 1e6:.0f}",
        f"{_median(series, lambda m: m.load.wire_bytes / m.load.acked_samples):.1f}",
        f"{_median(series, _disk):.1f}" if series.peer.keeps_data else "",
    ]


def _table(title: str, headings: Sequence[str]) -> Table:
    return Table(*(Column(heading, no_wrap=True) for heading in headings), title=title, title_justify="left")


def _rate(series: Series) -> float:
    return _median(series, lambda measurement: measurement.load.samples_per_second)


def _p50(measurement: Measurement) -> float:
    return measurement.load.latency_p50_ms


def _p99(measurement: Measurement) -> float:
    return measurement.load.latency_p99_ms


def _cpu(measurement: Measurement) -> float:
    return measurement.server_cpu_seconds / measurement.load.acked_samples


def _rss(measurement: Measurement) -> float:
    return measurement.server_rss_bytes


def _disk(measurement: Measurement) -> float:
    return measurement.disk_bytes / measurement.load.acked_samples


def _median(series: Series, pick: Callable[[Measurement], float]) -> float:
    return statistics.median(pick(measurement) for measurement in series.measurements)


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _fsync_ms(directory: Path) -> float:
    with tempfile.TemporaryFile(dir=directory) as file:
        times = []
        for _ in range(_FSYNCS):
            os.write(file.fileno(), bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
