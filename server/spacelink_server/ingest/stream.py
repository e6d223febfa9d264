"""One Ingest stream: its protocol from start to the last ack."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink._wire import IngestRequestView, is_exact
from spacelink.columns import canonical_view
from spacelink.v1.telemetry_pb2 import (
    IngestAck,
    IngestDrain,
    IngestReady,
    IngestRequest,
    IngestResponse,
    RejectedBatch,
)
from spacelink_server.access.errors import ExhaustedError
from spacelink_server.errors import InvalidRequestError, RequestError, UnavailableError, store_unavailable
from spacelink_server.ingest.committer import Committer
from spacelink_server.ingest.validation import InvalidBatchError, Limits, well_formed
from spacelink_server.storage.store import Rejection, StoreUnavailableError, StreamKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spacelink_server.access.guard import Guard
    from spacelink_server.ingest.validation import WellFormedBatch

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

# How long a drained producer may take to close its side. Over a satellite link
# with its handovers that is some round trips.
_DRAIN_SECONDS = 3.0

# How often a window is acked where batches never cease: seldom enough to spare
# acks, often enough for the producer never to wait for the rest of its window.
_ACKS_PER_WINDOW = 8

# When to come back after a drain: a restart takes about a second.
_RESTART_SECONDS = 1.0

_DRAIN = IngestResponse(drain=IngestDrain()).SerializeToString()


class IngestStream:
    """Reads batches of one producer and acks what the committer wrote.

    A task of its own reads, so that acks go out while batches come in; the
    committer tells the stream what became of its batches.
    """

    def __init__(
        self,
        tenant_id: str,
        guard: Guard,
        requests: AsyncIterator[bytes],
        context: Context,
        committer: Committer,
        limits: Limits,
    ) -> None:
        """Wrap a call; run does the work."""
        self.tenant_id = tenant_id
        self.stream_id = ""
        self.epoch = 0
        self._guard = guard
        self._requests = requests
        self._context = context
        self._committer = committer
        self._limits = limits
        self._received = 0
        self._committed = 0
        self._acked = 0
        self._rejected: deque[Rejection] = deque()
        self._rejected_before: tuple[Rejection, ...] = ()
        self._ack_due = False
        self._draining = False
        self._drain_sent = False
        self._reading_done = False
        self._error: RequestError | None = None
        self._lost = False
        self._changed = asyncio.Event()
        self._window_open = asyncio.Event()

    async def open(self) -> None:
        """Take the start and answer ready.

        Raises:
            RequestError: the first message is no valid start, or the store is
                not available.
        """
        view = self._parse(await anext(self._requests, b""))
        if view.WhichOneof("message") != "start":
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, "START_EXPECTED", "the first message must be a start"
            )
        if not is_identifier(view.start.stream_id):
            raise InvalidRequestError("start.stream_id", f"expected {IDENTIFIER_RULE}", "INVALID_STREAM_ID")
        self.stream_id = view.start.stream_id
        try:
            position = await self._committer.open_stream(StreamKey(self.tenant_id, self.stream_id))
        except StoreUnavailableError:
            raise store_unavailable() from None
        self.epoch = position.epoch
        self._received = self._committed = self._acked = position.committed_sequence
        self._rejected_before = position.rejected

    async def run(self) -> None:
        """Serve the opened stream until it ends.

        Raises:
            RequestError: why it ends otherwise than well.
        """
        ready = IngestReady(
            committed_sequence=self._committed,
            max_unacked_batches=self._limits.max_unacked_batches,
            max_batch_samples=self._limits.max_batch_samples,
            max_batch_bytes=self._limits.max_batch_bytes,
            rejected=map(_rejected_batch, self._rejected_before),
        )
        await self._context.write(IngestResponse(ready=ready).SerializeToString())
        reader = asyncio.create_task(self._read())
        try:
            await self._answer(reader)
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
        if self._error is not None:
            raise self._error

    def drain(self) -> None:
        """Ask the producer to stop sending."""
        self._draining = True
        self._changed.set()

    def rejected(self, rejection: Rejection) -> None:
        """Hear that a batch cannot be stored."""
        self._rejected.append(rejection)

    def committed(self, sequence: int) -> None:
        """Hear that everything up to the sequence is on disk."""
        self._committed = sequence
        # Of what is queued the next commit tells, and one ack can say both: at 64
        # streams with full windows of small batches, acks took a fifth of the event loop.
        is_last = sequence == self._received
        if is_last or (sequence - self._acked) * _ACKS_PER_WINDOW >= self._limits.max_unacked_batches:
            self._ack_due = True
            self._changed.set()

    def fenced(self) -> None:
        """Hear that the stream belongs to a newer epoch; nothing was written."""
        self._lose(
            RequestError(
                grpc.StatusCode.ABORTED,
                "STREAM_FENCED",
                f"stream_id {self.stream_id} was opened by a newer stream",
            )
        )

    def failed(self) -> None:
        """Hear that the store failed; nothing that was queued is written."""
        self._lose(store_unavailable())

    def _lose(self, error: RequestError) -> None:
        """End without waiting for what is queued: it will not be committed."""
        if not self._lost:
            self._lost = True
            self._error = error
            self._changed.set()

    async def _read(self) -> None:
        try:
            async for data in self._requests:
                if self._lost:
                    return
                await self._take(data)
                # Until the ack has been written: a producer that reads none must not
                # have the server keep rejections without end.
                while self._received - self._acked >= self._limits.max_unacked_batches:
                    self._window_open.clear()
                    await self._window_open.wait()
                if not self._committer.has_room:
                    await self._committer.room()
        except RequestError as error:
            self._error = self._error or error
        finally:
            self._reading_done = True
            self._changed.set()

    async def _take(self, data: bytes) -> None:
        self._guard.check()
        view = self._parse(data)
        kind = view.WhichOneof("message")
        if kind == "batch":
            await self._take_batch(view.batch, len(data))
        elif kind == "dropped":
            dropped = view.dropped
            if not 0 < dropped.first_sequence <= dropped.last_sequence:
                raise InvalidRequestError(
                    "dropped.first_sequence", "expected a sequence from 1 up to dropped.last_sequence"
                )
            self._advance(dropped.first_sequence, dropped.last_sequence, None, 0)
        elif kind == "start":
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_STARTED", "the stream was started already"
            )
        else:
            raise InvalidRequestError("message", "expected a batch or dropped")

    async def _take_batch(self, batch: Any, size: int) -> None:
        sequence = batch.sequence
        if sequence <= self._received:
            self._check_repeat("batch.sequence", sequence)
            return
        self._check_follows(sequence)
        try:
            checked = well_formed(batch, size, self._limits)
        except InvalidBatchError as error:
            self._reject(Rejection(sequence, error.reason, str(error)))
            return
        refusal = self._guard.refusal(checked.device_id)
        if refusal is not None:
            self._reject(Rejection(sequence, refusal.reason, refusal.message))
            return
        try:
            await self._guard.admit(checked.device_id)
            # Before its values are looked at: what is rejected for them counts, too.
            await self._guard.take_batch(checked.sample_count)
        except ExhaustedError as error:
            if error.retry_seconds is not None:
                raise
            # It would be refused for ever, and block the stream.
            self._reject(Rejection(sequence, error.reason, error.message))
            return
        self._advance(sequence, sequence, checked, size)

    def _reject(self, rejection: Rejection) -> None:
        self._advance(rejection.sequence, rejection.sequence, None, 0, rejection)

    def _advance(
        self,
        first: int,
        last: int,
        batch: WellFormedBatch | None,
        size: int,
        rejection: Rejection | None = None,
    ) -> None:
        if last <= self._received:
            self._check_repeat("dropped.last_sequence", last)
            return
        self._check_follows(first)
        self._committer.advance(self, self._received + 1, last, batch, size, rejection)
        self._received = last

    def _check_repeat(self, field: str, sequence: int) -> None:
        if sequence < 1:
            raise InvalidRequestError(field, "expected a number from 1", "INVALID_SEQUENCE")
        if sequence <= self._committed:
            self._ack_due = True
            self._changed.set()

    def _check_follows(self, sequence: int) -> None:
        expected = self._received + 1
        if sequence > expected:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "SEQUENCE_GAP",
                f"got sequence {sequence}; expected {expected}",
                metadata={"expected_sequence": str(expected)},
            )

    async def _answer(self, reader: asyncio.Task[None]) -> None:
        """Write acks until all is said."""
        while not self._lost:
            if self._draining and not self._drain_sent:
                self._drain_sent = True
                await self._context.write(_DRAIN)
                # A producer that goes on sending is not listened to.
                asyncio.get_running_loop().call_later(_DRAIN_SECONDS, reader.cancel)
            elif self._ack_due:
                await self._ack()
            elif self._reading_done and self._committed == self._received:
                return
            else:
                await self._changed.wait()
                self._changed.clear()

    async def _ack(self) -> None:
        self._ack_due = False
        ack = IngestAck(committed_sequence=self._committed)
        while self._rejected and self._rejected[0].sequence <= ack.committed_sequence:
            ack.rejected.append(_rejected_batch(self._rejected.popleft()))
        await self._context.write(IngestResponse(ack=ack).SerializeToString())
        self._acked = ack.committed_sequence
        self._window_open.set()

    def _parse(self, data: bytes) -> Any:
        view = IngestRequestView()
        try:
            view.ParseFromString(data)
            if is_exact(view, data):
                return view
            message = IngestRequest.FromString(data)
        except DecodeError:
            raise InvalidRequestError(
                "message", "not an IngestRequest message", "MALFORMED_MESSAGE"
            ) from None
        if message.WhichOneof("message") != "batch":
            return view
        return IngestRequestView(batch=canonical_view(message.batch))


def _rejected_batch(rejection: Rejection) -> RejectedBatch:
    return RejectedBatch(**rejection._asdict())


def draining() -> UnavailableError:
    """Make the answer for when the server is about to stop."""
    return UnavailableError("DRAINING", "the server is about to stop", _RESTART_SECONDS)
