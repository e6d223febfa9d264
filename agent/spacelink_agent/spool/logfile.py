"""One file of the log: records behind each other, and where its batches lie."""

from __future__ import annotations

import os
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

from spacelink_agent.spool.record import DamagedRecordError, Kind, Record, TornRecordError, decode

if TYPE_CHECKING:
    from pathlib import Path


class LogFile:
    """An open file of the log.

    Attributes:
        path: where it is; the name is its number.
        fd: its descriptor.
        first_sequence: the number that the first of its batches has or will have.
        size: bytes of all its records.
    """

    def __init__(self, path: Path, fd: int, first_sequence: int) -> None:
        self.path = path
        self.fd = fd
        self.first_sequence = first_sequence
        self.size = 0
        # By sequence, counted from first_sequence. Arrays, since a full spool
        # may hold a million small batches. A length of 0: the batch is lost.
        self._offsets = array("Q")
        self._lengths = array("L")
        self._samples = array("L")

    @classmethod
    def create(cls, path: Path, checkpoint: Record) -> LogFile:
        """Make a file that begins with a checkpoint.

        Raises:
            OSError: it cannot be written; nothing is left of it.
        """
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        file = cls(path, fd, checkpoint.meta["next"])
        try:
            file.append(checkpoint)
        except OSError:
            file.delete()
            raise
        return file

    @property
    def last_sequence(self) -> int:
        """The number of its last batch; the one before first_sequence if it has none."""
        return self.first_sequence + len(self._offsets) - 1

    @property
    def is_empty(self) -> bool:
        """Tell whether it has no batch."""
        return not self._offsets

    def append(self, record: Record) -> None:
        """Write a record behind the last one.

        Raises:
            OSError: it cannot be written; the file is as it was before.
        """
        data = record.encode()
        try:
            _write_at(self.fd, data, self.size)
        except OSError:
            # The next record is written over what is left if this fails, too.
            with suppress(OSError):
                os.ftruncate(self.fd, self.size)
            raise
        self.note(record, len(data))

    def note(self, record: Record, length: int) -> None:
        """Take the record that follows the last one into the index.

        Args:
            record: what is there.
            length: how many bytes it takes.
        """
        follows = self.last_sequence + 1
        if record.kind is Kind.BATCH:
            self._index(self.size, length, record.meta["samples"])
        elif record.kind is Kind.DROPPED and record.meta["first"] == follows:
            self._index(0, 0, record.meta["samples"])
        self.size += length

    def pad(self, last_sequence: int) -> None:
        """Count the batches up to the last sequence as lost, with unknown samples."""
        while self.last_sequence < last_sequence:
            self._index(0, 0, 0)

    def samples(self, sequence: int) -> int:
        """Tell how many samples a batch has."""
        return self._samples[sequence - self.first_sequence]

    def is_lost(self, sequence: int) -> bool:
        """Tell whether the batch of a sequence is not there."""
        return self._lengths[sequence - self.first_sequence] == 0

    def read(self, sequence: int) -> Record:
        """Read the record of a batch.

        Raises:
            OSError: the disk failed.
            DamagedRecordError: it is not what was written.
        """
        index = sequence - self.first_sequence
        data = os.pread(self.fd, self._lengths[index], self._offsets[index])
        try:
            return decode(data)[0]
        except TornRecordError as error:
            raise DamagedRecordError(str(error)) from None

    def mark_lost(self, sequence: int) -> None:
        """Count a batch as lost."""
        self._lengths[sequence - self.first_sequence] = 0

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def delete(self) -> None:
        """Close the file and remove it."""
        # One that stays is removed after the next start.
        with suppress(OSError):
            self.close()
            self.path.unlink()

    def _index(self, offset: int, length: int, samples: int) -> None:
        self._offsets.append(offset)
        self._lengths.append(length)
        self._samples.append(samples)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
