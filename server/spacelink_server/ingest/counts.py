"""What a committer has done since its start."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from spacelink_server.distribution import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.store import StreamAdvance

# From what a commit takes on a fast disk to what a producer gives up after.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Up to 64 streams with all their unacked batches.
_GROUP_SIZES = (1, 4, 16, 64, 256, 1024, 4096)


class IngestCounts:
    """Plain numbers that only count up, for whoever wants to show them.

    Attributes:
        batches: those committed, of streams and of SubmitTelemetry.
        samples: those in them.
        payload_bytes: what they are stored as.
        dropped: batches that producers said will never come.
        rejected: batches of streams that can never be stored, by reason.
        failures: groups that could not be committed.
        group_sizes: batches, and streams opened, in a committed group.
        commit_seconds: from handing a group to the writer until it was on disk.
        ack_seconds: from taking a batch in until its ack could be sent. Each batch
            counts with the wait of the first of its group: none waited longer.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.samples = 0
        self.payload_bytes = 0
        self.dropped = 0
        self.rejected: Counter[str] = Counter()
        self.failures = 0
        self.group_sizes = Distribution(_GROUP_SIZES)
        self.commit_seconds = Distribution(_SECONDS)
        self.ack_seconds = Distribution(_SECONDS)

    def add_advance(self, advance: StreamAdvance, dropped: int) -> None:
        """Count what moved a stream's cursor.

        Args:
            advance: what was committed of the stream.
            dropped: how many of its sequences are of batches that were dropped.
        """
        self.dropped += dropped
        self.rejected.update([rejection.reason for rejection in advance.rejected])
        passed_over = dropped + len(advance.rejected)
        self.add_batches(advance.sequence - advance.expected - passed_over, advance.segments)

    def add_batches(self, count: int, segments: Iterable[Segment]) -> None:
        """Count batches that were stored as segments."""
        self.batches += count
        for segment in segments:
            self.samples += segment.sample_count
            self.payload_bytes += len(segment.payload)
