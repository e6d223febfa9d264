"""TelemetryService."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError

from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink._wire import SubmitRequestView, embed, is_exact
from spacelink.columns import canonical_view
from spacelink.v1 import telemetry_pb2 as pb
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceServicer
from spacelink_server.access import call, guard
from spacelink_server.errors import InvalidRequestError, store_unavailable
from spacelink_server.ingest.live import LiveFeed, Watcher
from spacelink_server.ingest.stream import IngestStream, draining
from spacelink_server.ingest.validation import InvalidBatchError, Limits, segments_of, well_formed
from spacelink_server.services import _requests
from spacelink_server.services._summaries import Query, Summary, summarize
from spacelink_server.storage import reading
from spacelink_server.storage.latest import newest_samples
from spacelink_server.storage.store import Store, StoreUnavailableError, Submission, Submitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from google.protobuf.timestamp_pb2 import Timestamp

    from spacelink_server.ingest.committer import Committer
    from spacelink_server.ingest.registry import StreamRegistry

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_T = TypeVar("_T")

_MAX_DEVICE_IDS = 1000

# A page ends earlier where it would not fit into the 4 MiB that a gRPC client
# takes by default. A sample has at most 6 kB.
_PAGE_BYTES = 3_000_000

# Fetched by one visit to a thread, which costs about as much as reading ten
# parts of a minute each.
_PARTS_AT_ONCE = 64
_BYTES_AT_ONCE = 1024 * 1024

# Summarised by one visit to a thread: 18 hourly rollups of each of eight devices at
# 1 Hz take 3 MB. More at once take more, and are some percent quicker at most.
_DEVICES_AT_ONCE = 8

# More devices than have room in an answer: a summary without metrics takes 30 bytes.
_ALL_DEVICES = 100_000

# Beyond all times that int64 nanoseconds can express.
_FOREVER = 2**63 - 1


class TelemetryService(TelemetryServiceServicer):
    """Takes telemetry in and gives it back; see telemetry.proto."""

    def __init__(
        self,
        store: Store,
        readers: Executor,
        committer: Committer,
        feed: LiveFeed,
        streams: StreamRegistry,
        limits: Limits,
    ) -> None:
        self._store = store
        self._committer = committer
        self._feed = feed
        self._streams = streams
        self._limits = limits
        self._readers = readers

    # The handlers below take and give bytes where rpc.py says so; the generated
    # signatures know messages only.

    async def Ingest(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """Serve one producer's stream."""
        if self._streams.draining:
            raise draining()
        stream = IngestStream(
            call.current().tenant_id,
            guard.current(),
            request_iterator,
            context,
            self._committer,
            self._limits,
        )
        await stream.open()
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.remove(stream)

    async def SubmitTelemetry(self, request: Any, context: Context) -> pb.SubmitTelemetryResponse:
        """Store one batch."""
        view = _parse_submit(request)
        if view.request_id and not is_identifier(view.request_id):
            raise InvalidRequestError("request_id", f"expected {IDENTIFIER_RULE}, or none")
        try:
            segments = segments_of(well_formed(view.batch, len(request), self._limits))
        except InvalidBatchError as error:
            raise InvalidRequestError(f"batch.{error.field}", error.message, error.reason) from None
        await guard.current().admit(segments[0].device_id)
        await guard.current().take_samples(sum(segment.sample_count for segment in segments))
        submission = Submission(call.current().tenant_id, view.request_id, segments)
        try:
            submitted = await self._committer.submit(submission, len(request))
        except StoreUnavailableError:
            raise store_unavailable() from None
        if submitted is Submitted.CLASHED:
            raise _requests.request_id_reused(
                "it was used for another batch or call; expected one never used"
            )
        # Of the batch: what is stored has repeated samples left out.
        return pb.SubmitTelemetryResponse(sample_count=len(view.batch.time_unix_nano) // 8)

    async def QueryTelemetry(self, request: pb.QueryTelemetryRequest, context: Context) -> AsyncIterator[Any]:
        """Stream samples, as they are stored where possible."""
        start, end = _range(request)
        tenant_id = call.current().tenant_id
        after = request.after_device_id
        if after:
            _check_device_id("after_device_id", after)
        for device_id in await self._devices(request.device_ids, after=after):
            parts = reading.read(self._store, tenant_id, device_id, start, end)
            async for payload in self._in_thread(_payloads(parts, request.metrics)):
                yield embed(pb.QueryTelemetryResponse.BATCH_FIELD_NUMBER, payload)

    async def ListLatestTelemetry(
        self,
        request: pb.ListLatestTelemetryRequest,
        context: Context,
    ) -> pb.ListLatestTelemetryResponse:
        """List the newest sample of each device."""
        tenant_id = call.current().tenant_id
        size = _requests.page_size(request.page_size)
        after = _requests.parse_page_token(request.page_token)
        ids = await self._devices(request.device_ids, after=after, limit=size + 1)
        page = ids[:size]
        samples = await self._call(
            lambda: self._store.read(partial(newest_samples, tenant_id=tenant_id, device_ids=page))
        )
        response = pb.ListLatestTelemetryResponse()
        room = _PAGE_BYTES
        listed = after
        for device_id in page:
            data = samples[device_id].encode() if device_id in samples else b""
            room -= len(data)
            if room < 0:
                break
            listed = device_id
            if data:
                response.batches.append(pb.TelemetryBatch.FromString(data))
        if ids and listed != ids[-1]:
            response.next_page_token = _requests.page_token(listed)
        return response

    async def SummarizeTelemetry(
        self,
        request: pb.SummarizeTelemetryRequest,
        context: Context,
    ) -> pb.SummarizeTelemetryResponse:
        """Summarise metrics over a range."""
        start, end = _range(request)
        query = Query(call.current().tenant_id, start, end, frozenset(request.metrics))
        if request.per_device:
            return await self._summarize_each(request, query)
        total = Summary()
        for some in _chunks(await self._devices(request.device_ids)):
            # A visit to a thread for each chunk: a caller that goes away ends the
            # work at the next one.
            await self._call(partial(summarize, self._store, query, dict.fromkeys(some, total)))
        return pb.SummarizeTelemetryResponse(summaries=[total.message()] if total.count else ())

    async def _summarize_each(
        self, request: pb.SummarizeTelemetryRequest, query: Query
    ) -> pb.SummarizeTelemetryResponse:
        """Summarise the devices of a page; those without samples are left out."""
        # Callers that know of no pages want all, as far as they have room.
        size = _requests.page_size(request.page_size) if request.page_size else _ALL_DEVICES
        after = _requests.parse_page_token(request.page_token)
        ids = await self._devices(request.device_ids, after=after, limit=size + 1)
        response = pb.SummarizeTelemetryResponse()
        room = _PAGE_BYTES
        for some in _chunks(ids[:size]):
            summaries = {device_id: Summary(device_id) for device_id in some}
            await self._call(partial(summarize, self._store, query, summaries))
            for device_id, summary in summaries.items():
                message = summary.message() if summary.count else None
                room -= message.ByteSize() if message else 0
                if room < 0:
                    response.next_page_token = _requests.page_token(after)
                    return response
                after = device_id
                if message:
                    response.summaries.append(message)
        if len(ids) > size:
            response.next_page_token = _requests.page_token(after)
        return response

    async def WatchTelemetry(self, request: pb.WatchTelemetryRequest, context: Context) -> AsyncIterator[Any]:
        """Stream batches as they are committed."""
        _check_device_ids(request.device_ids)
        watcher = Watcher(call.current().tenant_id, request.device_ids)
        try:
            await self._feed.add(watcher)
        except StoreUnavailableError:
            raise store_unavailable() from None
        try:
            # Tells the caller that nothing committed from now on is missed.
            await context.send_initial_metadata(())
            async for segment in watcher:
                for payload in _payloads([segment], request.metrics):
                    lost = pb.WatchTelemetryResponse(lost_batches=watcher.take_lost())
                    batch = embed(pb.WatchTelemetryResponse.BATCH_FIELD_NUMBER, payload)
                    yield batch + lost.SerializeToString()
            raise draining()
        finally:
            self._feed.remove(watcher)

    async def _devices(self, wanted: Sequence[str], *, after: str = "", limit: int = -1) -> list[str]:
        """Give the devices wanted behind one, or all there are, in order."""
        _check_device_ids(wanted)
        if wanted:
            ids = sorted({device_id for device_id in wanted if device_id > after})
            return ids if limit < 0 else ids[:limit]
        tenant_id = call.current().tenant_id
        return await self._call(lambda: self._store.device_ids(tenant_id, after=after, limit=limit))

    async def _call(self, function: Callable[[], _T]) -> _T:
        """Run a reading function in a thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, function)
        except StoreUnavailableError:
            raise store_unavailable() from None

    async def _in_thread(self, payloads: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Iterate in threads, over some payloads at each visit."""
        while some := await self._call(partial(_take_some, payloads)):
            for payload in some:
                yield payload


def _chunks(device_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(device_ids), _DEVICES_AT_ONCE):
        yield device_ids[start : start + _DEVICES_AT_ONCE]


def _payloads(parts: Iterable[reading.Part], metrics: Sequence[str]) -> Iterator[bytes]:
    """Encode parts, with only the metrics wanted where there are any."""
    for part in parts:
        if not metrics:
            yield reading.payload_of(part)
            continue
        columns = reading.columns_of(part).select(metrics)
        if columns.metrics or columns.status is not None:
            yield columns.encode()


def _take_some(payloads: Iterator[bytes]) -> list[bytes]:
    taken: list[bytes] = []
    size = 0
    for payload in payloads:
        taken.append(payload)
        size += len(payload)
        if len(taken) == _PARTS_AT_ONCE or size >= _BYTES_AT_ONCE:
            break
    return taken


def _parse_submit(data: bytes) -> Any:
    view = SubmitRequestView()
    try:
        view.ParseFromString(data)
        if is_exact(view, data):
            return view
        message = pb.SubmitTelemetryRequest.FromString(data)
    except DecodeError:
        raise InvalidRequestError("request", "not a SubmitTelemetryRequest", "MALFORMED_MESSAGE") from None
    return SubmitRequestView(batch=canonical_view(message.batch), request_id=message.request_id)


def _check_device_ids(device_ids: Sequence[str]) -> None:
    if len(device_ids) > _MAX_DEVICE_IDS:
        raise InvalidRequestError(
            "device_ids", f"{len(device_ids)} devices; expected at most {_MAX_DEVICE_IDS}"
        )
    for index, device_id in enumerate(device_ids):
        _check_device_id(f"device_ids[{index}]", device_id)


def _check_device_id(field: str, device_id: str) -> None:
    if not is_identifier(device_id):
        raise InvalidRequestError(field, f"expected {IDENTIFIER_RULE}", "INVALID_DEVICE_ID")


def _range(request: pb.QueryTelemetryRequest | pb.SummarizeTelemetryRequest) -> tuple[int, int]:
    """Give the half-open range in nanoseconds."""
    start = _nanos("start_time", request.start_time) if request.HasField("start_time") else 0
    end = _nanos("end_time", request.end_time) if request.HasField("end_time") else _FOREVER
    if end < start:
        raise InvalidRequestError("end_time", "expected a time not before start_time")
    return start, end


def _nanos(field: str, time: Timestamp) -> int:
    nanos = time.seconds * 1_000_000_000 + time.nanos
    if not (0 <= time.nanos < 1_000_000_000 and -_FOREVER <= nanos <= _FOREVER):
        raise InvalidRequestError(field, "expected a time from 1677 to 2262")
    # No sample is older than 1970.
    return max(nanos, 0)
