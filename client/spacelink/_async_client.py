"""The asyncio client."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from spacelink import _decode
from spacelink._api_keys import AsyncApiKeys
from spacelink._base_url import target_of
from spacelink._channel import DEFAULT_TARGET
from spacelink._flat_samples import contract_name, json_objects
from spacelink._networks import AsyncNetworks
from spacelink._partners import AsyncPartners
from spacelink._sessions import AsyncSessions
from spacelink._source import ColumnsSource
from spacelink._times import Moment, Moments, nanos, timestamp
from spacelink._webhooks import AsyncWebhooks
from spacelink._wire import SubmitRequestView
from spacelink.columns import TelemetryColumns, merge
from spacelink.errors import RejectedBatchesError
from spacelink.results import TelemetrySummary, TelemetryUpdate
from spacelink.uplink import Uplink
from spacelink.v1 import telemetry_pb2, telemetry_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterable
    from typing import Unpack

    import grpc.aio
    from google.protobuf.message import Message
    from numpy.typing import ArrayLike

    from spacelink._client import ConnectionOptions

    _RawStream: TypeAlias = grpc.aio.UnaryStreamMultiCallable[Message, bytes]

_METHOD = f"/{telemetry_pb2.DESCRIPTOR.services_by_name['TelemetryService'].full_name}/"


class AsyncSpaceLinkClient(AsyncSessions, AsyncApiKeys, AsyncNetworks, AsyncPartners, AsyncWebhooks):
    """Speaks to the data plane of a SpaceLink server from asyncio.

    Use it as an async context manager, or call close. Calls that the server
    could not serve are tried again with growing, jittered delays, or after the
    delay the server asks for. Every call raises SpaceLinkError's children.

    Args:
        target: the server's HOST:PORT; this machine's usual one without it.
            Without further arguments loopback is spoken to in plain text,
            everything else with TLS.
        token: the token, or its text, that goes with each call.
        token_file: a file with a token's text, which may be replaced any time;
            while what is there is no token, the one before stays in use.
        api_key: the API key that goes with each call instead.
        api_key_file: likewise, a file with an API key.
        tenant: the tenant that calls are about, for tokens that are good for
            several.
        tls_ca: PEM file with the authorities that the server's certificate may
            be from; without it, the well-known ones.
        tls_cert: PEM file with the client's certificate, for servers that ask
            for one.
        tls_key: PEM file with its private key.
        insecure: speak plain text wherever the server is; whoever is on the way
            can read the credential.
        timeout: seconds a call may take, its retries included; for a query,
            seconds until its first batch.
        retry_for: seconds for which a call that could not be served is tried
            again; for ingest, since something was committed last.

    Callers of the older SDK, which spoke to the REST bridge, give base_url, the
    bridge's URL, in place of target: the server is expected on the bridge's host,
    on port 50051 where the URL has none or one that is usual for HTTP (80, 443,
    8000), else on the URL's own; http asks for plain text.

    Raises:
        ValueError: names the argument and what would be right.
        InvalidTokenError: the token is none.
        OSError: the file of the credential cannot be read.
    """

    def __init__(
        self, target: str = "", *, base_url: str | None = None, **options: Unpack[ConnectionOptions]
    ) -> None:
        if base_url is not None:
            if target:
                raise ValueError("expected target or base_url, not both")
            target, is_plain = target_of(base_url)
            options.setdefault("insecure", is_plain)
        super().__init__(target or DEFAULT_TARGET, **options)
        # One stream for the client's life: the server keeps a cursor for each.
        # A second call on it would fence the first, so they take turns.
        self._stream_id = f"sdk-{uuid.uuid4()}"
        self._ingesting = asyncio.Lock()

    @property
    def _stub(self) -> telemetry_pb2_grpc.TelemetryServiceAsyncStub:
        return telemetry_pb2_grpc.TelemetryServiceStub(self._channel)

    async def ingest(
        self, device_id: str, time: Moments, *, status: ArrayLike | None = None, **metrics: ArrayLike
    ) -> int:
        """Store any number of samples of a device, exactly once.

        They are sent as batches on a stream; when it breaks it is opened again
        and goes on where the server stands. After an error, samples that are
        not known to be committed may be sent again: queries give samples that
        are equal in every column once.

        Args:
            device_id: the device the samples are of.
            time: shape (n,); integers are nanoseconds since 1970-01-01 UTC,
                datetime64, datetimes with a time zone and RFC 3339 texts are
                converted.
            status: shape (n,) of DeviceStatus numbers or names such as
                "ACTIVE"; or one of them for all samples.
            metrics: shape (n,) each, by metric name; NaN is a missing value.

        Returns:
            How many samples are committed to disk: all of them.

        Raises:
            ValueError: names the argument and what would be right.
            RejectedBatchesError: holds the batches that can never be stored;
                all others are committed.
            UnavailableError: nothing was committed for too long.
        """
        return await self.ingest_columns(
            [TelemetryColumns.from_arrays(device_id, time, status=status, **metrics)]
        )

    async def ingest_columns(self, columns: Iterable[TelemetryColumns]) -> int:
        """Store samples of any number of devices on one stream; see ingest.

        Args:
            columns: read as the server takes them, so they need not fit into
                memory together.
        """
        async with self._ingesting:
            source = ColumnsSource(self._stream_id, columns)
            uplink = Uplink(
                self._channel, source, credentials=self._credentials, patience=self._patience.retry_for
            )
            await uplink.run()
        if source.rejected:
            raise RejectedBatchesError(source.rejected, source.committed_samples)
        return source.committed_samples

    async def submit_telemetry(self, samples: TelemetryColumns, *, request_id: str | None = None) -> int:
        """Store one batch of a device; the answer means committed to disk.

        Args:
            samples: at most as many as the server takes in one batch, 100,000
                by default; ingest takes any number.
            request_id: calls with the same one and the same samples store once;
                made up by default, which keeps the call's own retries safe.

        Returns:
            How many samples the batch holds.

        Raises:
            AlreadyExistsError: request_id was used for other samples.
            InvalidArgumentError: names the field and what would be right.
        """
        request = SubmitRequestView(
            batch=samples.to_view(), request_id=(request_id or str(uuid.uuid4())).encode()
        )
        call = self._channel.unary_unary(
            _METHOD + "SubmitTelemetry",
            request_serializer=_serialize,
            response_deserializer=telemetry_pb2.SubmitTelemetryResponse.FromString,
        )
        response: telemetry_pb2.SubmitTelemetryResponse = await self._unary(call, request)
        return response.sample_count

    async def send_telemetry(
        self,
        /,
        device_id: str,
        *,
        timestamp: Moment | None = None,
        status: str | None = None,
        organization: str = "",
        **metrics: float | None,
    ) -> dict[str, int]:
        """Store one sample, as the older SDK did; submit_telemetry and ingest take many.

        Args:
            device_id: the device that the sample is of.
            timestamp: when; None means now.
            status: a name of DeviceStatus such as "active".
            organization: not used: whose the device is follows from the credential.
            metrics: values by metric name; signal_strength is in dBm. None is a
                missing value.

        Returns:
            Under "sample_count" how many samples are committed to disk: 1.

        Raises:
            ValueError: names the argument and what would be right.
        """
        values = {contract_name(name): [value] for name, value in metrics.items() if value is not None}
        moment = time.time_ns() if timestamp is None else nanos(timestamp)
        samples = TelemetryColumns.from_arrays(device_id, [moment], status=status, **values)
        return {"sample_count": await self.submit_telemetry(samples)}

    @overload
    def query_telemetry(
        self,
        *,
        device_id: str,
        start: Moment | None = ...,
        end: Moment | None = ...,
        limit: int | None = ...,
    ) -> Coroutine[Any, Any, list[dict[str, Any]]]: ...

    @overload
    def query_telemetry(
        self,
        device_ids: str | Iterable[str] = ...,
        start: Moment | None = ...,
        end: Moment | None = ...,
        metrics: Iterable[str] = ...,
        *,
        as_columns: Literal[False] = ...,
    ) -> AsyncGenerator[TelemetryColumns]: ...

    @overload
    def query_telemetry(
        self,
        device_ids: str | Iterable[str] = ...,
        start: Moment | None = ...,
        end: Moment | None = ...,
        metrics: Iterable[str] = ...,
        *,
        as_columns: Literal[True],
    ) -> Coroutine[Any, Any, dict[str, TelemetryColumns]]: ...

    def query_telemetry(
        self,
        device_ids: str | Iterable[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        metrics: Iterable[str] = (),
        *,
        as_columns: bool = False,
        device_id: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[TelemetryColumns] | Coroutine[Any, Any, Any]:
        """Read the raw samples of devices in the range start <= time < end.

        Devices come one after the other, each in time order, in batches as the
        server stores them. Only a query that has not given a batch yet is tried
        again; a later failure is raised, and what came before it is valid.

        Args:
            device_ids: one device or several; none means all.
            start: first moment, inclusive; None means from the beginning.
            end: last moment, exclusive; None means without end.
            metrics: the columns wanted; none means all.
            as_columns: collect everything and give each device's columns.
            device_id: one device, as the older SDK names it.
            limit: the most samples, the first ones, with device_id; None means
                all.

        Returns:
            An async iterator of batches; with as_columns something to await
            that gives the columns by device_id; with device_id one that gives
            flat samples: dicts with device_id, timestamp, the metrics
            (signal_strength in dBm), status such as "active", and extra.

        Raises:
            UnavailableError: the server went away.
            InvalidArgumentError: names the field and what would be right.
        """
        if device_id is not None:
            device_ids = device_id
        request = telemetry_pb2.QueryTelemetryRequest(
            device_ids=_names(device_ids), metrics=_names(metrics), **_range(start, end)
        )
        batches = self._query(request)
        if device_id is not None:
            return _flat(batches, limit)
        return _by_device(batches) if as_columns else batches

    async def _query(self, request: telemetry_pb2.QueryTelemetryRequest) -> AsyncGenerator[TelemetryColumns]:
        call: _RawStream = self._channel.unary_stream(
            _METHOD + "QueryTelemetry", request_serializer=_serialize
        )
        async for data in self._stream(call, request):
            yield _decode.query_response(data)

    async def list_latest_telemetry(
        self, device_ids: str | Iterable[str] = ()
    ) -> AsyncGenerator[TelemetryColumns]:
        """Read the newest sample of each device, ordered by device_id.

        Args:
            device_ids: one device or several; none means all.

        Returns:
            An async iterator of columns of length one; pages are fetched as
            they are needed.
        """
        request = telemetry_pb2.ListLatestTelemetryRequest(device_ids=_names(device_ids))
        async for page in self._pages(self._stub.ListLatestTelemetry, request):
            for samples in _decode.latest_response(page):
                yield samples

    async def summarize_telemetry(
        self,
        device_ids: str | Iterable[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        metrics: Iterable[str] = (),
        *,
        per_device: bool = False,
    ) -> list[TelemetrySummary]:
        """Summarise every metric over the range start <= time < end.

        Args:
            device_ids: one device or several; none means all.
            start: first moment, inclusive; None means from the beginning.
            end: last moment, exclusive; None means without end.
            metrics: the metrics wanted; none means all.
            per_device: one summary for each device instead of one for all.

        Returns:
            The summaries, ordered by device_id; none where there are no samples.
        """
        request = telemetry_pb2.SummarizeTelemetryRequest(
            device_ids=_names(device_ids),
            metrics=_names(metrics),
            per_device=per_device,
            **_range(start, end),
        )
        return [
            TelemetrySummary.from_message(summary)
            async for page in self._pages(self._stub.SummarizeTelemetry, request)
            for summary in page.summaries
        ]

    async def watch_telemetry(
        self, device_ids: str | Iterable[str] = (), metrics: Iterable[str] = ()
    ) -> AsyncGenerator[TelemetryUpdate]:
        """Read batches live as they are committed, without end.

        A watcher that reads too slowly loses batches; each update says how many
        were lost just before it. A watch that has given an update is not opened
        again by itself: what was committed meanwhile would be missing unseen.

        Args:
            device_ids: one device or several; none means all.
            metrics: the columns wanted; none means all.

        Raises:
            UnavailableError: the server went away.
        """
        request = telemetry_pb2.WatchTelemetryRequest(device_ids=_names(device_ids), metrics=_names(metrics))
        call: _RawStream = self._channel.unary_stream(
            _METHOD + "WatchTelemetry", request_serializer=_serialize
        )
        async for data in self._stream(call, request, is_live=True):
            yield _decode.watch_response(data)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _names(names: str | Iterable[str]) -> list[str]:
    # A lone text is an iterable of letters, and never meant so.
    return [names] if isinstance(names, str) else list(names)


def _range(start: Moment | None, end: Moment | None) -> dict[str, Any]:
    limits = {"start_time": start, "end_time": end}
    return {name: timestamp(moment) for name, moment in limits.items() if moment is not None}


async def _flat(batches: AsyncGenerator[TelemetryColumns], limit: int | None) -> list[dict[str, Any]]:
    lines: list[str] = []
    async with aclosing(batches):
        async for samples in batches:
            lines += json_objects(samples)
            if limit is not None and len(lines) >= limit:
                break
    return [json.loads(line) for line in lines[:limit]]


async def _by_device(batches: AsyncGenerator[TelemetryColumns]) -> dict[str, TelemetryColumns]:
    parts: dict[str, list[TelemetryColumns]] = {}
    async for samples in batches:
        parts.setdefault(samples.device_id, []).append(samples)
    return {device_id: merge(samples) for device_id, samples in parts.items()}
