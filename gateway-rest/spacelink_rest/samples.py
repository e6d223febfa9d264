"""Flat samples, one JSON object each, and the batches that they become."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spacelink._flat_samples import older_name
from spacelink.columns import METRICS, status_number
from spacelink.v1.telemetry_pb2 import DeviceStatus, TelemetryBatch
from spacelink_rest.moments import Moment

if TYPE_CHECKING:
    from collections.abc import Sequence

# The metrics of a sample, by their names in the contract.
_FIELDS = {name: older_name(name) for name in METRICS}

# float32 is what is stored: the largest, as it is written back.
_LARGEST = float(str(np.finfo(np.float32).max))

Value: TypeAlias = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]


def _metric(description: str, example: float) -> float | None:
    field: float | None = Field(None, description=description, examples=[example])
    return field


class Sample(BaseModel):
    """What a terminal measured at one moment. A value that is null or absent was not measured."""

    model_config = ConfigDict(extra="forbid", strict=True)

    device_id: str = Field(
        description="The device: 1 to 128 characters out of letters, digits and . _ : / @ + -",
        examples=["device-001"],
        json_schema_extra={"pattern": "^[A-Za-z0-9._:/@+-]{1,128}$"},
    )
    organization: str | None = Field(
        None,
        description="Not stored: whose the device is follows from the credential.",
        examples=["ACME Corporation"],
        deprecated=True,
    )
    timestamp: Moment | None = Field(None, description="When; the time of arrival where it is absent.")
    latency_ms: Value | None = _metric("Round-trip time in milliseconds, not negative.", 45.5)
    jitter_ms: Value | None = _metric("Delay variation as the terminal reports it, in milliseconds.", 2.5)
    packet_loss_percent: Value | None = _metric("Packets lost, 0 to 100 percent.", 0.2)
    signal_strength: Value | None = _metric("Received signal strength in dBm.", -68.5)
    downlink_mbps: Value | None = _metric("Downlink usage in Mbit/s, not negative.", 120.0)
    uplink_mbps: Value | None = _metric("Uplink usage in Mbit/s, not negative.", 14.0)
    obstruction_percent: Value | None = _metric("Share of the sky that is obstructed, 0 to 100.", 0.0)
    power_w: Value | None = _metric("Power drawn by the terminal in watts.", 62.0)
    status: Literal["active", "degraded", "offline", "maintenance"] | None = Field(
        None, description="What the terminal says of itself.", examples=["active"]
    )
    extra: dict[str, Value | None] | None = Field(
        None, description="Whatever else it measures, by name.", examples=[{"temperature_c": 41.5}]
    )


_VALUES = attrgetter(*_FIELDS.values())


def batches_of(samples: Sequence[Sample], arrival: int) -> list[TelemetryBatch]:
    """Make a batch for each device, in the order in which they first come.

    Args:
        samples: of any devices.
        arrival: when those without a time came, nanoseconds since 1970 UTC.
    """
    by_device: dict[str, list[Sample]] = {}
    for sample in samples:
        by_device.setdefault(sample.device_id, []).append(sample)
    return [_batch(device_id, group, arrival) for device_id, group in by_device.items()]


def _batch(device_id: str, samples: list[Sample], arrival: int) -> TelemetryBatch:
    batch = TelemetryBatch(
        device_id=device_id,
        time_unix_nano=[arrival if sample.timestamp is None else sample.timestamp for sample in samples],
    )
    for name, values in zip(_FIELDS, zip(*map(_VALUES, samples), strict=True), strict=True):
        if (column := _column(values)) is not None:
            getattr(batch, name).extend(column)
    if any(sample.status for sample in samples):
        batch.status.extend(map(_status, samples))
    for name in dict.fromkeys(name for sample in samples for name in sample.extra or ()):
        values = tuple((sample.extra or {}).get(name) for sample in samples)
        batch.extra.add(name=name, values=_column(values) or [math.nan] * len(samples))
    return batch


def _status(sample: Sample) -> DeviceStatus.ValueType:
    number = status_number(sample.status) if sample.status else 0
    return DeviceStatus.ValueType(number)


def _column(values: Sequence[float | None]) -> list[float] | None:
    if all(value is None for value in values):
        return None
    return [math.nan if value is None else value for value in values]
