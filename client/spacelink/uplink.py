"""The producer's side of Ingest: delivers a source's batches, each exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from spacelink._credentials import ANONYMOUS
from spacelink._retry import backoff_delays, is_retryable, retry_delay_from
from spacelink._stream_call import StreamCall
from spacelink._wire import embed
from spacelink.errors import InternalError, SpaceLinkError, UnavailableError, from_rpc_error
from spacelink.v1 import telemetry_pb2
from spacelink.v1.telemetry_pb2 import IngestDropped, IngestReady, IngestRequest, IngestResponse, IngestStart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spacelink._credentials import Credentials, Metadata

_METHOD = f"/{telemetry_pb2.DESCRIPTOR.services_by_name['TelemetryService'].full_name}/Ingest"

# Transports and proxies end a stream with any of these when a connection
# breaks. Repeating is safe: the server's cursor tells what it has.
_BROKEN_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)

# The credential is not good (any more); another one may be.
_REFUSING_CODES = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})

# The source and the server agree on the sequence anew whenever a stream opens.
_GAP_REASON = "SEQUENCE_GAP"

# A second of batches at 60 per second; the server's window is usually smaller
# or the same.
DEFAULT_WINDOW = 64

# While a closing producer waits for the server there is time for few attempts;
# gRPC itself connects again after 0.2 s at the earliest.
_HURRIED_DELAY = 0.25

_logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """A batch to send.

    Attributes:
        sequence: its place in the stream, counting up by one from 1.
        data: an encoded TelemetryBatch message without a sequence.
    """

    sequence: int
    data: bytes


class Dropped(NamedTuple):
    """Batches that were numbered but had to be given up.

    Attributes:
        first_sequence: the first of them.
        last_sequence: the last of them, inclusive.
        sample_count: how many samples they held.
    """

    first_sequence: int
    last_sequence: int
    sample_count: int


class BatchSource(Protocol):
    """Numbers batches, keeps them until they are acked, and gives them out in order."""

    @property
    def stream_id(self) -> str:
        """Names the sequence of batches at the server."""

    async def resume(self, ready: IngestReady) -> bool:
        """Take note of where the server stands and what it takes.

        Called each time the stream opens. Batches up to ready.committed_sequence
        are committed or were rejected; the next one asked for is the one after
        it.

        Returns:
            False if the source took another stream_id, under which the stream
            must be opened instead.

        Raises:
            UnavailableError: not possible now; the stream is opened again later.
        """

    def next_after(self, sequence: int) -> Batch | Dropped | None:
        """Give what follows the sequence; None if it cannot be sent yet."""

    async def wait_after(self, sequence: int) -> bool:
        """Wait until something follows the sequence; False if nothing ever will.

        May be cancelled at any time.
        """

    def acked(self, committed_sequence: int, rejected: Sequence[telemetry_pb2.RejectedBatch]) -> None:
        """Take note that everything up to the sequence is committed or was rejected.

        Raises:
            SpaceLinkError: the source cannot go on with this credential.
        """


class Uplink:
    """Delivers all batches of a source over one Ingest stream at a time.

    A stream that breaks is opened again, after a growing and jittered delay or
    the one the server asks for, and goes on after the server's cursor.

    Args:
        channel: the connection to the server; stays the caller's.
        source: where the batches come from.
        credentials: what is presented when the stream opens; when they are
            replaced, the stream is ended in order and opened with the new ones.
        window: the most batches under way without an ack; the server's own
            limit holds too.
        compression: how messages are compressed, for thin links.
        patience: seconds without progress after which the last failure is
            raised; None tries for ever.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        source: BatchSource,
        *,
        credentials: Credentials = ANONYMOUS,
        window: int = DEFAULT_WINDOW,
        compression: grpc.Compression | None = None,
        patience: float | None = None,
    ) -> None:
        self._open_call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_METHOD)
        self._source = source
        self._credentials = credentials
        self._presented: Metadata = ()
        self._window = window
        self._compression = compression
        self._patience = patience
        self._last_progress = time.monotonic()
        self._hurried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Deliver until the source has ended and all of it is committed or rejected.

        Returns early when close runs out of time.

        Raises:
            AbortedError: another producer opened a stream with this stream_id.
            SpaceLinkError: the server refuses the stream, the source cannot
                go on, or the server could not be reached for longer than
                patience.
        """
        self._last_progress = time.monotonic()
        self._task = asyncio.ensure_future(self._deliver())
        try:
            await self._task
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise

    async def close(self, timeout: float) -> bool:  # noqa: ASYNC109 - run ends with it, too
        """Deliver what is left of a source that has ended, and end run.

        Args:
            timeout: seconds this may take; what is undelivered then stays with
                the source.

        Returns:
            Whether everything was delivered.
        """
        self._hurried.set()
        if self._task is None:
            return False
        done, _ = await asyncio.wait({self._task}, timeout=timeout)
        self._task.cancel()
        return bool(done) and not self._task.cancelled() and self._task.exception() is None

    async def credential_replaced(self) -> None:
        """Wait until there is another credential than the last one presented, which may never be."""
        await self._credentials.replaced(self._presented)

    async def _deliver(self) -> None:
        delays = backoff_delays()
        while True:
            stream = self._new_stream()
            retirement = asyncio.ensure_future(self._retire(stream))
            try:
                error = await _outcome(stream)
            finally:
                retirement.cancel()
            if stream.has_progressed:
                delays = backoff_delays()
                self._last_progress = stream.last_progress
            if stream.is_delivered:
                return
            if not stream.is_renamed:
                await self._pause(error, delays)

    def _new_stream(self) -> _Stream:
        self._presented = self._credentials.metadata()
        call = self._open_call(compression=self._compression, metadata=self._presented)
        return _Stream(StreamCall(call), self._source, self._window)

    async def _retire(self, stream: _Stream) -> None:
        await self.credential_replaced()
        _logger.info("there is a new credential; the stream is opened again with it")
        stream.end_sending()

    async def _pause(self, error: SpaceLinkError | None, delays: Iterator[float]) -> None:
        delay = next(delays)
        if error is not None:
            delay = retry_delay_from(error) or delay
            self._raise_if_final(error, delay)
            # Whoever closes does not wait so long.
            if not self._hurried.is_set():
                _logger.warning("lost the server, next attempt in %.1f s: %s", delay, error)
        if self._hurried.is_set():
            await asyncio.sleep(min(delay, _HURRIED_DELAY))
            return
        try:
            async with asyncio.timeout(delay):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _raise_if_final(self, error: SpaceLinkError, delay: float) -> None:
        passing = is_retryable(error) or error.code in _BROKEN_CODES or error.reason == _GAP_REASON
        if error.code in _REFUSING_CODES:
            passing = passing or self._credentials.metadata() != self._presented
        waited = time.monotonic() + delay - self._last_progress
        if not passing or (self._patience is not None and waited > self._patience):
            raise error


async def _outcome(stream: _Stream) -> SpaceLinkError | None:
    try:
        await stream.run()
    except grpc.RpcError as error:
        return from_rpc_error(error)
    except UnavailableError as error:
        return error
    return None


class _Stream:
    """One Ingest call, from start to its end.

    Attributes:
        last_progress: when the server last committed something.
        has_progressed: whether it ever did.
        is_delivered: the source has ended and all of it was acked.
        is_renamed: the source took another stream_id.
    """

    def __init__(self, call: StreamCall, source: BatchSource, window: int) -> None:
        self.last_progress = 0.0
        self.is_delivered = False
        self.is_renamed = False
        self._call = call
        self._source = source
        self._window = window
        self._sent = 0
        # The last sequence of each message that has no ack yet.
        self._unacked: deque[int] = deque()
        self._source_ended = False
        self._acked = asyncio.Event()
        self._stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def has_progressed(self) -> bool:
        return self.last_progress > 0

    async def run(self) -> None:
        """Send and receive until the server ends the stream.

        Raises:
            grpc.RpcError: it ended otherwise than well.
            SpaceLinkError: the server broke the protocol.
        """
        try:
            if await self._open():
                await self._exchange()
        finally:
            self._call.cancel()

    async def _open(self) -> bool:
        start = IngestRequest(start=IngestStart(stream_id=self._source.stream_id))
        await self._call.write(start.SerializeToString())
        response = await self._read()
        if response is None:
            raise UnavailableError("the server ended the stream at once")
        if response.WhichOneof("message") != "ready":
            raise InternalError("the server did not answer start with ready")
        ready = response.ready
        self._sent = ready.committed_sequence
        self._window = max(1, min(self._window, ready.max_unacked_batches))
        _logger.info("stream %s is open after batch %d", self._source.stream_id, self._sent)
        self.is_renamed = not await self._source.resume(ready)
        return not self.is_renamed

    async def _exchange(self) -> None:
        receiver, sender = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._send())
        tasks = (receiver, sender)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks if not task.cancelled()]
        if error := next(filter(None, errors), None):
            raise error
        self.is_delivered = self._source_ended and not self._unacked

    async def _send(self) -> None:
        while (item := await self._next()) is not None:
            if not await self._write(item):
                return
        await self._call.done_writing()

    async def _next(self) -> Batch | Dropped | None:
        """Wait for the window and the source; None: this stream is to send no more."""
        await self._wait_for_room()
        while not self._stop.done():
            item = self._source.next_after(self._sent)
            if item is not None:
                return item
            if not await self._wait_for_source():
                return None
        return None

    async def _wait_for_room(self) -> None:
        while len(self._unacked) >= self._window and not self._stop.done():
            self._acked.clear()
            await self._acked.wait()

    async def _wait_for_source(self) -> bool:
        waiter = asyncio.ensure_future(self._source.wait_after(self._sent))
        try:
            await asyncio.wait((waiter, self._stop), return_when=asyncio.FIRST_COMPLETED)
            if waiter.done():
                self._source_ended = not waiter.result()
            return not self._source_ended
        finally:
            waiter.cancel()

    async def _write(self, item: Batch | Dropped) -> bool:
        last = item.sequence if isinstance(item, Batch) else item.last_sequence
        self._unacked.append(last)
        self._sent = last
        return await self._call.write(_encode(item))

    async def _receive(self) -> None:
        try:
            while (response := await self._read()) is not None:
                self._take(response)
        finally:
            self.end_sending()

    async def _read(self) -> IngestResponse | None:
        data = await self._call.read()
        try:
            return None if data is None else IngestResponse.FromString(data)
        except DecodeError:
            raise InternalError("the server sent what is no IngestResponse") from None

    def _take(self, response: IngestResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "ack":
            self._take_ack(response.ack)
        elif kind == "drain":
            _logger.info("the server drains its streams")
            self.end_sending()

    def _take_ack(self, ack: telemetry_pb2.IngestAck) -> None:
        if ack.committed_sequence > self._sent:
            raise InternalError(f"the server acked {ack.committed_sequence}, the last sent is {self._sent}")
        while self._unacked and self._unacked[0] <= ack.committed_sequence:
            self._unacked.popleft()
            self.last_progress = time.monotonic()
        self._source.acked(ack.committed_sequence, ack.rejected)
        self._acked.set()

    def end_sending(self) -> None:
        """Send no more: what was sent is still acked, and then the stream ends."""
        if not self._stop.done():
            self._stop.set_result(None)
        self._acked.set()


def _encode(item: Batch | Dropped) -> bytes:
    if isinstance(item, Dropped):
        return IngestRequest(dropped=IngestDropped(**item._asdict())).SerializeToString()
    # The fields of a message may come in any order, so the sequence can follow
    # the rest, and a batch that was encoded once is numbered without decoding.
    sequence = telemetry_pb2.TelemetryBatch(sequence=item.sequence).SerializeToString()
    return embed(IngestRequest.BATCH_FIELD_NUMBER, item.data + sequence)
