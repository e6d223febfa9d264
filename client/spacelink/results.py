"""What the server answers, where numpy columns alone do not hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spacelink._times import from_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from spacelink.columns import TelemetryColumns
    from spacelink.v1 import telemetry_pb2


@dataclass(frozen=True, slots=True)
class TelemetryUpdate:
    """A batch that was just committed, as a watcher gets it.

    Attributes:
        samples: the batch.
        lost_batches: how many batches were lost just before this one because
            they were not read in time.
    """

    samples: TelemetryColumns
    lost_batches: int


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """Statistics of one metric; missing values are left out.

    Attributes:
        count: how many values there are.
        mean: arithmetic mean.
        min: smallest value.
        max: largest value.
        p50: median.
        p95: 95th percentile.
        p99: 99th percentile.
        percentile_relative_error: the percentiles' largest relative error; 0
            where they are computed from all values.
    """

    count: int
    mean: float
    min: float
    max: float
    p50: float
    p95: float
    p99: float
    percentile_relative_error: float


@dataclass(frozen=True, slots=True)
class TelemetrySummary:
    """A summary of the samples of one device or of all together.

    Attributes:
        device_id: the device; empty where the summary is over all.
        sample_count: how many samples there are.
        first_time: the first sample's time, datetime64[ns] in UTC.
        last_time: the last sample's time.
        metrics: statistics by metric name; a metric without values has none.
    """

    device_id: str
    sample_count: int
    first_time: np.datetime64
    last_time: np.datetime64
    metrics: Mapping[str, MetricSummary]

    @classmethod
    def from_message(cls, message: telemetry_pb2.TelemetrySummary) -> TelemetrySummary:
        """Read a TelemetrySummary message."""
        return cls(
            message.device_id,
            message.sample_count,
            from_timestamp(message.first_time),
            from_timestamp(message.last_time),
            {metric.name: _metric_summary(metric) for metric in message.metrics},
        )


def _metric_summary(message: telemetry_pb2.MetricSummary) -> MetricSummary:
    return MetricSummary(**{name: getattr(message, name) for name in MetricSummary.__dataclass_fields__})
