"""Files of samples as `spacelink telemetry query` writes them: CSV or JSON lines, plain or gzip."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click
import numpy as np

from spacelink import _rows
from spacelink._names import IDENTIFIER_RULE, METRIC_NAME_RULE, is_identifier, is_metric_name
from spacelink._times import nanos
from spacelink.columns import TelemetryColumns, status_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# The SDK's own batch size: larger pieces would only be cut again.
_DEVICE_ROWS = 10_000
# Rows of many devices wait together for their batches: some 60 MB.
_WAITING_ROWS = 100_000

_GZIP_MAGIC = b"\x1f\x8b"
# Half a step above the largest float32: from here on values round to infinity.
_OVERFLOW = float(2**128 - 2**103)


class _Row(NamedTuple):
    device_id: str
    time: int
    status: int
    metrics: dict[str, float]


class _RowError(Exception):
    """A row that is not a sample; says which cell is wrong and what would be right."""


class SamplesFile:
    """Reads samples from a file.

    Args:
        raw: the file, open for reading bytes.
        name: what to call it in errors.
    """

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self._raw = raw
        # Kept: the wrapper closes the file when it is dropped.
        self._text = _text(raw)
        self._name = name

    @property
    def position(self) -> int:
        """How many of the file's bytes were read."""
        return self._raw.tell()

    def batches(self) -> Iterator[TelemetryColumns]:
        """Give the samples, gathered by device.

        Raises:
            click.ClickException: names the line and what is wrong with it.
        """
        waiting: dict[str, list[_Row]] = {}
        count = 0
        for row in self._rows():
            rows = waiting.setdefault(row.device_id, [])
            rows.append(row)
            count += 1
            if len(rows) == _DEVICE_ROWS:
                yield _columns(waiting.pop(row.device_id))
                count -= _DEVICE_ROWS
            elif count == _WAITING_ROWS:
                yield from map(_columns, waiting.values())
                waiting, count = {}, 0
        yield from map(_columns, waiting.values())

    def _rows(self) -> Iterator[_Row]:
        lines = _CountedLines(self._text)
        try:
            yield from _json_rows(lines) if lines.starts_with("{") else _csv_rows(lines)
        except (_RowError, csv.Error) as error:
            raise click.ClickException(f"{self._name}:{lines.number}: {error}") from None
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{self._name}: not readable: {error}") from None


def _columns(rows: Sequence[_Row]) -> TelemetryColumns:
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    status = np.array([row.status for row in rows], np.uint8)
    return TelemetryColumns(
        rows[0].device_id,
        np.array([row.time for row in rows], np.int64),
        {name: np.array([row.metrics.get(name, math.nan) for row in rows], np.float32) for name in names},
        status if status.any() else None,
    )


@contextmanager
def open_samples(path: Path) -> Iterator[SamplesFile]:
    """Open a file of samples."""
    with path.open("rb") as raw:
        yield SamplesFile(raw, str(path))


def _text(raw: BinaryIO) -> io.TextIOWrapper:
    start = raw.read(len(_GZIP_MAGIC))
    raw.seek(0)
    data: Any = gzip.GzipFile(fileobj=raw) if start == _GZIP_MAGIC else raw
    return io.TextIOWrapper(data, "utf-8-sig", newline="")


class _CountedLines:
    """Lines of a text, and how many were read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.number = 0
        self._lines = iter(text)
        self._first = ""

    def starts_with(self, prefix: str) -> bool:
        self._first = self._first or next(self._lines, "")
        return self._first.startswith(prefix)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._first = self._first or next(self._lines), ""
        self.number += 1
        return line


def _json_rows(lines: _CountedLines) -> Iterator[_Row]:
    for line in lines:
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            raise _RowError(f"not JSON: {error.msg}") from None
        if not isinstance(cells, dict):
            raise _RowError("expected a JSON object")
        yield _row(cells)


def _csv_rows(lines: _CountedLines) -> Iterator[_Row]:
    reader = csv.reader(lines)
    header = next(reader, [])
    for cells in reader:
        if len(cells) != len(header):
            raise _RowError(f"expected {len(header)} cells as in the header, got {len(cells)}")
        row = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        extra = row.pop(_rows.EXTRA, "")
        yield _row({**row, **_extra(extra)} if extra else row)


def _extra(cell: str) -> dict[str, Any]:
    try:
        extra = json.loads(cell)
    except json.JSONDecodeError:
        extra = None
    if not isinstance(extra, dict):
        raise _RowError(f"{_rows.EXTRA}: expected a JSON object, got {cell!r}")
    return extra


def _row(cells: dict[str, Any]) -> _Row:
    device_id, time, status = (cells.pop(name, None) for name in (_rows.DEVICE, _rows.TIME, _rows.STATUS))
    if not isinstance(device_id, str) or not is_identifier(device_id):
        raise _RowError(f"{_rows.DEVICE}: expected {IDENTIFIER_RULE}")
    if not isinstance(time, str):
        raise _RowError(f"{_rows.TIME}: expected RFC 3339 such as 2026-01-31T12:00:00Z")
    try:
        return _Row(device_id, nanos(time), status_number(status or 0), _values(cells))
    except ValueError as error:
        raise _RowError(str(error)) from None


def _values(cells: Mapping[str, Any]) -> dict[str, float]:
    return {name: _value(name, cell) for name, cell in cells.items()}


def _value(name: str, cell: str | float | None) -> float:
    if not is_metric_name(name):
        raise _RowError(f"metric {name!r}: expected {METRIC_NAME_RULE}")
    try:
        value = math.nan if cell is None else float(cell)
    except (TypeError, ValueError):
        raise _RowError(f"{name}: expected a number, got {cell!r}") from None
    if abs(value) >= _OVERFLOW:
        raise _RowError(f"{name}: {cell} does not fit into a float32")
    return value
