"""Telemetry as it is committed, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc.aio
from fastapi import APIRouter, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from spacelink import _decode, _flat_samples
from spacelink.errors import SpaceLinkError, from_rpc_error
from spacelink.v1.telemetry_pb2 import WatchTelemetryRequest
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.parameters import DeviceIds, Metrics, contract_names
from spacelink_rest.problems import of_error
from spacelink_rest.responses import PartsResponse
from spacelink_rest.upstream import Data, Stopping

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from spacelink.results import TelemetryUpdate

router = APIRouter(prefix="/v1/telemetry", tags=["telemetry"], dependencies=CREDENTIALS)

_EVENTS = "text/event-stream"
# Proxies cut connections that are silent for a minute, some for half of it.
_PING_SECONDS = 15.0
# A refusal comes together with the beginning of the answer that it ends; gRPC
# only tells of the one before the other.
_REFUSAL_SECONDS = 0.1

_EXAMPLE = (
    'event: telemetry\ndata: {"device_id": "device-001", "lost_batches": 0, "samples": '
    '[{"device_id": "device-001", "timestamp": "2026-01-04T12:00:00.000000000Z", "latency_ms": 45.5}]}\n\n'
)
# As OpenAPI 3.2 describes each event of a stream.
_UPDATE = {
    "type": "object",
    "properties": {
        "device_id": {"type": "string"},
        "lost_batches": {"type": "integer", "minimum": 0},
        "samples": {"type": "array", "items": {"$ref": "#/components/schemas/Sample"}},
    },
    "required": ["device_id", "lost_batches", "samples"],
}
_ITEM = {
    "type": "object",
    "properties": {
        "event": {"enum": ["telemetry", "error"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [_UPDATE, {"$ref": "#/components/schemas/Problem"}]},
        },
    },
    "required": ["event", "data"],
}


@router.get(
    "/watch",
    status_code=200,
    response_class=PartsResponse,
    responses={200: {"content": {_EVENTS: {"itemSchema": _ITEM, "example": _EXAMPLE}}}},
)
async def watch_telemetry(
    caller: CallerParam,
    data: Data,
    stopping: Stopping,
    device_ids: DeviceIds = None,
    metrics: Metrics = None,
) -> Response:
    """Read batches live as they are committed, as server-sent events, without end.

    An event `telemetry` is a batch of one device, with the number of batches that
    were lost just before it because they were not read in time. An event `error`
    ends the answer; its data is a problem.
    """
    request = WatchTelemetryRequest(device_ids=device_ids, metrics=contract_names(metrics))
    call = data.watch(request, metadata=caller.metadata)
    reading = asyncio.ensure_future(call.read())
    try:
        await call.initial_metadata()
        await asyncio.wait({reading}, timeout=_REFUSAL_SECONDS)
        if reading.done():
            reading.result()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    return PartsResponse(_events(call, reading, stopping), _EVENTS)


async def _events(call: Any, reading: asyncio.Future[Any], stopping: asyncio.Event) -> AsyncGenerator[str]:
    stop = asyncio.ensure_future(stopping.wait())
    try:
        # At once: the caller is to know that nothing committed from now on is missed.
        yield KEEPALIVE_COMMENT.decode()
        while not stop.done():
            await asyncio.wait({reading, stop}, timeout=_PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                yield KEEPALIVE_COMMENT.decode()
            elif (message := reading.result()) is grpc.aio.EOF:
                return
            else:
                yield _event("telemetry", _content(_decode.watch_response(message)))
                reading = asyncio.ensure_future(call.read())
    except grpc.aio.AioRpcError as error:
        yield _event("error", _problem(from_rpc_error(error)))
    finally:
        stop.cancel()
        reading.cancel()
        call.cancel()


def _content(update: TelemetryUpdate) -> str:
    samples = ", ".join(_flat_samples.json_objects(update.samples))
    device_id = json.dumps(update.samples.device_id)
    return f'{{"device_id": {device_id}, "lost_batches": {update.lost_batches}, "samples": [{samples}]}}'


def _problem(error: SpaceLinkError) -> str:
    return bytes(of_error(error).body).decode()


def _event(name: str, content: str) -> str:
    return format_sse_event(event=name, data_str=content).decode()
