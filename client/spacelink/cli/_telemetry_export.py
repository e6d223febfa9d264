"""`spacelink telemetry export`."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import click
import numpy as np

from spacelink.cli._connection import Connection, client_command
from spacelink.cli._progress import total_progress
from spacelink.cli._telemetry_read import devices_option, metrics_option, range_options
from spacelink.columns import concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from spacelink import SpaceLinkClient
    from spacelink.columns import TelemetryColumns
    from spacelink.results import TelemetrySummary

_DAY_NANOS = 86_400 * 1_000_000_000

# Starting over is worse than waiting for a server that restarts.
_RETRY_SECONDS = 15.0

# Samples in a row group: enough to compress and to be read well, 40 MB in memory.
_ROW_GROUP_SAMPLES = 1_000_000

# No metric can have this name: summaries without metrics cost next to nothing.
_NO_METRICS = ("-",)

# Whoever reads the directory as one data set leaves out what begins with _.
_MANIFEST = "_export.json"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an export holds; fixed when it begins.

    Attributes:
        device_ids: the devices; none means all.
        start: first moment, nanoseconds since 1970 UTC.
        end: moment to stop before.
        metrics: the metrics; none means all.
    """

    device_ids: tuple[str, ...]
    start: int
    end: int
    metrics: tuple[str, ...]


class _Part(NamedTuple):
    """The samples of a device on a day (UTC), as far as they are wanted."""

    device_id: str
    start: int
    end: int

    def file(self, directory: Path) -> Path:
        """Give where they go."""
        day = np.datetime64(self.start, "ns").astype("datetime64[D]")
        return directory / quote(self.device_id, safe="") / f"{day}.parquet"


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@devices_option
@range_options
@metrics_option
@client_command
def export(
    connection: Connection,
    directory: Path,
    device_ids: tuple[str, ...],
    start: int | None,
    end: int | None,
    metrics: tuple[str, ...],
) -> None:
    """Write the samples in the range start <= time < end to DIRECTORY as Parquet.

    There is a directory for each device with a file for each day (UTC):
    ID/2026-01-31.parquet, / and : in the ID written as %2F and %3A. An export that broke off goes on
    where it was when it is started again with the DIRECTORY alone; without
    --end, it ends at the moment it was started first.

    \b
    Examples:
      spacelink telemetry export january --start 2026-01-01T00:00:00Z --end 2026-02-01T00:00:00Z
      spacelink telemetry export january
      duckdb -c "SELECT avg(latency_ms) FROM 'january/*/*.parquet'"
    """
    wanted = _begun(directory, _Wanted(device_ids, start or 0, end or 0, metrics))
    with connection.client(_RETRY_SECONDS) as client:
        summaries = client.summarize_telemetry(
            wanted.device_ids, wanted.start, wanted.end, _NO_METRICS, per_device=True
        )
        with total_progress("samples", sum(summary.sample_count for summary in summaries)) as advance:
            count = 0
            for part in _parts(summaries, wanted):
                shown = partial(_advance, advance, count)
                count += _export_part(client, part, directory, wanted.metrics, shown)
                advance(count)
    click.echo(f"{count:,} samples of {len(summaries):,} devices in {directory}")


def _begun(directory: Path, asked: _Wanted) -> _Wanted:
    """Begin an export, or take up the one that is in the directory."""
    manifest = directory / _MANIFEST
    if manifest.exists():
        known = json.loads(manifest.read_text(encoding="utf-8"))
        wanted = _Wanted(tuple(known["device_ids"]), known["start"], known["end"], tuple(known["metrics"]))
        if asked not in (wanted, _Wanted((), 0, 0, ())):
            raise click.UsageError(
                f"{directory} holds another export; name another directory, or this one alone to go on"
            )
        return wanted
    if directory.exists() and any(directory.iterdir()):
        raise click.UsageError(f"{directory} is not empty, and holds no export")
    wanted = _Wanted(asked.device_ids, asked.start, asked.end or time.time_ns(), asked.metrics)
    directory.mkdir(parents=True, exist_ok=True)
    _write_whole(manifest, lambda path: path.write_text(json.dumps(asdict(wanted)) + "\n", encoding="utf-8"))
    return wanted


def _parts(summaries: Iterable[TelemetrySummary], wanted: _Wanted) -> Iterator[_Part]:
    for summary in summaries:
        first, last = (int(moment.astype("i8")) for moment in (summary.first_time, summary.last_time))
        for day in range(first - first % _DAY_NANOS, last + 1, _DAY_NANOS):
            yield _Part(summary.device_id, max(day, wanted.start), min(day + _DAY_NANOS, wanted.end))


def _export_part(
    client: SpaceLinkClient,
    part: _Part,
    directory: Path,
    metrics: Sequence[str],
    advance: Callable[[int], None],
) -> int:
    """Write a part's file unless it is there; give how many samples it holds."""
    from spacelink.cli import _parquet  # noqa: PLC0415 - optional and slow to import

    file = part.file(directory)
    if file.exists():
        return _parquet.row_count(file)
    samples = client.query_telemetry(part.device_id, part.start, part.end, metrics)
    groups = _row_groups(samples, advance)
    first = next(groups, None)
    if first is None:
        return 0
    file.parent.mkdir(exist_ok=True)
    _write_whole(file, lambda path: _parquet.write(path, metrics, first, groups))
    return _parquet.row_count(file)


def _advance(advance: Callable[[int], None], before: int, count: int) -> None:
    advance(before + count)


def _row_groups(
    batches: Iterable[TelemetryColumns], advance: Callable[[int], None]
) -> Iterator[TelemetryColumns]:
    held: list[TelemetryColumns] = []
    size = count = 0
    for batch in batches:
        held.append(batch)
        size += len(batch)
        count += len(batch)
        advance(count)
        if size >= _ROW_GROUP_SAMPLES:
            yield concatenate(held)
            held, size = [], 0
    if held:
        yield concatenate(held)


def _write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is there as a whole or not at all, whatever happens."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    write(unfinished)
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(file)
