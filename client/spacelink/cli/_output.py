"""Results on standard output: a table for people, json, csv or arrow for programs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import click

from spacelink import _rows
from spacelink.cli._tables import SampleTable, print_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _typeshed import DataclassInstance
    from click.decorators import FC

    from spacelink.columns import TelemetryColumns

FORMATS = ("table", "json", "csv", "arrow")


def output_option(function: FC) -> FC:
    """Declare --output."""
    return click.option(
        "--output",
        type=click.Choice(FORMATS),
        default=lambda: "table" if sys.stdout.isatty() else "json",
        show_default="table on a terminal, json elsewhere",
        callback=_check_output,
        help="json is one object per line; arrow an Arrow IPC stream.",
    )(function)


def details_option(function: FC) -> FC:
    """Declare --output for one thing that is not a row."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default=lambda: "table" if sys.stdout.isatty() else "json",
        show_default="table on a terminal, json elsewhere",
    )(function)


def report_option(function: FC) -> FC:
    """Declare --output for a report: a picture, all of it, or its rows."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json", "csv"]),
        default=lambda: "table" if sys.stdout.isatty() else "json",
        show_default="table on a terminal, json elsewhere",
        help="json is the whole report as one object; csv its rows.",
    )(function)


def _check_output(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value == "arrow" and sys.stdout.isatty():
        raise click.BadParameter("arrow is binary; send it to a file or a pipe", ctx, param)
    return value


class SampleWriter(Protocol):
    """Writes samples as they come."""

    def write(self, samples: TelemetryColumns) -> None:
        """Write samples of one device."""

    def close(self) -> None:
        """Write what ends the output."""


def sample_writer(output: str, metrics: Sequence[str]) -> SampleWriter:
    """Make the writer for a format.

    Args:
        output: one of FORMATS.
        metrics: the metrics asked for; none means all.
    """
    if output == "table":
        return SampleTable()
    if output == "csv":
        return _CsvWriter(metrics)
    if output == "arrow":
        return _arrow_writer(metrics)
    return _JsonWriter()


def write_records(
    output: str,
    records: Sequence[Mapping[str, object]],
    *,
    things: str = "samples",
    droppable: Sequence[str] = (),
) -> None:
    """Write a few records that all have the same keys.

    Args:
        output: one of FORMATS.
        records: values are texts, numbers, truth values, None and lists of texts.
        things: what they are, for a table without any.
        droppable: keys that a narrow table can do without, the first ones first.
    """
    if output == "table":
        print_records(records, things, droppable)
    elif output == "json":
        for record in records:
            _print(json.dumps(record) + "\n")
    elif output == "csv":
        rows = (map(_csv_cell, record.values()) for record in records)
        _print(_rows.csv_lines([*map(list, records[:1]), *map(list, rows)]))
    else:
        from spacelink.cli import _arrow  # noqa: PLC0415 - optional and slow to import

        _arrow.write_records(records)


def to_record(item: DataclassInstance) -> dict[str, object]:
    """Make a record of what the SDK gives, with times as RFC 3339 texts and lengths in seconds."""
    return {name: _plain(value) for name, value in asdict(item).items()}


def _plain(value: Any) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _csv_cell(value: object) -> object:
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def _print(text: str) -> None:
    # At once: a reader of a pipe may be waiting for this line.
    sys.stdout.write(text)
    sys.stdout.flush()


class _JsonWriter:
    def write(self, samples: TelemetryColumns) -> None:
        _print("".join(f"{line}\n" for line in _rows.json_lines(samples)))

    def close(self) -> None:
        pass


class _CsvWriter:
    def __init__(self, metrics: Sequence[str]) -> None:
        self._header = _rows.header(metrics)
        _print(_rows.csv_lines([self._header]))

    def write(self, samples: TelemetryColumns) -> None:
        _print(_rows.csv_lines(_rows.csv_rows(samples, self._header)))

    def close(self) -> None:
        pass


def _arrow_writer(metrics: Sequence[str]) -> SampleWriter:
    from spacelink.cli import _arrow  # noqa: PLC0415 - optional and slow to import

    return _arrow.ArrowWriter(metrics)
