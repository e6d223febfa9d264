"""The real store, with faults on demand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from spacelink_server.storage.sqlite import SqliteStore
from spacelink_server.storage.store import StoreUnavailableError
from tests.server.waiting import WAIT_SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink_server.storage.store import CommitGroup, CommitResult


class FaultyStore(SqliteStore):
    """A SQLite store whose commits can be held up and made to fail.

    Attributes:
        groups: what commit was given, in order.
        error: raised by commit and probe instead of doing anything.
        gate: commits wait while it is not set.
        one_at_a_time: a commit closes the gate behind itself.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.groups: list[CommitGroup] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.one_at_a_time = False
        self.probed = 0

    def commit(self, group: CommitGroup) -> CommitResult:
        self.groups.append(group)
        assert self.gate.wait(WAIT_SECONDS)
        if self.one_at_a_time:
            self.gate.clear()
        self._raise()
        return super().commit(group)

    def probe(self, size: int) -> None:
        self.probed += 1
        self._raise()
        # Not through commit: a probe is no group.
        assert size > 0

    def break_down(self) -> None:
        """Fail from now on."""
        self.error = StoreUnavailableError("disk on fire at /dev/secret")

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    async def reached(self, groups: int) -> None:
        """Wait until so many groups were given to commit."""
        await until(lambda: len(self.groups) >= groups)
