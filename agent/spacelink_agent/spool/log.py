"""The log: a row of files that is written at its end and deleted from its beginning."""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from spacelink_agent.spool.logfile import LogFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spacelink_agent.spool.record import Record

SUFFIX = ".log"


class Log:
    """The files of the log, the oldest first.

    The sequences of the files' batches follow each other without a gap.

    Args:
        directory: where the files are.
        files: what recovery found; may be empty.
        checkpoint: begins the first file if there is none.

    Raises:
        OSError: the first file cannot be made.
    """

    def __init__(self, directory: Path, files: Sequence[LogFile], checkpoint: Record) -> None:
        self._directory = directory
        self._files = list(files)
        # The newest file whose directory entry is known to be on disk.
        self._entered = 0
        if not self._files:
            self.rotate(checkpoint)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self._files)

    @property
    def current_size(self) -> int:
        """Bytes of the file that is written."""
        return self._files[-1].size

    def append(self, record: Record) -> None:
        """Write a record.

        Raises:
            OSError: it cannot be written; the log is as it was before.
        """
        self._files[-1].append(record)

    def rotate(self, checkpoint: Record) -> None:
        """Begin a new file.

        Raises:
            OSError: it cannot be made; the log is as it was before.
        """
        number = int(self._files[-1].path.stem) + 1 if self._files else 1
        path = self._directory / f"{number:020d}{SUFFIX}"
        self._files.append(LogFile.create(path, checkpoint))

    def file_of(self, sequence: int) -> LogFile:
        """Find the file that holds a batch."""
        return self._files[bisect_right(self._files, sequence, key=attrgetter("first_sequence")) - 1]

    @property
    def oldest(self) -> LogFile:
        """The oldest file."""
        return self._files[0]

    @property
    def is_single(self) -> bool:
        """Tell whether the oldest file is the one that is written."""
        return len(self._files) == 1

    def delete_oldest(self) -> None:
        """Remove the oldest file."""
        self._files.pop(0).delete()

    def delete_through(self, sequence: int) -> None:
        """Remove the oldest files as far as all their batches are up to the sequence."""
        while len(self._files) > 1 and self._files[0].last_sequence <= sequence:
            self.delete_oldest()

    async def sync(self, after: int) -> int:
        """Make the batches after a sequence durable, in a thread.

        Returns:
            Up to which sequence everything is durable now.

        Raises:
            OSError: the disk failed.
        """
        newest = int(self._files[-1].path.stem)
        descriptors = self._unsynced(after)
        through = self._files[-1].last_sequence
        # Shielded: the thread has to get to closing them.
        await asyncio.shield(asyncio.to_thread(_sync_and_close, descriptors))
        self._entered = max(self._entered, newest)
        return through

    def sync_now(self, after: int) -> None:
        """Make the batches after a sequence durable before this returns; for what happens seldom.

        Raises:
            OSError: the disk failed.
        """
        _sync_and_close(self._unsynced(after))

    def _unsynced(self, after: int) -> list[int]:
        files = [file for file in self._files if file.last_sequence > after]
        # Duplicates, so that a file may be deleted while it is being synced.
        descriptors = [os.dup(file.fd) for file in files]
        if int(self._files[-1].path.stem) > self._entered:
            descriptors.append(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return descriptors

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()


def _sync_and_close(descriptors: list[int]) -> None:
    try:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
