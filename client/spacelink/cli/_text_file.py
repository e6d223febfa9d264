"""Rows of CSV files and of JSON lines, plain or gzip."""

from __future__ import annotations

import csv
import gzip
import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from spacelink import _rows
from spacelink.cli._sample_cells import BadColumnsError, BadRowError, check_columns, read_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    # A row's number, and its cells or what is wrong with it.
    Numbered: TypeAlias = tuple[int, dict[str, Any] | BadRowError]

GZIP = b"\x1f\x8b"


def text_rows(raw: BinaryIO, device_id: str, *, is_packed: bool) -> Iterator[Numbered]:
    """Give the rows of a file, each with the number of its line.

    Args:
        raw: the file.
        device_id: the device of rows that do not name theirs; may be empty.
        is_packed: it is gzip.

    Raises:
        BadColumnsError: it has not the columns of samples.
    """
    with _text(raw, is_packed=is_packed) as text:
        lines = _CountedLines(text)
        yield from _json_rows(lines) if lines.starts_with("{") else _csv_rows(lines, device_id)


@contextmanager
def _text(raw: BinaryIO, *, is_packed: bool) -> Iterator[io.TextIOWrapper]:
    data: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
    text = io.TextIOWrapper(data, "utf-8-sig", newline="")
    try:
        yield text
    finally:
        # The wrapper closes the file when it is dropped as it is.
        text.detach()


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


def _json_rows(lines: _CountedLines) -> Iterator[Numbered]:
    for line in lines:
        if line.strip():
            yield lines.number, _json_cells(line)


def _json_cells(line: str) -> dict[str, Any] | BadRowError:
    try:
        cells = json.loads(line)
    except json.JSONDecodeError as error:
        return BadRowError("", f"not JSON: {error.msg}", line.strip())
    return cells if isinstance(cells, dict) else BadRowError("", "expected a JSON object", line.strip())


def _csv_rows(lines: _CountedLines, device_id: str) -> Iterator[Numbered]:
    reader = csv.reader(lines)
    header = next(reader, None)
    if not header:
        raise BadColumnsError(
            "the file is empty; expected CSV with a header such as device_id,time,latency_ms, JSON lines, "
            "Parquet or Arrow"
        )
    check_columns(header, device_id)
    while (cells := _next(reader)) is not None:
        if cells:
            yield lines.number, _csv_cells(header, cells)


def _next(reader: Iterator[list[str]]) -> list[str] | BadRowError | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        return BadRowError("", f"not CSV: {error}")


def _csv_cells(header: list[str], cells: list[str] | BadRowError) -> dict[str, Any] | BadRowError:
    if isinstance(cells, BadRowError):
        return cells
    if len(cells) != len(header):
        return BadRowError("", f"expected {len(header)} cells as in the header, got {len(cells)}")
    row = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    extra = row.pop(_rows.EXTRA, "")
    try:
        return {**row, **read_extra(extra)} if extra else row
    except BadRowError as error:
        return error
