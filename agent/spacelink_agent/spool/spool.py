"""The spool: takes samples from collectors, cuts batches of them, and drops what has no room."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from spacelink_agent.bad_rows import without_bad_rows
from spacelink_agent.spool.delivery import Delivery
from spacelink_agent.spool.errors import SpoolError
from spacelink_agent.spool.identity import StreamIdentity, lock
from spacelink_agent.spool.journal import Journal
from spacelink_agent.spool.recovery import recover
from spacelink_agent.spool.rejected import Rejected
from spacelink_agent.spool.state import batch_record, dropped_record, position_record, samples_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spacelink.columns import TelemetryColumns
    from spacelink.uplink import BatchSource
    from spacelink_agent.bad_rows import BadRow
    from spacelink_agent.spool.counters import Counters
    from spacelink_agent.spool.logfile import LogFile
    from spacelink_agent.spool.record import Record
    from spacelink_agent.spool.state import Position

# How often a disk that was full is tried again; it is freed by people or by
# other programs, and neither tells.
_RETRY_SECONDS = 1.0

# So many bad rows are told of one by one; all are set aside.
_TOLD_ROWS = 10

_logger = logging.getLogger(__name__)


class FullPolicy(StrEnum):
    """What happens to samples that a full spool has no room for."""

    DROP_OLDEST = "drop-oldest"
    DROP_NEWEST = "drop-newest"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """How the spool works.

    Attributes:
        batch_samples: a batch is cut when a device has this many samples.
        batch_age: or when the first of them is this many seconds old.
        max_bytes: the most the spool takes on disk; rejected batches come on
            top.
        when_full: what happens then.
    """

    batch_samples: int = 60
    batch_age: float = 5.0
    max_bytes: int = 256 * 1024 * 1024
    when_full: FullPolicy = FullPolicy.DROP_OLDEST


class Spool:
    """Keeps samples on disk until the server has them.

    Everything runs in one event loop; only syncing to disk is done in threads.

    Args:
        directory: where the spool is or is to be made.
        settings: how it works.

    Attributes:
        rejected: what the server will never store.

    Raises:
        SpoolError: it cannot be opened; the text says why.
    """

    def __init__(self, directory: Path, settings: SpoolSettings) -> None:
        self._settings = settings
        self._is_full = False
        self.rejected = Rejected(directory / "rejected")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = lock(directory)
            with ExitStack() as stack:
                stack.callback(os.close, self._lock)
                self._open(directory)
                stack.pop_all()
        except OSError as error:
            raise SpoolError(f"the spool {directory} cannot be opened: {error.strerror or error}") from None

    def _open(self, directory: Path) -> None:
        log_directory = directory / "log"
        log_directory.mkdir(exist_ok=True)
        recovered = recover(log_directory, partial(StreamIdentity.forget, directory))
        self._journal = Journal(log_directory, recovered, self._settings.max_bytes)
        identity = StreamIdentity.load(directory)
        if identity is None:
            identity = StreamIdentity.create(directory, self._journal.state.committed)
        self._delivery = Delivery(directory, self._journal, identity, self.rejected)

    @property
    def source(self) -> BatchSource:
        """The batches, for an uplink."""
        return self._delivery

    @property
    def counters(self) -> Counters:
        """What happened since the spool was opened."""
        return self._journal.counters

    @property
    def pending_batches(self) -> int:
        """How many batches wait for their ack."""
        return self._journal.state.pending_batches

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._journal.log.size

    def position(self, source: str) -> Position:
        """Tell where a collector stood after its last spooled samples; None: it never was here."""
        return self._journal.state.positions.get(source)

    async def append(
        self,
        samples: TelemetryColumns,
        source: str = "",
        position: Position = None,
        bad: Sequence[BadRow] = (),
    ) -> None:
        """Write samples to disk, and where their collector stands after them.

        When this returns they are there, or dropped as the settings say.
        FullPolicy.BLOCK waits for room instead. What no server would store is
        set aside.

        Args:
            samples: some, unless there are bad rows.
            source: names the collector if it has a position.
            position: anything JSON can hold.
            bad: rows that are no samples.
        """
        samples, wrong = without_bad_rows(samples)
        if bad or wrong:
            self._set_aside(source, [*bad, *wrong])
        if not len(samples):
            if source:
                self._journal.note(position_record(self._journal.state.committed, source, position))
            return
        while not self._try_append(samples, source, position):
            self._journal.freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._journal.freed.wait(), _RETRY_SECONDS)

    async def cut_by_age(self) -> None:
        """Cut batches that are old enough, until cancelled."""
        # A tenth of the age is as exact as anybody needs it, and batches that a
        # full disk did not take are tried again meanwhile.
        while True:
            await asyncio.sleep(min(self._settings.batch_age / 10, _RETRY_SECONDS))
            self._cut_old(self._settings.batch_age)

    def put_back(self, samples: TelemetryColumns) -> bool:
        """Take in a batch that was set aside; it is durable when this returns.

        What still is wrong with it is set aside again, as rows.

        Returns:
            False if there is no room for it, or the disk does not take it.
        """
        journal = self._journal
        samples, wrong = without_bad_rows(samples)
        if len(samples):
            if not (journal.has_room(len(samples.encode())) and journal.add_batch(samples)):
                return False
            try:
                journal.log.sync_now(journal.state.committed)
            except OSError:
                return False
        if wrong:
            self._set_aside("", wrong)
        return True

    def finish(self) -> None:
        """Cut everything; no samples may come after this."""
        self._journal.is_closed = True
        self._cut_old(0)
        self._journal.changed.set()

    def close(self) -> None:
        """Close all files and let go of the lock."""
        self._journal.log.close()
        os.close(self._lock)

    def _set_aside(self, source: str, rows: Sequence[BadRow]) -> None:
        counters = self._journal.counters
        for row in rows[: max(0, _TOLD_ROWS - counters.bad_rows)]:
            _logger.error("set aside: %s", row)
        if counters.bad_rows <= _TOLD_ROWS < counters.bad_rows + len(rows):
            _logger.error("more rows are set aside; see %s", self.rejected.rows_of(source))
        counters.bad_rows += len(rows)
        self.rejected.keep_rows(source, rows)

    def _try_append(self, samples: TelemetryColumns, source: str, position: Position) -> bool:
        journal = self._journal
        record = self._record_of(samples, source, position)
        if self._make_room(len(record.body)) and journal.write(record):
            journal.counters.collected_samples += len(samples)
            journal.works_again()
            self._cut_if_full(samples.device_id)
            journal.report_lost()
            return True
        if self._settings.when_full is FullPolicy.BLOCK:
            return False
        journal.lose(len(samples))
        return True

    def _record_of(self, samples: TelemetryColumns, source: str, position: Position) -> Record:
        state = self._journal.state
        if samples.device_id not in state.open and len(samples) >= self._settings.batch_samples:
            return batch_record(state.next_sequence, samples, source, position)
        return samples_record(samples, source, position)

    def _cut_if_full(self, device_id: str) -> None:
        samples = self._journal.state.open.get(device_id)
        if samples is not None and samples.samples >= self._settings.batch_samples:
            self._journal.cut(device_id)

    def _cut_old(self, age: float) -> None:
        latest = time.monotonic() - (0 if self._journal.is_closed else age)
        for device_id, samples in list(self._journal.state.open.items()):
            if samples.since <= latest:
                self._journal.cut(device_id)
        if self._journal.is_closed:
            self._journal.report_lost()

    def _make_room(self, size: int) -> bool:
        journal = self._journal
        journal.rotate_if_large()
        drops_oldest = self._settings.when_full is FullPolicy.DROP_OLDEST
        while not (has_room := journal.has_room(size)) and drops_oldest and self._drop_oldest():
            pass
        if not has_room and not self._is_full:
            _logger.warning("the spool is full (%s)", self._settings.when_full)
        self._is_full = not has_room
        return has_room

    def _drop_oldest(self) -> bool:
        """Drop the batches of the oldest file; False if there are none."""
        journal = self._journal
        if journal.log.is_single and (journal.log.oldest.is_empty or not journal.rotate()):
            return False
        oldest = journal.log.oldest
        first = max(oldest.first_sequence, journal.state.committed + 1)
        dropped_before = journal.counters.dropped_samples
        on_their_way = range(first, min(oldest.last_sequence, journal.handed) + 1)
        # Each by itself: which of them arrive is known when the server says so.
        for sequence in on_their_way:
            self._drop(oldest, sequence, sequence)
        self._drop(oldest, first + len(on_their_way), oldest.last_sequence)
        journal.state.merge_dropped(after=journal.handed)
        journal.log.delete_oldest()
        _logger.warning(
            "dropped the oldest %d samples, batches %d to %d",
            journal.counters.dropped_samples - dropped_before,
            first,
            oldest.last_sequence,
        )
        return True

    def _drop(self, file: LogFile, first: int, last: int) -> None:
        if first > last:
            return
        sequences = range(first, last + 1)
        journal = self._journal
        journal.note(dropped_record(first, last, sum(map(file.samples, sequences))))
        # Samples that never had a batch were counted when they were lost.
        dropped = sum(file.samples(sequence) for sequence in sequences if not file.is_lost(sequence))
        journal.counters.dropped_samples += dropped
        journal.state.dropped[-1].in_doubt = dropped
