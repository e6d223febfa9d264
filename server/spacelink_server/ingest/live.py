"""Fans committed segments out to whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_server.storage.segments import Segment

# What a watcher may lag behind: at a batch a second from each device, a quarter
# of a second of a thousand devices.
_MAX_LAG_SEGMENTS = 256


class LiveSegment(NamedTuple):
    """A committed segment, and how many were lost just before it."""

    segment: Segment
    lost: int


class Watcher:
    """A bounded queue of one tenant's committed segments.

    Iterating over it gives LiveSegments and never ends. When the reader lags,
    the oldest segments are lost and counted.
    """

    def __init__(self, tenant_id: str, device_ids: Iterable[str]) -> None:
        self.tenant_id = tenant_id
        self._device_ids = frozenset(device_ids)
        self._queue: deque[LiveSegment] = deque()
        self._arrived = asyncio.Event()
        self._lost = 0

    def offer(self, segment: Segment) -> None:
        """Queue a segment if it is watched; never waits."""
        if self._device_ids and segment.device_id not in self._device_ids:
            return
        if len(self._queue) == _MAX_LAG_SEGMENTS:
            self._lost += 1 + self._queue.popleft().lost
        self._queue.append(LiveSegment(segment, 0))
        self._arrived.set()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> LiveSegment:
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        lost, self._lost = self._lost, 0
        return self._queue.popleft()._replace(lost=lost)


class LiveFeed:
    """All watchers of the process."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def add(self, watcher: Watcher) -> None:
        """Let a watcher see what is committed from now on."""
        self._watchers.add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        self._watchers.discard(watcher)

    def publish(self, tenant_id: str, segments: Iterable[Segment]) -> None:
        """Offer committed segments to the tenant's watchers."""
        for watcher in self._watchers:
            if watcher.tenant_id == tenant_id:
                for segment in segments:
                    watcher.offer(segment)
