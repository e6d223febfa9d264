"""A CSV file that is read row by row, and from where it was left."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from spacelink_agent.collectors import CollectorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP_MAGIC = b"\x1f\x8b"
# The header and some rows: enough to tell one recording from another.
_FINGERPRINT_CHARACTERS = 4096


class RowPosition(TypedDict):
    """A place in a file.

    Attributes:
        rows: how many rows were read, the header not counted.
        check: the CRC-32 of the last of them, to notice another file.
    """

    rows: int
    check: int


class CsvFile:
    """Reads rows and knows where it is; made by open_csv.

    Attributes:
        header: the names of the columns.
        fingerprint: the same for files that begin alike.
    """

    def __init__(self, path: Path, raw: io.BufferedReader) -> None:
        self._path = path
        self._raw = raw
        self._size = max(1, path.stat().st_size)
        self._rows = 0
        with _clear_errors(str(path)):
            text = _text(raw)
            start = text.read(_FINGERPRINT_CHARACTERS)
            self.fingerprint = hashlib.sha256(start.encode()).hexdigest()[:16]
            text.seek(0)
            self._reader = csv.reader(text)
            self.header = self._cells = next(filter(None, self._reader), [])

    @property
    def progress(self) -> float:
        """The share of the file that was read, from 0 to 1."""
        return self._raw.tell() / self._size

    @property
    def position(self) -> RowPosition:
        """Where to go on after the row that was read last."""
        return {"rows": self._rows, "check": zlib.crc32("\0".join(self._cells).encode())}

    @property
    def line(self) -> str:
        """Name the file and the line that was read last."""
        return f"{self._path}:{self._reader.line_num}"

    def next_row(self) -> list[str] | None:
        """Give the cells of the next row; None at the end. Blank lines are no rows.

        Raises:
            CollectorError: the file cannot be read on.
        """
        with _clear_errors(self.line):
            cells = next(filter(None, self._reader), None)
        if cells is not None:
            self._cells = cells
            self._rows += 1
        return cells

    def skip(self, position: RowPosition) -> None:
        """Go on after a position.

        Raises:
            CollectorError: the file is not the one that was read.
        """
        while self._rows < position["rows"] and self.next_row() is not None:
            pass
        if self.position != position:
            raise CollectorError(
                f"{self._path} is not the file that was replayed up to row {position['rows']}; "
                "if it is to be replayed from its beginning, use another --spool"
            )


@contextmanager
def open_csv(path: Path) -> Iterator[CsvFile]:
    """Open a CSV file, which may be compressed with gzip.

    Raises:
        CollectorError: it cannot be read.
    """
    with _clear_errors(str(path)):
        raw = path.open("rb")
    with raw:
        yield CsvFile(path, raw)


@contextmanager
def _clear_errors(place: str) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise CollectorError(f"{place}: {error}") from None
    except OSError as error:
        raise CollectorError(f"{place}: cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CollectorError(f"{place}: cannot be read on: {error}") from None


def _text(raw: io.BufferedReader) -> io.TextIOWrapper:
    # Any: GzipFile reads like a buffer, but does not say so.
    data: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(_GZIP_MAGIC) else raw
    return io.TextIOWrapper(data, "utf-8-sig", newline="")
