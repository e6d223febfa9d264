"""What is set aside: batches the server will never store, and rows that are no samples."""

from __future__ import annotations

import csv
import json
import logging
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from spacelink import _rows
from spacelink._sample_rules import WrongValue, wrong_values
from spacelink.columns import TelemetryColumns
from spacelink_agent.spool.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spacelink_agent.bad_rows import BadRow

# Enough for some hundred thousand samples; whoever did not look by then will
# not miss the oldest ones.
_MAX_BYTES = 16 * 1024 * 1024
# A batch's facts name so many of its wrong values.
_WRONG_VALUES = 10

_BATCH, _FACTS, _CSV = ".batch", ".json", ".csv"
# What a file of bad rows has behind the columns that were read.
_PLACE, _PROBLEM = "rejected_from", "problem"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """A file of what was set aside.

    Attributes:
        name: what it is called.
        path: the batch, or the CSV file of bad rows.
        time: when the last of it was set aside.
        device_id: what it is of.
        samples: how many rows it has.
        reason: UPPER_SNAKE, machine-readable.
        message: what is wrong and what would be right; of rows, with the first.
    """

    name: str
    path: Path
    time: datetime
    device_id: str
    samples: int
    reason: str
    message: str

    @property
    def is_batch(self) -> bool:
        """Tell whether it is a batch, which may be sent again as it is."""
        return self.path.suffix == _BATCH

    def read(self) -> TelemetryColumns:
        """Give a batch's samples.

        Raises:
            SpoolError: it cannot be read.
        """
        try:
            return TelemetryColumns.decode(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise SpoolError(f"{self.path} cannot be read: {error}") from None

    def remove(self) -> None:
        """Remove it for good."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(_FACTS).unlink(missing_ok=True)


class SetAside(NamedTuple):
    """How much is set aside."""

    batches: int
    rows: int

    def __str__(self) -> str:
        texts = (_counted(self.batches, "batch", "batches"), _counted(self.rows, "row", "rows"))
        return " and ".join(filter(None, texts))


class Rejected:
    """A directory of what was set aside.

    N.batch is a TelemetryBatch, N.json says why it was rejected. Rows that never
    were part of a batch are in CSV files, one for each source: as they were
    read, with the device, the place and the problem behind them. Corrected, such
    a file can be replayed.

    Args:
        directory: where they go; made when the first one comes.
        max_bytes: the oldest are removed when all take more than this.
    """

    def __init__(self, directory: Path, max_bytes: int = _MAX_BYTES) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._is_full = False

    def keep(self, sequence: int, data: bytes, reason: str, message: str) -> None:
        """Keep a batch; what cannot be written is logged and let go."""
        stem = self.directory / f"{sequence:020d}"
        facts = {"sequence": sequence, "reason": reason, "message": message, **_facts(data)}
        try:
            self.directory.mkdir(exist_ok=True)
            stem.with_suffix(_BATCH).write_bytes(data)
            stem.with_suffix(_FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            self._make_room()
        except OSError as error:
            _logger.warning("rejected batch %d cannot be kept: %s", sequence, error)

    def keep_rows(self, source: str, rows: Sequence[BadRow]) -> None:
        """Keep rows of a source; what cannot be written is logged and let go."""
        path = self.rows_of(source)
        try:
            self.directory.mkdir(exist_ok=True)
            self._append(path, rows)
            self._make_room()
        except OSError as error:
            _logger.warning("%d bad rows cannot be kept: %s", len(rows), error)

    def rows_of(self, source: str) -> Path:
        """Give where the bad rows of a source are, if it has any."""
        return self.directory / f"rows-{zlib.crc32(source.encode()):08x}{_CSV}"

    def count(self) -> SetAside:
        """Tell how much there is."""
        rows = sum(len(_read_rows(path)) for path in self.directory.glob(f"*{_CSV}"))
        return SetAside(len(list(self.directory.glob(f"*{_BATCH}"))), rows)

    def entries(self) -> list[RejectedEntry]:
        """List what there is, the oldest first."""
        files = [path for path in self.directory.glob("*") if path.suffix in (_BATCH, _CSV)]
        entries = [_batch_entry(path) if path.suffix == _BATCH else _rows_entry(path) for path in files]
        return sorted(entries, key=lambda entry: (entry.time, entry.name))

    def _append(self, path: Path, rows: Sequence[BadRow]) -> None:
        size = path.stat().st_size if path.exists() else 0
        # Others are to have room, too.
        if size > self._max_bytes // 2:
            if not self._is_full:
                _logger.warning("%s is full: further bad rows are only counted", path)
            self._is_full = True
            return
        cells = [
            {**row.cells, _rows.DEVICE: row.device_id, _PLACE: row.place, _PROBLEM: row.problem}
            for row in rows
        ]
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, cells[0], lineterminator="\n")
            if not size:
                writer.writeheader()
            writer.writerows(cells)

    def _make_room(self) -> None:
        files = [(file.stat(), file) for file in self.directory.iterdir()]
        files.sort(key=lambda entry: (entry[0].st_mtime_ns, entry[1].name))
        excess = sum(status.st_size for status, _ in files) - self._max_bytes
        for status, file in files:
            if excess <= 0:
                return
            file.unlink()
            excess -= status.st_size


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""


def _facts(data: bytes) -> dict[str, object]:
    """Say what is in a batch, and what this program finds wrong with it."""
    try:
        samples = TelemetryColumns.decode(data)
    except ValueError:
        return {}
    wrong = islice(wrong_values(samples), _WRONG_VALUES)
    return {
        "device_id": samples.device_id,
        "samples": len(samples),
        "wrong_values": [each._asdict() for each in wrong],
    }


def _batch_entry(path: Path) -> RejectedEntry:
    facts = {}
    with suppress(OSError, ValueError):
        facts = json.loads(path.with_suffix(_FACTS).read_bytes())
    # An older agent told less.
    facts = {**_facts(path.read_bytes()), **facts}
    wrong = [WrongValue(**each) for each in facts.get("wrong_values", [])[:1]]
    first = "".join(f" (sample {each.row + 1}: {each})" for each in wrong)
    return RejectedEntry(
        name=path.stem.lstrip("0"),
        path=path,
        time=_time(path),
        device_id=facts.get("device_id", ""),
        samples=facts.get("samples", 0),
        reason=facts.get("reason", ""),
        message=facts.get("message", "") + first,
    )


def _rows_entry(path: Path) -> RejectedEntry:
    rows = _read_rows(path)
    first = rows[0] if rows else {}
    return RejectedEntry(
        name=path.stem,
        path=path,
        time=_time(path),
        device_id=first.get(_rows.DEVICE, ""),
        samples=len(rows),
        reason="BAD_ROWS",
        message=f"{first.get(_PLACE) or 'measured'}: {first.get(_PROBLEM, '')}",
    )


def _read_rows(path: Path) -> list[dict[str, str]]:
    # People correct these files, with whatever program: this must not stop an agent.
    with suppress(csv.Error), path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.DictReader(file))
    return []


def _time(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
