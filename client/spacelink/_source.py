"""Samples at hand as a source of batches for the uplink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink.errors import InternalError, RejectedBatch
from spacelink.uplink import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spacelink.columns import TelemetryColumns
    from spacelink.v1 import telemetry_pb2

# With ten metrics some 500 KB: large enough that the cost of a batch vanishes
# in it, small enough that a window of 64 unacked ones fits anywhere.
_BATCH_SAMPLES = 10_000
# What an encoded batch takes besides its values: the device's and 64 metrics'
# names and the lengths of all fields.
_ENVELOPE_BYTES = 8192


class ColumnsSource:
    """Cuts columns into batches as they are asked for and keeps those without an ack.

    Attributes:
        stream_id: names the sequence of batches at the server.
        committed_samples: how many samples are committed.
        rejected: batches that can never be stored.
    """

    def __init__(self, stream_id: str, columns: Iterable[TelemetryColumns]) -> None:
        self.stream_id = stream_id
        self.committed_samples = 0
        self.rejected: list[RejectedBatch] = []
        self._columns = columns
        self._batches: Iterator[TelemetryColumns] | None = None
        self._unacked: dict[int, tuple[Batch, TelemetryColumns]] = {}
        self._cut = 0
        self._acked = 0

    async def resume(self, ready: telemetry_pb2.IngestReady) -> bool:
        """Start after the stream's last batch, or go on after what is committed."""
        if self._batches is None:
            self._batches = _cut(self._columns, ready.max_batch_samples, ready.max_batch_bytes)
            self._cut = self._acked = ready.committed_sequence
        elif not self._acked <= ready.committed_sequence <= self._cut:
            raise InternalError(
                f"the server's cursor moved to {ready.committed_sequence}, which is not "
                f"from {self._acked} to {self._cut}; samples may be missing"
            )
        self.acked(ready.committed_sequence, ready.rejected)
        return True

    def next_after(self, sequence: int) -> Batch | None:
        """Give the batch after the sequence; None when all were given."""
        if sequence == self._cut:
            self._cut_next()
        following = self._unacked.get(sequence + 1)
        return following[0] if following else None

    def _cut_next(self) -> None:
        samples = next(self._batches, None) if self._batches is not None else None
        if samples is not None:
            self._cut += 1
            self._unacked[self._cut] = Batch(self._cut, samples.encode()), samples

    async def wait_after(self, sequence: int) -> bool:
        """Tell that nothing ever will: all there is comes at once."""
        return False

    def acked(self, committed_sequence: int, rejected: Sequence[telemetry_pb2.RejectedBatch]) -> None:
        """Count what is committed and forget it."""
        reasons = {batch.sequence: batch for batch in rejected}
        while self._acked < committed_sequence:
            self._acked += 1
            samples = self._unacked.pop(self._acked)[1]
            if reason := reasons.get(self._acked):
                self.rejected.append(RejectedBatch(samples, reason.reason, reason.message))
            else:
                self.committed_samples += len(samples)


def _cut(columns: Iterable[TelemetryColumns], max_samples: int, max_bytes: int) -> Iterator[TelemetryColumns]:
    for samples in columns:
        sample_bytes = 8 + 4 * len(samples.metrics) + (samples.status is not None)
        size = min(_BATCH_SAMPLES, max_samples, (max_bytes - _ENVELOPE_BYTES) // sample_bytes)
        for start in range(0, len(samples), max(1, size)):
            yield samples.take(slice(start, start + max(1, size)))
