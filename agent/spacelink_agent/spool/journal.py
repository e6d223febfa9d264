"""The log together with the state it adds up to, and what to do when the disk fails."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from spacelink.columns import TelemetryColumns, concatenate
from spacelink_agent.spool.counters import Counters
from spacelink_agent.spool.log import Log
from spacelink_agent.spool.state import batch_record, dropped_record

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink_agent.spool.record import Record
    from spacelink_agent.spool.recovery import Recovered

# Large enough that files are made and deleted seldom, small enough that space
# comes back soon after acks.
_FILE_BYTES = 4 * 1024 * 1024
# Files are dropped and freed whole, so a small spool has at least so many, or
# too much of it would go at once.
_FEWEST_FILES = 8
# All of them are kept open, and processes may have 1024 descriptors by default.
_MOST_FILES = 256

_logger = logging.getLogger(__name__)


class Journal:
    """Writes records and applies them.

    Args:
        directory: where the log's files are.
        recovered: what they hold.
        max_bytes: the most the log is to take.

    Attributes:
        state: what all records add up to.
        log: where they are.
        counters: what happened.
        handed: the highest sequence given to the uplink since the stream opened.
        is_closed: no samples will come any more.
        changed: set when a batch is numbered, and when nothing will change.
        freed: set when acks may have made room.
    """

    def __init__(self, directory: Path, recovered: Recovered, max_bytes: int) -> None:
        self.state = recovered.state
        self.log = Log(directory, recovered.files, self.state.checkpoint())
        self.log.delete_through(self.state.given_up)
        self.counters = Counters()
        self.handed = self.state.given_up
        self.is_closed = False
        self.changed = asyncio.Event()
        self.freed = asyncio.Event()
        self._max_bytes = max_bytes
        self._file_bytes = max(min(_FILE_BYTES, max_bytes // _FEWEST_FILES), max_bytes // _MOST_FILES)
        # Samples that were lost without ever having a number.
        self._lost_samples = 0
        self._is_failing = False

    @property
    def is_complete(self) -> bool:
        """Tell whether everything that came has a number and no more will come."""
        return self.is_closed and not self.state.open and not self._lost_samples

    def has_room(self, size: int) -> bool:
        """Tell whether samples of a size in bytes may still be added."""
        # Open samples are written again with their batch, and with a checkpoint.
        needed = self.log.size + 2 * (self.state.open_bytes + size)
        return needed <= self._max_bytes or not (self.state.pending_batches or self.state.open)

    def write(self, record: Record) -> bool:
        """Write a record and apply it; False if the disk does not take it."""
        self.rotate_if_large()
        try:
            self.log.append(record)
        except OSError as error:
            self._failed(error)
            return False
        self.state.apply(record)
        self.changed.set()
        return True

    def note(self, record: Record) -> None:
        """Apply a record that tells of a fact; if it cannot be written, a restart finds out anew."""
        if not self.write(record):
            self.state.apply(record)

    def cut(self, device_id: str) -> bool:
        """Make a batch of a device's samples; False if the disk does not take it: a later call will."""
        if device_id not in self.state.open:
            return True
        parts = [TelemetryColumns.decode(part) for part in self.state.open[device_id].parts]
        return self.write(batch_record(self.state.next_sequence, concatenate(parts)))

    def add_batch(self, samples: TelemetryColumns) -> bool:
        """Make a batch of samples, behind those of the device that are in none; False: see cut."""
        return self.cut(samples.device_id) and self.write(batch_record(self.state.next_sequence, samples))

    def rotate_if_large(self) -> None:
        """Go on in a new file when the current one is large enough."""
        if self.log.current_size >= self._file_bytes:
            self.rotate()

    def rotate(self) -> bool:
        """Go on in a new file; False if the disk does not take it."""
        try:
            self.log.rotate(self.state.checkpoint())
        except OSError as error:
            self._failed(error)
            return False
        self.log.delete_through(self.state.committed)
        return True

    def lose(self, samples: int) -> None:
        """Count samples that never got a number; the server is told once the disk takes it."""
        self._lost_samples += samples
        self.counters.dropped_samples += samples

    def report_lost(self) -> None:
        """Use up a number to tell the server of lost samples."""
        if not self._lost_samples:
            return
        number = self.state.next_sequence
        if self.write(dropped_record(number, number, self._lost_samples)):
            _logger.warning("%d samples were dropped before they had a batch", self._lost_samples)
            self._lost_samples = 0

    def _failed(self, error: OSError) -> None:
        if not self._is_failing:
            _logger.error("the spool's disk takes no more: %s", error.strerror or error)
        self._is_failing = True

    def works_again(self) -> None:
        """Take note that the disk takes samples."""
        if self._is_failing:
            _logger.warning("the spool's disk takes samples again")
        self._is_failing = False
