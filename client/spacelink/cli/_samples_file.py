"""Files of samples as `spacelink telemetry query` and `export` write them."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click
import numpy as np

from spacelink.cli._sample_cells import BadColumnsError, BadRowError, Row, read_row
from spacelink.cli._text_file import GZIP, text_rows
from spacelink.columns import TelemetryColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from spacelink.cli._text_file import Numbered

# The SDK's own batch size: larger pieces would only be cut again.
_DEVICE_ROWS = 10_000
# Rows of many devices wait together for their batches: some 60 MB.
_WAITING_ROWS = 100_000

# What files begin with; a message of a stream begins with its length.
_ARROW_KINDS = {b"PAR1": "Parquet", b"ARROW1": "Arrow file", b"\xff\xff\xff\xff": "Arrow stream"}


class BadRow(NamedTuple):
    """A row that is no sample.

    Attributes:
        file: its file.
        row: its number from 1: in a text that of its line.
        column: the one that is wrong; empty where it is the row as a whole.
        value: what is in it.
        problem: what would be right.
    """

    file: str
    row: int
    column: str
    value: str
    problem: str

    def __str__(self) -> str:
        column = f"column {self.column}: " if self.column else ""
        return f"{self.file}:{self.row}: {column}{self.problem}"


class SamplesFile:
    """Reads samples from a file.

    Args:
        raw: the file, open for reading bytes.
        name: what to call it in errors.
        device_id: the device of rows that do not name theirs; may be empty.
        on_bad: called with each row that is no sample; all others are given.
    """

    def __init__(self, raw: BinaryIO, name: str, device_id: str, on_bad: Callable[[BadRow], None]) -> None:
        self._raw = raw
        self._name = name
        self._device_id = device_id
        self._on_bad = on_bad

    @property
    def position(self) -> int:
        """How many of the file's bytes were read."""
        return self._raw.tell()

    def batches(self) -> Iterator[TelemetryColumns]:
        """Give the samples, gathered by device.

        Raises:
            click.ClickException: the file is no file of samples, or cannot be read to its
                end; what could be read was given.
        """
        failure = None
        waiting = _Waiting()
        try:
            for row in self._rows():
                yield from waiting.add(row)
        except click.ClickException as error:
            failure = error
        yield from waiting.take_all()
        if failure is not None:
            raise failure

    def _rows(self) -> Iterator[Row]:
        try:
            for number, cells in self._numbered():
                try:
                    yield _read(cells, self._device_id)
                except BadRowError as error:
                    self._on_bad(BadRow(self._name, number, error.column, str(error.value), error.problem))
        except BadColumnsError as error:
            raise click.ClickException(f"{self._name}: {error}") from None
        except UnicodeDecodeError:
            expected = "expected text in UTF-8, gzip, Parquet or Arrow"
            raise click.ClickException(f"{self._name}: not readable: {expected}") from None
        except (OSError, EOFError) as error:
            raise click.ClickException(f"{self._name}: not readable: {error}") from None

    def _numbered(self) -> Iterable[Numbered]:
        start = self._raw.read(max(map(len, _ARROW_KINDS)))
        self._raw.seek(0)
        for magic, kind in _ARROW_KINDS.items():
            if start.startswith(magic):
                from spacelink.cli import _arrow_file  # noqa: PLC0415 - optional and slow to import

                return _arrow_file.arrow_rows(self._raw, kind, self._device_id)
        return text_rows(self._raw, self._device_id, is_packed=start.startswith(GZIP))


def _read(cells: dict[str, object] | BadRowError, device_id: str) -> Row:
    if isinstance(cells, BadRowError):
        raise cells
    return read_row(cells, device_id)


class _Waiting:
    """Rows that wait until there are enough for batches."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._count = 0

    def add(self, row: Row) -> Iterator[TelemetryColumns]:
        """Take a row, and give what need not wait any longer."""
        rows = self._rows.setdefault(row.device_id, [])
        rows.append(row)
        self._count += 1
        if len(rows) == _DEVICE_ROWS:
            yield _columns(self._rows.pop(row.device_id))
            self._count -= _DEVICE_ROWS
        elif self._count == _WAITING_ROWS:
            yield from self.take_all()

    def take_all(self) -> Iterator[TelemetryColumns]:
        """Give all."""
        yield from map(_columns, self._rows.values())
        self._rows, self._count = {}, 0


def _columns(rows: Sequence[Row]) -> TelemetryColumns:
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    status = np.array([row.status for row in rows], np.uint8)
    return TelemetryColumns(
        rows[0].device_id,
        np.array([row.time for row in rows], np.int64),
        {name: np.array([row.metrics.get(name, math.nan) for row in rows], np.float32) for name in names},
        status if status.any() else None,
    )


@contextmanager
def open_samples(path: Path, device_id: str, on_bad: Callable[[BadRow], None]) -> Iterator[SamplesFile]:
    """Open a file of samples; see SamplesFile."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise click.ClickException(f"{path}: not readable: {error.strerror}") from None
    with raw:
        yield SamplesFile(raw, str(path), device_id, on_bad)
