"""Fans committed segments out to whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_server.storage.segments import Segment

# What a watcher may lag behind: at a batch a second from each device, a quarter
# of a second of a thousand devices.
_MAX_LAG_SEGMENTS = 256


class Watcher:
    """A bounded queue of one tenant's committed segments.

    Iterating over it gives Segments until the feed is closed. When the reader
    lags, the oldest segments are lost and counted.
    """

    def __init__(self, tenant_id: str, device_ids: Iterable[str]) -> None:
        self.tenant_id = tenant_id
        self._device_ids = frozenset(device_ids)
        self._queue: deque[Segment] = deque(maxlen=_MAX_LAG_SEGMENTS)
        self._changed = asyncio.Event()
        self._lost = 0
        self._closed = False

    def offer(self, segment: Segment) -> None:
        """Queue a segment if it is watched; never waits."""
        if self._device_ids and segment.device_id not in self._device_ids:
            return
        self._lost += len(self._queue) == _MAX_LAG_SEGMENTS
        self._queue.append(segment)
        self._changed.set()

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
        return self._queue.popleft()


class LiveFeed:
    """All watchers of the process."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._closed = False

    def add(self, watcher: Watcher) -> None:
        """Let a watcher see what is committed from now on."""
        self._watchers.add(watcher)
        if self._closed:
            watcher.close()

    def remove(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        self._watchers.discard(watcher)

    def publish(self, tenant_id: str, segments: Iterable[Segment]) -> None:
        """Offer committed segments to the tenant's watchers."""
        for watcher in self._watchers:
            if watcher.tenant_id == tenant_id:
                for segment in segments:
                    watcher.offer(segment)

    def close(self) -> None:
        """End all watching."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()
