"""What a server knows of a spool's stream, to play its part without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink.uplink import Batch, Dropped
from spacelink.v1.telemetry_pb2 import IngestReady, RejectedBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink.uplink import BatchSource


class Cursor:
    """Takes a source's batches as the server would, one stream_id after the other."""

    def __init__(self) -> None:
        self.committed: dict[str, int] = {}
        self.dropped: list[Dropped] = []

    def of(self, source: BatchSource) -> int:
        return self.committed.get(source.stream_id, 0)

    async def open(self, source: BatchSource) -> None:
        while not await source.resume(IngestReady(committed_sequence=self.of(source))):
            pass

    def receive(self, source: BatchSource) -> list[bytes]:
        """Commit what the source has ready, without an ack."""
        received = []
        while (item := source.next_after(self.of(source))) is not None:
            following = self.of(source) + 1
            if isinstance(item, Batch):
                assert item.sequence == following
                self.committed[source.stream_id] = item.sequence
                received.append(item.data)
            else:
                assert item.first_sequence == following
                self.committed[source.stream_id] = item.last_sequence
                self.dropped.append(item)
        return received

    def take(self, source: BatchSource, rejected: Sequence[RejectedBatch] = ()) -> list[bytes]:
        """Commit and ack what the source has ready."""
        received = self.receive(source)
        source.acked(self.of(source), rejected)
        return received

    async def take_all(self, source: BatchSource) -> list[bytes]:
        """Commit and ack until the source has ended."""
        await self.open(source)
        received = []
        while await source.wait_after(self.of(source)):
            received += self.take(source)
        return received
