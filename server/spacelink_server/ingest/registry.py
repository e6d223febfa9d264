"""The Ingest streams that are open in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spacelink_server.storage.store import StreamKey

if TYPE_CHECKING:
    from spacelink_server.ingest.stream import IngestStream


class StreamRegistry:
    """Knows every open stream: to fence an older one at once, and to drain all."""

    def __init__(self) -> None:
        self._streams: dict[StreamKey, IngestStream] = {}
        self._open: set[IngestStream] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def draining(self) -> bool:
        """Whether no more streams are taken."""
        return self._draining

    def add(self, stream: IngestStream) -> None:
        """Take in an opened stream; of two with one id the newer epoch stays."""
        key = StreamKey(stream.tenant_id, stream.stream_id)
        other = self._streams.get(key)
        self._open.add(stream)
        self._empty.clear()
        if other is not None and other.epoch > stream.epoch:
            stream.fenced()
            return
        self._streams[key] = stream
        if other is not None:
            other.fenced()
        if self._draining:
            stream.drain()

    def remove(self, stream: IngestStream) -> None:
        """Let an ended stream go."""
        self._open.discard(stream)
        key = StreamKey(stream.tenant_id, stream.stream_id)
        if self._streams.get(key) is stream:
            del self._streams[key]
        if not self._open:
            self._empty.set()

    async def drain(self) -> None:
        """Drain every stream and wait until all have ended."""
        self._draining = True
        for stream in tuple(self._open):
            stream.drain()
        await self._empty.wait()
