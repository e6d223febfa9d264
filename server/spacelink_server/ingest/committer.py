"""Group commit: one transaction for all that is queued across the streams."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from spacelink_server.errors import STORE_RETRY_SECONDS
from spacelink_server.ingest.counts import IngestCounts
from spacelink_server.ingest.validation import InvalidBatchError, segments_of_all
from spacelink_server.storage.store import (
    CommitGroup,
    CommitResult,
    Rejection,
    Store,
    StoreUnavailableError,
    StreamAdvance,
    StreamKey,
    StreamPosition,
    Submission,
    Submitted,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from concurrent.futures import Executor

    from spacelink_server.ingest.live import LiveFeed
    from spacelink_server.ingest.validation import WellFormedBatch
    from spacelink_server.storage.segments import Segment

logger = logging.getLogger(__name__)

# The most payload in one transaction: at the 150 MB/s that SQLite commits here
# it takes 50 ms, which bounds how long a small batch waits behind large ones.
_GROUP_BYTES = 8 * 1024 * 1024

# How much is queued before it is checked; the rest is when it is taken. Of large
# batches that is done while those before them are being committed, and of small
# ones for as many at once as share a commit.
_CHECK_BYTES = 1024 * 1024

# What a transaction needs besides its payload: index pages and the log.
_PROBE_MARGIN_BYTES = 1024 * 1024


class TraceCommit(Protocol):
    """Hears of each group after its commit."""

    def __call__(self, seconds: float, batches: int, payload_bytes: int, works: bool) -> None:
        """Hear how long it took, how much was in it, and whether it is on disk."""


class CommitListener(Protocol):
    """A stream that waits for its batches to be committed."""

    tenant_id: str
    stream_id: str
    epoch: int

    def rejected(self, rejection: Rejection) -> None:
        """Hear that a batch cannot be stored; called in the order of the sequences."""

    def committed(self, sequence: int) -> None:
        """Hear that everything up to the sequence is on disk."""

    def fenced(self) -> None:
        """Hear that the stream belongs to a newer epoch; nothing was written."""

    def failed(self) -> None:
        """Hear that the store failed; nothing that was queued is written."""


@dataclass(slots=True)
class _Batch:
    listener: CommitListener
    first_sequence: int
    last_sequence: int
    batch: WellFormedBatch | None
    size: int
    rejection: Rejection | None
    put_at: float = 0.0
    segments: Sequence[Segment] = ()


_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class _Call(Generic[_Request, _Answer]):
    request: _Request
    answer: asyncio.Future[_Answer]
    size: int = 0
    put_at: float = 0.0


_Item: TypeAlias = _Batch | _Call[Submission, Submitted] | _Call[StreamKey, StreamPosition]


@dataclass(slots=True)
class _Group:
    """What goes into one transaction, and who waits for it.

    Attributes:
        dropped: how many of a stream's batches will never come.
        batch_count: batches, whatever becomes of them.
        oldest: when the first of all this was queued, as perf_counter tells.
    """

    advances: dict[CommitListener, StreamAdvance] = field(default_factory=dict)
    submissions: list[_Call[Submission, Submitted]] = field(default_factory=list)
    opens: list[_Call[StreamKey, StreamPosition]] = field(default_factory=list)
    dropped: Counter[CommitListener] = field(default_factory=Counter)
    size: int = 0
    batch_count: int = 0
    oldest: float = 0.0


class Committer:
    """Queues what streams and calls want written, and commits it in groups.

    While one group is being committed in a thread, the next one gathers on the
    event loop; so groups grow with the load and nobody waits for a timer.

    Attributes:
        counts: what was committed.
    """

    def __init__(
        self,
        store: Store,
        writer: Executor,
        feed: LiveFeed,
        queue_bytes: int,
        on_health: Callable[[bool], Awaitable[None]],
        trace: TraceCommit | None = None,
    ) -> None:
        """Make a committer.

        Args:
            store: where to write.
            writer: the one thread that writes to it.
            feed: told of what is committed.
            queue_bytes: past so much queued payload, room() waits.
            on_health: called with False when the store fails, with True when
                it works again.
            trace: called with each group; None: nobody traces commits.
        """
        self.counts = IngestCounts()
        self._store = store
        self._feed = feed
        self._queue_bytes = queue_bytes
        self._on_health = on_health
        self._trace = trace
        self._healthy = True
        self._queue: deque[_Item] = deque()
        self._unchecked: list[_Batch] = []
        self._unchecked_bytes = 0
        self._queued_bytes = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._writer = writer

    @property
    def queued_bytes(self) -> int:
        """Payload that waits for its commit."""
        return self._queued_bytes

    @property
    def has_room(self) -> bool:
        """Whether a producer may queue more."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until the queue is below its bound."""
        await self._room.wait()

    async def open_stream(self, key: StreamKey) -> StreamPosition:
        """Take over a stream; everything queued of it before is written first.

        Raises:
            StoreUnavailableError: the store failed.
        """
        call: _Call[StreamKey, StreamPosition] = _Call(key, _future())
        self._put(call)
        return await call.answer

    async def submit(self, submission: Submission, size: int) -> Submitted:
        """Store segments once for their request_id.

        Raises:
            StoreUnavailableError: the store failed.
        """
        await self.room()
        call: _Call[Submission, Submitted] = _Call(submission, _future(), size)
        self._put(call)
        return await call.answer

    def advance(
        self,
        listener: CommitListener,
        first_sequence: int,
        last_sequence: int,
        batch: WellFormedBatch | None,
        size: int,
        rejection: Rejection | None = None,
    ) -> None:
        """Queue the next batch of a stream, or what takes its place; the listener is told the outcome."""
        self._put(_Batch(listener, first_sequence, last_sequence, batch, size, rejection))

    async def run(self) -> None:
        """Commit until close is called and the queue is empty."""
        loop = asyncio.get_running_loop()
        while self._queue or not self._closing:
            if not self._queue:
                self._work.clear()
                await self._work.wait()
                continue
            group = self._take()
            start = perf_counter()
            works = False
            try:
                result = await loop.run_in_executor(self._writer, self._store.commit, _request(group))
            except StoreUnavailableError as error:
                await self._fail(group, error)
            except Exception as error:
                logger.exception("commit failed")
                await self._fail(group, StoreUnavailableError(str(error)))
            else:
                works = True
                self._succeed(group, result)
                self._count(group, start)
            if self._trace is not None:
                self._trace(perf_counter() - start, group.batch_count, group.size, works)

    async def watch_health(self) -> None:
        """Probe a store that failed until it works again; runs for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(STORE_RETRY_SECONDS)
            if self._healthy:
                continue
            try:
                size = _GROUP_BYTES + _PROBE_MARGIN_BYTES
                await loop.run_in_executor(self._writer, self._store.probe, size)
            except StoreUnavailableError as error:
                logger.warning("store still unavailable: %s", error)
            else:
                logger.warning("store works again")
                await self._set_health(True)

    def close(self) -> None:
        """Let run end once all that is queued is committed."""
        self._closing = True
        self._work.set()

    def _put(self, item: _Item) -> None:
        item.put_at = perf_counter()
        self._queue.append(item)
        if isinstance(item, _Batch) and item.batch is not None:
            self._unchecked.append(item)
            self._unchecked_bytes += item.size
            if self._unchecked_bytes >= _CHECK_BYTES:
                self._check()
        self._queued_bytes += item.size
        if self._queued_bytes >= self._queue_bytes:
            self._room.clear()
        self._work.set()

    def _check(self) -> None:
        """Look at the times and values of batches that are queued, all at once."""
        batches = [batch.batch for batch in self._unchecked if batch.batch is not None]
        for batch, outcome in zip(self._unchecked, segments_of_all(batches), strict=True):
            if isinstance(outcome, InvalidBatchError):
                batch.rejection = Rejection(batch.last_sequence, outcome.reason, str(outcome))
            else:
                batch.segments = outcome
            # The segments have copies.
            batch.batch = None
        self._unchecked, self._unchecked_bytes = [], 0

    def _take(self) -> _Group:
        self._check()
        group = _Group(oldest=self._queue[0].put_at)
        while self._queue and group.size < _GROUP_BYTES:
            item = self._queue.popleft()
            group.size += item.size
            if isinstance(item, _Batch):
                group.batch_count += 1
                _append(group, item)
            elif isinstance(item.request, Submission):
                group.batch_count += 1
                group.submissions.append(item)
            else:
                group.opens.append(item)
        return group

    def _succeed(self, group: _Group, result: CommitResult) -> None:
        self._release(group)
        fenced = []
        for (listener, advance), advanced in zip(group.advances.items(), result.advanced, strict=True):
            if advanced:
                listener.committed(advance.sequence)
                self._feed.publish(advance.tenant_id, advance.segments)
                self.counts.add_advance(advance, group.dropped[listener])
            else:
                fenced.append(listener)
                listener.fenced()
        for submission, submitted in zip(group.submissions, result.submitted, strict=True):
            _answer(submission.answer, submitted)
            if submitted is Submitted.STORED:
                self._feed.publish(submission.request.tenant_id, submission.request.segments)
                self.counts.add_batches(1, submission.request.segments)
        for opened, position in zip(group.opens, result.positions, strict=True):
            _answer(opened.answer, position)
        self._discard(fenced)

    def _count(self, group: _Group, start: float) -> None:
        end = perf_counter()
        self.counts.group_sizes.add(group.batch_count + len(group.opens))
        self.counts.commit_seconds.add(end - start)
        self.counts.ack_seconds.add(end - group.oldest, group.batch_count)

    async def _fail(self, group: _Group, error: StoreUnavailableError) -> None:
        self._release(group)
        self.counts.failures += 1
        if self._healthy:
            logger.error("store unavailable: %s", error)
        await self._set_health(False)
        self._discard(group.advances)
        for listener in group.advances:
            listener.failed()
        answers: list[asyncio.Future[Any]] = [call.answer for call in group.submissions]
        answers += [call.answer for call in group.opens]
        for answer in answers:
            if not answer.done():
                answer.set_exception(StoreUnavailableError(str(error)))

    def _discard(self, listeners: Collection[CommitListener]) -> None:
        """Drop what streams have queued: it follows what was not written."""
        if not listeners:
            return
        self._queue = deque(
            item for item in self._queue if not (isinstance(item, _Batch) and item.listener in listeners)
        )
        self._count_queue(sum(item.size for item in self._queue))

    def _release(self, group: _Group) -> None:
        self._count_queue(self._queued_bytes - group.size)

    def _count_queue(self, size: int) -> None:
        self._queued_bytes = size
        if size < self._queue_bytes:
            self._room.set()

    async def _set_health(self, healthy: bool) -> None:
        if healthy != self._healthy:
            self._healthy = healthy
            await self._on_health(healthy)


def _append(group: _Group, batch: _Batch) -> None:
    listener = batch.listener
    if batch.rejection is not None:
        listener.rejected(batch.rejection)
    advance = group.advances.get(listener)
    if advance is None:
        advance = StreamAdvance(
            listener.tenant_id,
            listener.stream_id,
            listener.epoch,
            batch.first_sequence - 1,
            batch.last_sequence,
            list(batch.segments),
        )
        group.advances[listener] = advance
    else:
        advance.sequence = batch.last_sequence
        advance.segments.extend(batch.segments)
    if batch.rejection is not None:
        advance.rejected.append(batch.rejection)
    elif not batch.segments:
        group.dropped[listener] += batch.last_sequence - batch.first_sequence + 1


def _request(group: _Group) -> CommitGroup:
    return CommitGroup(
        list(group.advances.values()),
        [call.request for call in group.submissions],
        [call.request for call in group.opens],
    )


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _answer(future: asyncio.Future[_Answer], answer: _Answer) -> None:
    # A caller that has gone has cancelled its future.
    if not future.done():
        future.set_result(answer)
