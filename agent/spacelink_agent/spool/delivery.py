"""The spool's batches as the source of an uplink."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from spacelink.columns import TelemetryColumns
from spacelink.errors import PermissionDeniedError, UnavailableError
from spacelink.uplink import Batch, Dropped
from spacelink_agent.spool.identity import StreamIdentity
from spacelink_agent.spool.record import DamagedRecordError
from spacelink_agent.spool.state import acked_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from spacelink.v1.telemetry_pb2 import IngestReady
    from spacelink.v1.telemetry_pb2 import RejectedBatch as Rejected
    from spacelink_agent.spool.journal import Journal
    from spacelink_agent.spool.rejected import Rejected as Directory
    from spacelink_agent.spool.state import DroppedRange

# A disk that fails to sync is asked again after this long; it may need an
# operator, so sooner would only fill its own log.
_SYNC_RETRY_SECONDS = 1.0

# It is the credential that is wrong then, and not the batch.
_DENIED = "DEVICE_DENIED"

_logger = logging.getLogger(__name__)


class Delivery:
    """Gives out the journal's batches in order and takes acks; a BatchSource.

    Sequences of the log and of the stream differ by the identity's base: the
    log numbers on for ever, a stream under a new name begins with 1.

    Args:
        directory: the spool's directory.
        journal: where the batches are.
        identity: the stream that they belong to.
        rejected: where batches go that the server will never store.
    """

    def __init__(
        self, directory: Path, journal: Journal, identity: StreamIdentity, rejected: Directory
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._identity = identity
        self._rejected = rejected
        self._last_reason = ""
        # Up to here batches are durable; after a restart nobody knows.
        self._synced = journal.state.committed

    @property
    def stream_id(self) -> str:
        """Names the spool's stream at the server."""
        return self._identity.stream_id

    async def resume(self, ready: IngestReady) -> bool:
        """Go on after the server's cursor, or under a new name if that is not possible.

        Raises:
            UnavailableError: the new name cannot be written now.
        """
        journal = self._journal
        committed = ready.committed_sequence + self._identity.base
        if committed >= journal.state.next_sequence:
            self._rename(journal.state.committed, "the server has batches that the spool never numbered")
            return False
        oldest = journal.log.oldest.first_sequence - 1
        if committed < min(oldest, journal.state.committed):
            self._rename(oldest, "the server lost batches that the spool does not have any more")
            return False
        if committed < journal.state.committed:
            lost = journal.state.committed - committed
            _logger.warning("the server lost %d batches; sending them again", lost)
        # What was denied before may have been another credential's.
        self._take_acks(ready.committed_sequence, ready.rejected)
        journal.handed = committed
        return True

    def next_after(self, sequence: int) -> Batch | Dropped | None:
        """Give what follows the sequence, if it is durable."""
        following = sequence + self._identity.base + 1
        dropped = self._report_dropped(following) or self._lost_at(following)
        if dropped is not None:
            return dropped
        return self._batch(following) if following <= self._synced else None

    async def wait_after(self, sequence: int) -> bool:
        """Wait until something follows the sequence; False if all is delivered and no more will come."""
        journal = self._journal
        following = sequence + self._identity.base + 1
        while following > self._synced and not self._dropped_from(following):
            if following < journal.state.next_sequence:
                await self._sync()
            elif journal.is_complete:
                return False
            else:
                journal.changed.clear()
                await journal.changed.wait()
        return True

    def acked(self, committed_sequence: int, rejected: Sequence[Rejected]) -> None:
        """Let go of what the server has; keep aside what it will never store.

        Raises:
            PermissionDeniedError: the credential is not good for a device; its
                batches have been numbered anew, to be sent with another one.
        """
        self._take_acks(committed_sequence, rejected)
        for each in rejected:
            if each.reason == _DENIED:
                raise PermissionDeniedError(each.message, reason=each.reason)

    def _take_acks(self, committed_sequence: int, rejected: Sequence[Rejected]) -> None:
        base = self._identity.base
        self._advance(committed_sequence + base, {each.sequence + base: each for each in rejected})

    def _rename(self, base: int, cause: str) -> None:
        try:
            self._identity = StreamIdentity.create(self._directory, base)
        except OSError as error:
            raise UnavailableError(f"the spool's disk fails: {error.strerror or error}") from None
        # What was dropped under the old name is not part of the new stream.
        for each in self._journal.state.dropped:
            each.in_doubt = 0
        _logger.error("%s; going on as the new stream %s", cause, self.stream_id)

    async def _sync(self) -> None:
        try:
            self._synced = max(self._synced, await self._journal.log.sync(self._synced))
        except OSError as error:
            _logger.warning("the spool cannot be synced, nothing new is sent: %s", error.strerror or error)
            await asyncio.sleep(_SYNC_RETRY_SECONDS)

    def _batch(self, sequence: int) -> Batch | Dropped:
        counters = self._journal.counters
        file = self._journal.log.file_of(sequence)
        try:
            record = file.read(sequence)
        except (OSError, DamagedRecordError) as error:
            _logger.warning("spooled batch %d cannot be read and is dropped: %s", sequence, error)
            counters.dropped_samples += file.samples(sequence)
            file.mark_lost(sequence)
            return self._dropped(sequence, sequence, file.samples(sequence))
        self._journal.handed = sequence
        counters.sent_batches += 1
        return Batch(sequence - self._identity.base, record.body)

    def _lost_at(self, sequence: int) -> Dropped | None:
        if sequence > self._synced:
            return None
        file = self._journal.log.file_of(sequence)
        return self._dropped(sequence, sequence, file.samples(sequence)) if file.is_lost(sequence) else None

    def _report_dropped(self, sequence: int) -> Dropped | None:
        ranges = self._dropped_from(sequence)
        if not ranges:
            return None
        for each in ranges:
            each.in_doubt = 0
        return self._dropped(sequence, ranges[-1].last, sum(each.samples for each in ranges))

    def _dropped_from(self, sequence: int) -> list[DroppedRange]:
        """List the dropped ranges without a gap from a sequence on."""
        ranges = [each for each in self._journal.state.dropped if each.last >= sequence]
        return ranges if ranges and ranges[0].first <= sequence else []

    def _dropped(self, first: int, last: int, samples: int) -> Dropped:
        self._journal.handed = max(self._journal.handed, last)
        return Dropped(first - self._identity.base, last - self._identity.base, samples)

    def _advance(self, committed: int, rejected: Mapping[int, Rejected]) -> None:
        journal = self._journal
        if committed == journal.state.committed:
            return
        self._count_dropped(committed)
        first = max(journal.state.committed + 1, journal.log.oldest.first_sequence)
        self._count(range(first, committed + 1), rejected)
        journal.note(acked_record(committed))
        journal.log.delete_through(committed)
        journal.freed.set()

    def _count(self, sequences: Iterable[int], rejected: Mapping[int, Rejected]) -> None:
        counters = self._journal.counters
        for sequence in sequences:
            file = self._journal.log.file_of(sequence)
            if file.is_lost(sequence):
                continue
            if sequence in rejected and rejected[sequence].reason == _DENIED and self._requeue(sequence):
                continue
            if sequence in rejected:
                counters.rejected_batches += 1
                counters.rejected_samples += file.samples(sequence)
                self._set_aside(sequence, rejected[sequence])
            else:
                counters.acked_batches += 1
                counters.acked_samples += file.samples(sequence)

    def _count_dropped(self, committed: int) -> None:
        """Take back the drop of batches that were on their way and arrived."""
        counters = self._journal.counters
        for each in self._journal.state.dropped:
            if each.last <= committed and each.in_doubt:
                counters.dropped_samples -= each.in_doubt
                counters.acked_samples += each.in_doubt
                counters.acked_batches += each.last - each.first + 1

    def _requeue(self, sequence: int) -> bool:
        """Give a batch another number; False if that is not possible."""
        journal = self._journal
        try:
            samples = TelemetryColumns.decode(journal.log.file_of(sequence).read(sequence).body)
            if not journal.add_batch(samples):
                return False
            # The file with the old number may be deleted next.
            journal.log.sync_now(self._synced)
        except (OSError, ValueError) as error:
            _logger.warning("batch %d cannot be numbered anew: %s", sequence, error)
            return False
        return True

    def _set_aside(self, sequence: int, rejected: Rejected) -> None:
        # Whatever ails one batch may ail all that follow.
        level = logging.DEBUG if rejected.reason == self._last_reason else logging.ERROR
        self._last_reason = rejected.reason
        _logger.log(
            level, "the server rejected batch %d: %s: %s", sequence, rejected.reason, rejected.message
        )
        try:
            data = self._journal.log.file_of(sequence).read(sequence).body
        except (OSError, DamagedRecordError) as error:
            _logger.warning("rejected batch %d cannot be read: %s", sequence, error)
            return
        self._rejected.keep(sequence, data, rejected.reason, rejected.message)
