"""Statistics of telemetry."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from spacelink._flat_samples import older_name
from spacelink.v1.telemetry_pb2 import SummarizeTelemetryRequest
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import to_json
from spacelink_rest.parameters import DeviceIds, Metrics, RangeParam, contract_names
from spacelink_rest.upstream import Data

router = APIRouter(prefix="/v1/telemetry", tags=["telemetry"], dependencies=CREDENTIALS)


class MetricStatistics(BaseModel):
    """Statistics of one metric; missing values are left out."""

    count: int = Field(description="How many values there are.", examples=[3600])
    mean: float | None = Field(description="Arithmetic mean.", examples=[31.2])
    min: float | None = Field(description="Smallest value.", examples=[22.0])
    max: float | None = Field(description="Largest value.", examples=[181.5])
    p50: float | None = Field(description="Median.", examples=[29.5])
    p95: float | None = Field(description="95th percentile.", examples=[44.0])
    p99: float | None = Field(description="99th percentile.", examples=[71.25])
    percentile_relative_error: float = Field(
        description="The percentiles' largest relative error; 0 where they are computed from all values."
    )


class Summary(BaseModel):
    """The samples of one device, or of all of them."""

    device_id: str = Field(description="The device; empty where it is about all.", examples=["device-001"])
    sample_count: int = Field(description="How many samples there are.", examples=[3600])
    first_time: str = Field(description="The first sample's time.", examples=["2026-01-04T12:00:00Z"])
    last_time: str = Field(description="The last sample's time.", examples=["2026-01-04T12:59:59Z"])
    metrics: dict[str, MetricStatistics] = Field(
        description="Statistics by metric; a metric without values has none."
    )


class Summaries(BaseModel):
    """A summary of each device, or one of all; none where there are no samples."""

    summaries: list[Summary]


@router.get("/stats/summary")
async def summarize_telemetry(
    caller: CallerParam,
    data: Data,
    time_range: RangeParam,
    device_ids: DeviceIds = None,
    metrics: Metrics = None,
    per_device: Annotated[bool, Query(description="A summary of each device instead of one of all.")] = False,
) -> Summaries:
    """Summarise every metric in the range start <= time < end."""
    request = SummarizeTelemetryRequest(
        device_ids=device_ids,
        metrics=contract_names(metrics),
        per_device=per_device,
        **time_range.fields(),
    )
    response = await caller.call(data.telemetry.SummarizeTelemetry, request)
    return Summaries(summaries=[_summary(to_json(summary)) for summary in response.summaries])


def _summary(summary: dict[str, Any]) -> Summary:
    metrics = {older_name(metric.pop("name")): metric for metric in summary.pop("metrics")}
    return Summary(metrics=metrics, **summary)
