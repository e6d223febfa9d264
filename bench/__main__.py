"""The command line: `python -m bench [COMMAND]`, by default `ingest`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench import (
    detection,
    health,
    ingest,
    latency,
    networks,
    query,
    recording,
    report,
    rest,
    scoring,
    soak,
    watcher,
)
from bench.idle_streams import measure_idle
from bench.peers import SpaceLink, SpaceLinkOnPostgres, VictoriaMetrics
from bench.size import measure_size
from bench.tokens import measure_verification
from spacelink_agent.collectors import CollectorError
from spacelink_server.scoring.qoo import PROFILES

_QUICK_SECONDS = 2.0


class _DefaultGroup(click.Group):
    """A group that takes its first command where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


_seconds = click.option(
    "--seconds",
    type=click.FloatRange(min=0.5),
    default=10.0,
    show_default=True,
    help="Length of each measurement.",
)
_rounds = click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is measured."
)
_json = click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to a file."
)
_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/var/tmp"),
    show_default=True,
    help="Where the stores are kept while they are measured; on a disk, or fsync costs nothing.",
)
_batch_sizes = click.option(
    "--batch-size",
    "batch_sizes",
    type=click.Choice([str(size) for size in ingest.BATCH_SIZES]),
    multiple=True,
    help="Only this batch size; may be given several times.",
)
_recordings = click.argument(
    "files",
    metavar="CSV...",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    nargs=-1,
    required=True,
)


@click.group(cls=_DefaultGroup)
def main() -> None:
    """Measure ingest, in the same run, against the transport's ceiling and other stores.

    Without a command it runs ingest.
    """
    # As on Ctrl-C, servers are stopped and stores removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@main.command("ingest")
@_rounds
@_seconds
@_batch_sizes
@click.option(
    "--calibrate/--no-calibrate",
    default=True,
    show_default=True,
    help="Look for each system's best concurrency first, or use what does for most.",
)
@click.option("--quick", is_flag=True, help="A short look: one round of two seconds, without calibration.")
@_json
@_directory
def ingest_command(
    rounds: int,
    seconds: float,
    batch_sizes: tuple[str, ...],
    calibrate: bool,
    quick: bool,
    json_file: Path | None,
    directory: Path,
) -> None:
    """Measure samples a second, ack latency, memory, wire and disk of every system."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    sizes = [int(size) for size in batch_sizes] or list(ingest.BATCH_SIZES)
    with out.status("") as status:
        peers = ingest.available(ingest.systems(), out.print)
        if quick:
            rounds, seconds, calibrate = 1, _QUICK_SECONDS, False
        if calibrate:
            plan = list(ingest.calibrated(peers, sizes, seconds, directory, status.update))
        else:
            plan = list(ingest.uncalibrated(peers, sizes, seconds))
        waits = latency.plan(seconds)
        ingest.run_rounds(plan, rounds, directory, status.update)
        ingest.run_rounds(waits, rounds, directory, status.update)
    report.show_ingest(out, plan)
    report.show_latency(out, waits)
    _write(json_file, facts, ingest=_documents(plan), latency=_documents(waits))


@main.command("latency")
@_rounds
@_seconds
@_json
@_directory
def latency_command(rounds: int, seconds: float, json_file: Path | None, directory: Path) -> None:
    """Measure the ack latency of 64 streams, from a closed loop to a full window."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    plan = latency.plan(seconds)
    with out.status("") as status:
        ingest.run_rounds(plan, rounds, directory, status.update)
    report.show_latency(out, plan)
    _write(json_file, facts, latency=_documents(plan))


@main.command("watcher")
@click.option("--pairs", type=click.IntRange(min=1), default=5, show_default=True, help="How many pairs.")
@_seconds
@_batch_sizes
@_json
@_directory
def watcher_command(
    pairs: int, seconds: float, batch_sizes: tuple[str, ...], json_file: Path | None, directory: Path
) -> None:
    """Measure ingest with and without a watcher that has stopped reading."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    found = {}
    for size in [int(size) for size in batch_sizes] or [10, 1000]:
        with out.status("") as status:
            found[size] = watcher.run_pairs(size, pairs, seconds, directory, status.update)
        report.show_watcher(out, size, found[size])
    documents = {str(size): [asdict(pair) for pair in found[size]] for size in found}
    _write(json_file, facts, watcher=documents)


@main.command("tokens")
@_rounds
@_json
def tokens_command(rounds: int, json_file: Path | None) -> None:
    """Measure the verification of tokens, beside pymacaroons' own."""
    out = report.console()
    facts = report.machine(Path("/var/tmp"))
    report.show_machine(out, facts)
    found = measure_verification(rounds)
    report.show_tokens(out, found)
    _write(json_file, facts, tokens=asdict(found))


