"""Shows watchers what any server commits to the database."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from spacelink_server.ingest.live import MAX_LAG_BYTES, LiveFeed, Watcher
from spacelink_server.storage.store import StoreUnavailableError
from spacelink_server.storage.tail import MOST_ARRIVALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor

    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.tail import Arrival, CommitTail

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# How late watchers see a commit, besides the reading itself. Nobody is notified
# instead: PostgreSQL makes all transactions that notify commit one by one.
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class _Followed:
    """How far a tenant's commits have been read.

    Attributes:
        since: the lowest segment_id to be read.
        seen: what was read of those from since on.
    """

    since: int
    seen: set[Arrival] = field(default_factory=set)


class SharedFeed(LiveFeed):
    """All watchers of a process that shares its database with others.

    What this process commits is found like what others do: the committer's word
    is not needed.
    """

    def __init__(
        self, tail: CommitTail, readers: Executor, *observers: Callable[[str, Sequence[Segment]], None]
    ) -> None:
        """Make a feed; run feeds it.

        Args:
            tail: gives what is committed.
            readers: threads for reading it.
            observers: see LiveFeed.
        """
        super().__init__(*observers)
        self._tail = tail
        self._readers = readers
        self._followed: dict[str, _Followed] = {}
        self._watched = asyncio.Event()

    async def add(self, watcher: Watcher) -> None:
        """Let a watcher see what is committed from now on.

        Raises:
            StoreUnavailableError: the store failed.
        """
        if watcher.tenant_id not in self._followed:
            horizon = await self._in_thread(self._tail.horizon)
            self._followed.setdefault(watcher.tenant_id, _Followed(horizon))
        await super().add(watcher)
        self._watched.set()

    def publish(self, tenant_id: str, segments: Sequence[Segment]) -> None:
        """Tell the observers; what watchers are shown, run finds in the store."""
        for observe in self.observers:
            observe(tenant_id, segments)

    async def run(self) -> None:
        """Read what is committed, as long as anybody watches; runs for ever."""
        while True:
            await self._watched.wait()
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self._poll()
            except StoreUnavailableError:
                # Whoever finds the store failing first has said so.
                logger.debug("reading commits: the store is not available")
            except Exception:
                logger.exception("reading commits failed")

    async def _poll(self) -> None:
        # Before anything is read: what is committed later lies behind it.
        horizon = await self._in_thread(self._tail.horizon)
        for tenant_id, followed in list(self._followed.items()):
            watchers = self.watchers(tenant_id)
            if watchers:
                await self._follow(tenant_id, followed, horizon, watchers)
            else:
                del self._followed[tenant_id]
        if not self._followed:
            self._watched.clear()

    async def _follow(
        self, tenant_id: str, followed: _Followed, horizon: int, watchers: Sequence[Watcher]
    ) -> None:
        device_ids = _devices(watchers)
        arrivals = await self._in_thread(lambda: self._tail.arrivals(tenant_id, device_ids, followed.since))
        new = [arrival for arrival in arrivals if arrival not in followed.seen]
        lost, taken = _newest(new)
        segments = await self._in_thread(lambda: self._tail.fetch(tenant_id, taken)) if taken else []
        for watcher in watchers:
            watcher.lose(arrival.device_id for arrival in lost)
        self.show(tenant_id, segments)
        full = len(arrivals) == MOST_ARRIVALS
        followed.since = min(horizon, arrivals[-1].segment_id) if full else horizon
        followed.seen = {arrival for arrival in arrivals if arrival.segment_id >= followed.since}

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, function)


def _devices(watchers: Iterable[Watcher]) -> frozenset[str]:
    """Give the devices that are watched; empty means all."""
    device_ids = [watcher.device_ids for watcher in watchers]
    return frozenset().union(*device_ids) if all(device_ids) else frozenset()


def _newest(arrivals: Sequence[Arrival]) -> tuple[Sequence[Arrival], Sequence[Arrival]]:
    """Part what no watcher could take in any more from what is worth fetching."""
    size = 0
    for place in reversed(range(len(arrivals))):
        size += arrivals[place].size
        if size > MAX_LAG_BYTES and place + 1 < len(arrivals):
            return arrivals[: place + 1], arrivals[place + 1 :]
    return (), arrivals
