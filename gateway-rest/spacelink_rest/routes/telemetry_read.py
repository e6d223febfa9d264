"""Reading telemetry back."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from spacelink import _decode, _flat_samples
from spacelink.v1.telemetry_pb2 import ListLatestTelemetryRequest, QueryTelemetryRequest
from spacelink_rest.accept import choose
from spacelink_rest.caller import CallerParam, started
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.pages import Position, read_page, scan, truncated
from spacelink_rest.parameters import Cursor, DeviceIds, Metrics, PageParam, RangeParam, contract_names
from spacelink_rest.responses import PartsResponse
from spacelink_rest.samples import Sample
from spacelink_rest.upstream import Data

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from spacelink.columns import TelemetryColumns

router = APIRouter(prefix="/v1/telemetry", tags=["telemetry"], dependencies=CREDENTIALS)

_JSON, _NDJSON, _CSV = "application/json", "application/x-ndjson", "text/csv"

# A page is made in memory, about 200 bytes a sample.
_MAX_LIMIT = 10_000
_DEFAULT_LIMIT = 1000

_EXAMPLE = (
    '{"device_id": "device-001", "timestamp": "2026-01-04T12:00:00.000000000Z", "latency_ms": 45.5, '
    '"packet_loss_percent": 0.2, "signal_strength": -68.5, "status": "active"}\n'
)
_CSV_EXAMPLE = "device_id,timestamp,latency_ms\ndevice-001,2026-01-04T12:00:00.000000000Z,45.5\n"
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The samples: device by device, each in time order.",
        "content": {
            _NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE},
            _CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
        },
    }
}


class SamplePage(BaseModel):
    """Some samples, and where to go on."""

    samples: list[Sample]
    next_cursor: str | None = Field(None, description="Asks for the next page; null on the last one.")


@router.get("/", response_model=SamplePage, responses=_STREAMS)
async def query_telemetry(
    caller: CallerParam,
    data: Data,
    time_range: RangeParam,
    device_ids: DeviceIds = None,
    metrics: Metrics = None,
    limit: Annotated[
        int | None,
        Query(
            ge=1,
            le=_MAX_LIMIT,
            description=f"The most samples. In JSON {_DEFAULT_LIMIT} where it is absent, else all there are.",
        ),
    ] = None,
    cursor: Cursor = "",
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Read the samples in the range start <= time < end, device by device, each in time order.

    JSON comes in pages. For long queries ask for NDJSON or CSV with the header
    Accept: samples are sent as they are read, any number of them. An answer that
    ends without the end of its encoding was cut off.
    """
    form = choose(accept, (_JSON, _NDJSON, _CSV))
    position = Position.parse(cursor) if cursor else None
    request = QueryTelemetryRequest(
        device_ids=device_ids, metrics=contract_names(metrics), **time_range.fields()
    )
    samples = scan(caller, data, request, position)
    if form == _JSON:
        parts, behind = await read_page(samples, limit or _DEFAULT_LIMIT, position)
        return _page(parts, behind.cursor() if behind else "")
    parts_wanted = await started(truncated(samples, limit))
    text = _ndjson(parts_wanted) if form == _NDJSON else _csv(parts_wanted, metrics or ())
    return PartsResponse(text, form)


@router.get("/latest", response_model=SamplePage)
async def list_latest(
    caller: CallerParam, data: Data, page: PageParam, device_ids: DeviceIds = None
) -> Response:
    """Read the newest sample of each device, ordered by device_id."""
    request = ListLatestTelemetryRequest(device_ids=device_ids, **page)
    response = await caller.call(data.telemetry.ListLatestTelemetry, request)
    return _page(_decode.latest_response(response), response.next_page_token)


def _page(parts: Iterable[TelemetryColumns], cursor: str) -> Response:
    # Written as text: models of samples would be made only to be written again.
    lines = [line for part in parts for line in _flat_samples.json_objects(part)]
    next_cursor = f'"{cursor}"' if cursor else "null"
    text = f'{{"samples": [{", ".join(lines)}], "next_cursor": {next_cursor}}}'
    return Response(text, media_type=_JSON)


async def _ndjson(samples: AsyncGenerator[TelemetryColumns]) -> AsyncGenerator[str]:
    async with aclosing(samples):
        async for part in samples:
            yield "".join(f"{line}\n" for line in _flat_samples.json_objects(part))


async def _csv(samples: AsyncGenerator[TelemetryColumns], metrics: Iterable[str]) -> AsyncGenerator[str]:
    header = _flat_samples.csv_header(list(metrics))
    yield _flat_samples.csv_head(header)
    async with aclosing(samples):
        async for part in samples:
            yield _flat_samples.csv_text(part, header)