@main.command("idle-streams")
@click.option(
    "--streams", type=click.IntRange(min=1), default=1000, show_default=True, help="How many streams."
)
@_json
@_directory
def idle_streams_command(streams: int, json_file: Path | None, directory: Path) -> None:
    """Measure the memory of idle streams, all on one connection and each on its own."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    with out.status("opening streams"):
        found = [measure_idle(streams, connections, directory) for connections in (1, streams)]
    report.show_idle(out, found)
    _write(json_file, facts, idle_streams=[asdict(idle) for idle in found])


@main.command("soak")
@click.option("--minutes", type=click.IntRange(min=1), default=30, show_default=True, help="How long.")
@click.option(
    "--batch-size",
    type=click.Choice([str(size) for size in ingest.BATCH_SIZES]),
    default="60",
    show_default=True,
    help="Samples a batch.",
)
@click.option(
    "--share",
    type=click.FloatRange(min=0.01, max=1.0),
    default=0.5,
    show_default=True,
    help="How much of what the server can take is sent.",
)
@click.option("--postgres", is_flag=True, help="On a PostgreSQL of its own instead of the embedded store.")
@_json
@_directory
def soak_command(
    minutes: int, batch_size: str, share: float, postgres: bool, json_file: Path | None, directory: Path
) -> None:
    """Load a server for long: ingest, reads and maintenance; see whether memory and acks stay flat.

    Ends with status 1 where there was an error, or a sample acked is not stored
    exactly once.
    """
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    peer = SpaceLinkOnPostgres if postgres else SpaceLink
    with out.status("") as status:
        found = soak.run(
            peer, minutes, int(batch_size), share, directory, status.update, partial(report.show_minute, out)
        )
    report.show_soak(out, found)
    _write(json_file, facts, soak=asdict(found))
    if found.errors or found.stored_twice_or_not:
        raise click.exceptions.Exit(1)


@main.command("scoring")
@_rounds
@_json
@_directory
def scoring_command(rounds: int, json_file: Path | None, directory: Path) -> None:
    """Measure how many samples are scored a second, beside a plain Python loop."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    rates = scoring.run(rounds)
    report.show_scoring(out, rates)
    _write(json_file, facts, scoring=asdict(rates))


@main.command("detection")
@_recordings
def detection_command(files: tuple[Path, ...]) -> None:
    """Put degradation into recordings at known times, and tell what is found of it."""
    out = report.console()
    found = []
    with _clear_errors(), out.status("") as status:
        for file in files:
            status.update(str(file))
            recorded = recording.read(file)
            as_it_is, with_faults = detection.run(recorded)
            report.show_incidents(out, recorded, as_it_is)
            found += with_faults
    report.show_detection(out, found)


@main.command("health")
@_recordings
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="leo",
    show_default=True,
    help="What to score against.",
)
def health_command(files: tuple[Path, ...], profile: str) -> None:
    """Score each minute of recordings."""
    out = report.console()
    with _clear_errors():
        found = [health.run(recording.read(file), PROFILES[profile]) for file in files]
    report.show_health(out, profile, found)


@main.command("query")
@_rounds
@click.option(
    "--samples",
    "sizes",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1_000_000, 10_000_000, 100_000_000),
    show_default=True,
    help="How large a store to ask; may be given several times.",
)
@_json
@_directory
def query_command(rounds: int, sizes: tuple[int, ...], json_file: Path | None, directory: Path) -> None:
    """Measure how long answers take on stores of several sizes."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    with out.status("") as status:
        found = [query.measure_queries(size, rounds, directory, status.update) for size in sizes]
        if (reason := VictoriaMetrics("native").unavailable()) is None:
            found.append(query.measure_export(rounds, directory, status.update))
        else:
            out.print(f"VictoriaMetrics is left out: {reason}")
    report.show_answers(out, found)
    _write(json_file, facts, query=[asdict(answers) for answers in found])


@main.command("networks")
@_rounds
@click.option("--devices", type=click.IntRange(min=1), default=1000, show_default=True, help="How many.")
@click.option("--days", type=click.IntRange(min=2), default=30, show_default=True, help="How many days.")
@_json
@_directory
def networks_command(rounds: int, devices: int, days: int, json_file: Path | None, directory: Path) -> None:
    """Measure how long health, SLA and trends of a large network take."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    with out.status("") as status:
        found = networks.run(devices, days, rounds, directory, status.update)
    report.show_reports(out, devices, found)
    _write(json_file, facts, networks=[asdict(each) for each in found])


@main.command("rest")
@_rounds
@_seconds
@_json
@_directory
def rest_command(rounds: int, seconds: float, json_file: Path | None, directory: Path) -> None:
    """Measure what the REST bridge adds to a call, and the samples a second that it takes in."""
    out = report.console()
    facts = report.machine(directory)
    report.show_machine(out, facts)
    with out.status("") as status:
        overhead, rates = rest.run(rounds, seconds, directory, status.update)
    report.show_rest(out, overhead, rates)
    _write(json_file, facts, rest={"overhead": asdict(overhead), "samples_per_second": asdict(rates)})


@main.command("size")
@_recordings
@click.option("--metric", "metrics", multiple=True, help="Only this metric; may be repeated.")
@_json
@_directory
def size_command(
    files: tuple[Path, ...], metrics: tuple[str, ...], json_file: Path | None, directory: Path
) -> None:
    """Store recordings, each as a device; tell what a sample of them takes."""
    out = report.console()
    with _clear_errors(), out.status("reading"):
        recorded = [recording.read_columns(file) for file in files]
    chosen = [columns.select(metrics or columns.metrics) for columns in recorded]
    with out.status("storing"):
        found = measure_size(chosen, directory)
    report.show_size(out, found)
    _write(json_file, report.machine(directory), size=asdict(found))


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (CollectorError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _documents(plan: list[ingest.Series]) -> list[dict[str, Any]]:
    return [report.series_document(series) for series in plan]


def _write(json_file: Path | None, facts: dict[str, Any], **found: object) -> None:
    if json_file is not None:
        report.write_json(json_file, {"machine": facts, **found})


if __name__ == "__main__":
    main()
