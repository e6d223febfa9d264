"""Stores simulated telemetry the way that producers' is stored."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from spacelink_server.errors import store_unavailable
from spacelink_server.ingest.validation import split
from spacelink_server.sandboxes.simulation import DEVICE_IDS, HOURS, simulate
from spacelink_server.storage.store import StoreUnavailableError, Submission

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from spacelink_server.ingest.committer import Committer
    from spacelink_server.storage.segments import Segment

_HOUR = 3600 * 1_000_000_000


class Seed(NamedTuple):
    """What a sandbox was given.

    Attributes:
        device_ids: its devices.
        start: the first time of their telemetry, nanoseconds since 1970 UTC.
        end: the time that it ends before.
    """

    device_ids: tuple[str, ...]
    start: int
    end: int


class Seeder:
    """Gives sandboxes their telemetry."""

    def __init__(
        self, committer: Committer, readers: Executor, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """Make a seeder.

        Args:
            committer: commits segments.
            readers: threads to simulate in.
            clock: gives nanoseconds since 1970 UTC.
        """
        self._committer = committer
        self._readers = readers
        self._clock = clock

    async def seed(self, tenant_id: str) -> Seed:
        """Store the telemetry of the last hours.

        Raises:
            UnavailableError: the store failed; a part may be stored.
        """
        end = self._clock()
        segments = await asyncio.get_running_loop().run_in_executor(self._readers, _segments, end)
        size = sum(len(segment.payload) for segment in segments)
        try:
            await self._committer.submit(Submission(tenant_id, "", segments), size)
        except StoreUnavailableError:
            raise store_unavailable() from None
        start = min(segment.first_time for segment in segments)
        return Seed(DEVICE_IDS, start, start + HOURS * _HOUR)


def _segments(end: int) -> list[Segment]:
    return [segment for columns in simulate(end) for segment in split(columns)]
