"""`spacelink telemetry import`."""

from __future__ import annotations

import csv
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spacelink.cli._connection import Connection, check_identifier, client_command
from spacelink.cli._progress import byte_progress
from spacelink.cli._samples_file import BadRow, open_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spacelink.columns import TelemetryColumns

# Starting over is worse than waiting for a server that restarts on a busy
# machine.
_RETRY_SECONDS = 15.0

# Bad rows that are shown; what is wrong with many is mostly the same.
_SHOWN = 10


@click.command("import")
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--device-id",
    default="",
    metavar="ID",
    callback=check_identifier,
    help="The device of rows that do not name one.",
)
@click.option(
    "--rejected",
    "report",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE.csv",
    help="Write there which rows were not stored, and why.",
)
@client_command
def import_(connection: Connection, paths: tuple[Path, ...], device_id: str, report: Path | None) -> None:
    """Store the samples of each FILE as `query` or `export` writes it.

    A FILE is CSV or JSON lines, plain or gzip, Parquet or Arrow; of a directory
    all Parquet files in it are read. It needs time (RFC 3339, in Parquet and
    Arrow a timestamp) and device_id; every other column is a metric, but for
    status and extra.

    A row that is no sample is left out and named with its line, in Parquet and
    Arrow with its number from 1; all others are stored. The exit status is 1
    where a row was left out. Right what is wrong and import the whole file
    again, as one may after an import that broke off: queries give samples that
    are equal in every column once.

    \b
    Examples:
      spacelink telemetry import samples.csv.gz
      spacelink telemetry import --device-id dish-01 --rejected bad.csv log.csv
      spacelink telemetry import --server 127.0.0.1:50061 january
    """
    files = [file for path in paths for file in _files(path)]
    failures: list[click.ClickException] = []
    with _bad_rows(report) as bad, connection.client(_RETRY_SECONDS) as client:
        with byte_progress("reading", sum(file.stat().st_size for file in files)) as advance:
            batches = _batches(files, device_id, bad.add, advance)
            count = client.ingest_columns(_until_failure(batches, failures))
        if count or not failures:
            click.echo(f"{count:,} samples committed")
    if failures:
        raise failures[0]
    if bad.count:
        raise click.ClickException(f"rows that are no samples and were left out: {bad.count:,}{bad.hint()}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("**/*.parquet"))
    if not files:
        raise click.UsageError(f"{path}: no Parquet files in this directory")
    return files


def _batches(
    files: Sequence[Path], device_id: str, on_bad: Callable[[BadRow], None], advance: Callable[[int], None]
) -> Iterator[TelemetryColumns]:
    before = 0
    for file in files:
        with open_samples(file, device_id, on_bad) as samples:
            for batch in samples.batches():
                advance(before + samples.position)
                yield batch
            before += samples.position


def _until_failure(
    batches: Iterator[TelemetryColumns], failures: list[click.ClickException]
) -> Iterator[TelemetryColumns]:
    """Give what can be read, so that it is committed, and keep why that is not all."""
    try:
        yield from batches
    except click.ClickException as error:
        failures.append(error)


class _BadRows:
    """Rows that were left out: the first ones are shown, all are written to a report."""

    def __init__(self, report: Path | None, writer: Any) -> None:
        self.count = 0
        self._shown: list[BadRow] = []
        self._report = report
        self._writer = writer

    def add(self, row: BadRow) -> None:
        """Take note of one."""
        self.count += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(row)
        if self._writer is not None:
            self._writer.writerow(row)

    def show(self) -> None:
        """Name the first ones."""
        for row in self._shown:
            click.echo(row, err=True)
        if self.count > len(self._shown):
            click.echo(f"… and {self.count - len(self._shown):,} more", err=True)

    def hint(self) -> str:
        """Say where all of them are named."""
        if self._report is not None:
            return f"; {self._report} has all of them"
        return "; --rejected FILE.csv names all" if self.count > len(self._shown) else ""


@contextmanager
def _bad_rows(report: Path | None) -> Iterator[_BadRows]:
    """Give what takes note of bad rows; they are shown at the end, whatever that is."""
    with ExitStack() as stack:
        writer = None
        if report is not None:
            try:
                file = stack.enter_context(report.open("w", encoding="utf-8", newline=""))
            except OSError as error:
                raise click.ClickException(f"cannot write {report}: {error.strerror}") from None
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(BadRow._fields)
        bad = _BadRows(report, writer)
        stack.callback(bad.show)
        yield bad
