"""The replay: samples out of a CSV file."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from spacelink_agent.bad_rows import BadRow
from spacelink_agent.collectors import Chunk, CollectorError
from spacelink_agent.collectors._csv_file import open_csv
from spacelink_agent.collectors.column_map import ColumnMap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from spacelink_agent.collectors._csv_file import CsvFile, RowPosition
    from spacelink_agent.collectors.column_map import Row, Rule

# Shorter waits are saved up: a timer is not more exact than a few milliseconds.
_SHORTEST_WAIT = 0.01
# Where so many rows from the beginning on are all bad, it is not the rows that
# are wrong but what the columns are taken for.
_TRIAL_ROWS = 100


class Replay:
    """Yields the rows of a CSV file, which may be compressed with gzip.

    Times are the file's, whatever the speed. The file is read as it is needed
    and never held as a whole. A row that is no sample a server would store is
    told of in its chunk, and the replay goes on.

    Args:
        path: the file.
        device_id: what the samples are said to be of.
        rules: columns that are not recognised by themselves.
        chunk_rows: the most rows in a chunk.
        speed: how many times faster than recorded; infinity is as fast as
            possible.

    Attributes:
        source: names the file's content and the device.
        progress: the share of the file that was read, from 0 to 1.
        skipped_rows: how many rows earlier runs had read.

    Raises:
        CollectorError: the file cannot be read, has no rows, or columns are
            missing.
    """

    def __init__(
        self, path: Path, device_id: str, rules: Sequence[Rule], *, chunk_rows: int, speed: float
    ) -> None:
        self.is_live = False
        self._path = path
        self._device_id = device_id
        self._chunk_rows = chunk_rows
        self._speed = speed
        self.progress = 0.0
        self.skipped_rows = 0
        with open_csv(path) as file:
            self._map = _map_of(file, path, rules)
            self.source = f"replay:{device_id}:{file.fingerprint}"

    async def collect(self, position: Any) -> AsyncGenerator[Chunk]:
        """Yield the rows after a position, and end.

        Raises:
            CollectorError: the file cannot be read on; the rows before that were
                yielded. Or all rows at its beginning are bad; none was yielded.
        """
        with open_csv(self._path) as file:
            if position is not None:
                file.skip(position)
                self.skipped_rows = position["rows"]
            pacer = _Pacer(self._speed)
            pending: list[_Entry] = []
            entries = _Entries(file, self._map, self._device_id)
            for entry in iter(entries) if position is not None else self._tried(iter(entries)):
                wait = 0.0 if entry.row is None else pacer.wait(entry.row.time)
                if pending and (wait > 0 or len(pending) == self._chunk_rows):
                    self.progress = file.progress
                    yield self._chunk(pending)
                    pending = []
                if wait > 0:
                    await asyncio.sleep(wait)
                pending.append(entry)
            self.progress = 1.0
            if pending:
                yield self._chunk(pending)
            if entries.failure is not None:
                raise entries.failure

    def _tried(self, entries: Iterator[_Entry]) -> Iterator[_Entry]:
        """Give the entries if there is a good one among the first."""
        first = list(islice(entries, _TRIAL_ROWS))
        bad = [entry.bad for entry in first if entry.bad is not None]
        if bad and len(bad) == len(first):
            raise CollectorError(f"none of the first {len(bad)} rows of {self._path} can be stored: {bad[0]}")
        yield from first
        yield from entries

    def _chunk(self, entries: Sequence[_Entry]) -> Chunk:
        rows = [entry.row for entry in entries if entry.row is not None]
        bad = [entry.bad for entry in entries if entry.bad is not None]
        return Chunk(self._map.columns(self._device_id, rows), entries[-1].position, bad)


def _map_of(file: CsvFile, path: Path, rules: Sequence[Rule]) -> ColumnMap:
    if not file.header:
        raise CollectorError(f"{path} is empty; expected a line with the columns' names, and rows")
    try:
        columns = ColumnMap(file.header, rules)
    except CollectorError as error:
        raise CollectorError(f"{path}: {error}") from None
    if file.next_row() is None:
        raise CollectorError(f"{path} has the columns' names, but no rows below them; expected some")
    return columns


class _Entry(NamedTuple):
    """A row of the file, good or bad, and the place behind it."""

    row: Row | None
    bad: BadRow | None
    position: RowPosition


class _Entries:
    """The entries of a file; a failure to read on ends them and is kept for later.

    What was read before it is to be delivered first.
    """

    def __init__(self, file: CsvFile, columns: ColumnMap, device_id: str) -> None:
        self.failure: CollectorError | None = None
        self._file = file
        self._map = columns
        self._device_id = device_id

    def __iter__(self) -> Iterator[_Entry]:
        try:
            while (cells := self._file.next_row()) is not None:
                yield self._entry(cells)
        except CollectorError as error:
            self.failure = error

    def _entry(self, cells: Sequence[str]) -> _Entry:
        file = self._file
        try:
            return _Entry(self._map.row(cells), None, file.position)
        except ValueError as error:
            named, problem = dict(zip(file.header, cells, strict=False)), str(error)
            if len(cells) != len(file.header):
                # Which cell belongs where is not known: set aside like that, the row
                # would be taken for a good one.
                named, problem = dict.fromkeys(file.header, ""), f"{problem}: {','.join(cells)}"
            return _Entry(None, BadRow(self._device_id, file.line, named, problem), file.position)


class _Pacer:
    """Tells how long to wait until a row is due.

    Args:
        speed: how many times faster than the rows' times; infinity never waits.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first: int | None = None
        self._started = 0.0

    def wait(self, row_time: int) -> float:
        """Give the seconds until the row of a time is due; 0 for what is due or nearly so."""
        if self._first is None:
            self._first, self._started = row_time, time.monotonic()
        due = self._started + (row_time - self._first) / 1e9 / self._speed
        wait = due - time.monotonic()
        return wait if wait >= _SHORTEST_WAIT else 0.0
