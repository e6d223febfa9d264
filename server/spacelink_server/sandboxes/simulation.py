"""Telemetry of terminals that do not exist, for a span of time that is over.

Much simpler than a link: a level of latency that changes with each slot of the
scheduler, noise, and losses in some seconds. Two devices are given trouble, so
that there is something to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spacelink.columns import TelemetryColumns
from spacelink.v1.telemetry_pb2 import DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DEVICE_IDS = ("sim/calm-1", "sim/calm-2", "sim/degraded", "sim/outage")

HOURS = 6
INTERVAL_SECONDS = 10

_SECOND = 1_000_000_000
# A terminal changes satellites so often.
_SLOT_SECONDS = 15
# When the trouble is, as shares of the span: an hour and twelve minutes of six hours.
_DEGRADED = (0.60, 0.77)
_OUTAGE = (0.45, 0.48)

_DEGRADED_LOSS_PERCENT = 5.0


def simulate(end: int) -> Iterator[TelemetryColumns]:
    """Give the samples of each device in the hours before a time.

    Args:
        end: nanoseconds since 1970 UTC; the last sample is at most an interval before.
    """
    step = INTERVAL_SECONDS * _SECOND
    count = HOURS * 3600 // INTERVAL_SECONDS
    times = end // step * step - step * np.arange(count, 0, -1, dtype=np.int64)
    for number, device_id in enumerate(DEVICE_IDS):
        yield _samples(device_id, times, np.random.default_rng(number))


def _samples(device_id: str, times: NDArray[np.int64], random: np.random.Generator) -> TelemetryColumns:
    count = len(times)
    share = np.arange(count) / count
    is_degraded = _within(share, _DEGRADED) & device_id.endswith("degraded")
    is_offline = _within(share, _OUTAGE) & device_id.endswith("outage")
    _, slots = np.unique(times // (_SLOT_SECONDS * _SECOND), return_inverse=True)
    level = random.uniform(0, 14, slots.max() + 1)[slots]
    latency = 26 + level + random.exponential(3, count) + np.where(is_degraded, 90, 0)
    loss = np.where(random.uniform(size=count) < 0.02, random.uniform(0.5, 4, count), 0.0)
    loss = np.where(is_degraded, loss + random.uniform(3, 9, count), loss)
    loss = np.where(is_offline, 100.0, loss)
    downlink = random.lognormal(3.5, 0.6, count) * (1 - loss / 100)
    metrics = {
        "latency_ms": np.where(is_offline, np.nan, latency),
        "jitter_ms": np.where(is_offline, np.nan, random.exponential(2, count) + 0.3),
        "packet_loss_percent": loss,
        "signal_strength_dbm": random.normal(-62, 1.5, count) - np.where(is_degraded, 6, 0),
        "downlink_mbps": downlink,
        "uplink_mbps": downlink * 0.08,
    }
    columns = {name: values.astype(np.float32) for name, values in metrics.items()}
    return TelemetryColumns(device_id, times, columns, _status(loss))


def _within(share: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.bool_]:
    return (share >= bounds[0]) & (share < bounds[1])


def _status(loss: NDArray[np.float64]) -> NDArray[np.uint8]:
    is_degraded = loss >= _DEGRADED_LOSS_PERCENT
    status = np.where(is_degraded, DeviceStatus.DEVICE_STATUS_DEGRADED, DeviceStatus.DEVICE_STATUS_ACTIVE)
    status[loss >= 100] = DeviceStatus.DEVICE_STATUS_OFFLINE
    return status.astype(np.uint8)
