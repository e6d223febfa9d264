"""Fans committed segments out to whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spacelink_server.storage.segments import Segment

# What a watcher may lag behind: a second of a thousand devices that each send
# a batch of a few samples a second.
MAX_LAG_BYTES = 1024 * 1024


class Watcher:
    """A bounded queue of one tenant's committed segments.

    Iterating over it gives Segments until the feed is closed. When the reader
    lags, the oldest segments are lost and counted.

    Attributes:
        tenant_id: whose segments.
        device_ids: of which devices; empty means all.
    """

    def __init__(self, tenant_id: str, device_ids: Iterable[str]) -> None:
        self.tenant_id = tenant_id
        self.device_ids = frozenset(device_ids)
        self._queue: deque[Segment] = deque()
        self._queued_bytes = 0
        self._changed = asyncio.Event()
        self._lost = 0
        self._closed = False

    def offer(self, segment: Segment) -> None:
        """Queue a segment if it is watched; never waits."""
        if not self._watches(segment.device_id):
            return
        self._queue.append(segment)
        self._queued_bytes += len(segment.payload)
        while self._queued_bytes > MAX_LAG_BYTES and len(self._queue) > 1:
            self._take()
            self._lost += 1
        self._changed.set()

    def lose(self, device_ids: Iterable[str]) -> None:
        """Count segments as lost that were never offered, by their devices."""
        self._lost += sum(map(self._watches, device_ids))

    def take_lost(self) -> int:
        """Tell how many segments were lost since this was last asked."""
        lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._changed.set()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Segment:
        while not self._queue and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise StopAsyncIteration
        return self._take()

    def _watches(self, device_id: str) -> bool:
        return not self.device_ids or device_id in self.device_ids

    def _take(self) -> Segment:
        segment = self._queue.popleft()
        self._queued_bytes -= len(segment.payload)
        return segment


class LiveFeed:
    """All watchers of the process, and who else hears of every commit."""

    def __init__(self, *observers: Callable[[str, Sequence[Segment]], None]) -> None:
        """Make a feed.

        Args:
            observers: called with each tenant and the segments that this process
                committed, on the event loop; they must not wait.
        """
        self.observers = observers
        self._watchers: set[Watcher] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._watchers)

    def watchers(self, tenant_id: str) -> list[Watcher]:
        """Give a tenant's watchers."""
        return [watcher for watcher in self._watchers if watcher.tenant_id == tenant_id]

    async def add(self, watcher: Watcher) -> None:
        """Let a watcher see what is committed from now on."""
        self._watchers.add(watcher)
        if self._closed:
            watcher.close()

    def remove(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        self._watchers.discard(watcher)

    def publish(self, tenant_id: str, segments: Sequence[Segment]) -> None:
        """Tell of segments that this process committed."""
        for observe in self.observers:
            observe(tenant_id, segments)
        self.show(tenant_id, segments)

    def show(self, tenant_id: str, segments: Iterable[Segment]) -> None:
        """Offer segments to the tenant's watchers."""
        for watcher in self.watchers(tenant_id):
            for segment in segments:
                watcher.offer(segment)

    async def run(self) -> None:
        """Do what there is to do besides; of what one process commits it is told."""

    def close(self) -> None:
        """End all watching."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()
