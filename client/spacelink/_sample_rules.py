"""What the times, statuses and values of samples may be, for all who send or take them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink._times import rfc3339_of
from spacelink.v1.telemetry_pb2 import DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns

# 1990-01-01T00:00:00Z. Earlier times come from clocks that were never set.
EARLIEST_NANOS = 631_152_000 * 1_000_000_000
# A terminal's clock may be off by a time zone, not by more.
_LEAD_NANOS = 86_400 * 1_000_000_000

PERCENTS = ("packet_loss_percent", "obstruction_percent")
NOT_NEGATIVE = ("latency_ms", "jitter_ms", "downlink_mbps", "uplink_mbps")

STATUSES = bytes(DeviceStatus.values())
STATUS_RULE = f"numbers of DeviceStatus, 0 to {max(STATUSES)}"
TIME_RULE = "from 1990 up to one day from now"

_LARGEST = float(np.finfo(np.float32).max)


class Bounds(NamedTuple):
    """What a metric's values may be; NaN, a missing value, always may be.

    Attributes:
        low: the smallest.
        high: the largest.
        text: both in words, for "expected ...".
    """

    low: float
    high: float
    text: str

    def holds(self, value: float) -> bool:
        """Tell whether a value that fits into a float32 may be sent: what counts is what it is rounded to."""
        return not (value < self.low or value > self.high) or bool(self.low <= np.float32(value) <= self.high)


FINITE = Bounds(-_LARGEST, _LARGEST, "finite values")
_BOUNDS = {
    **dict.fromkeys(PERCENTS, Bounds(0, 100, "values from 0 to 100")),
    **dict.fromkeys(NOT_NEGATIVE, Bounds(0, _LARGEST, "finite values from 0")),
}


def bounds_of(metric: str) -> Bounds:
    """Give what the values of a metric may be."""
    return _BOUNDS.get(metric, FINITE)


def latest_nanos() -> int:
    """Give the latest time that samples may have now, in nanoseconds since 1970 UTC."""
    return time.time_ns() + _LEAD_NANOS


class WrongValue(NamedTuple):
    """A value of a sample that cannot be stored.

    Attributes:
        row: which sample, counted from 0.
        column: "time", "status" or the metric.
        value: as people write it.
        expected: what would be right.
    """

    row: int
    column: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.column}: {self.value} is out of range; expected {self.expected}"


def wrong_values(samples: TelemetryColumns) -> list[WrongValue]:
    """List what a server would reject samples for, one value of each of them, in their order."""
    if not len(samples) or _are_right(samples):
        return []
    first: dict[int, WrongValue] = {}
    for wrong in _wrong_values(samples):
        first.setdefault(wrong.row, wrong)
    return [first[row] for row in sorted(first)]


def _are_right(samples: TelemetryColumns) -> bool:
    """Tell whether nothing is wrong: with few numpy calls, which take a microsecond for any array."""
    times, status = samples.time_unix_nano, samples.status
    if times.min() < EARLIEST_NANOS or times.max() > latest_nanos():
        return False
    if status is not None and status.tobytes().translate(None, STATUSES):
        return False
    groups: dict[Bounds, list[NDArray[np.float32]]] = {}
    for name, values in samples.metrics.items():
        groups.setdefault(bounds_of(name), []).append(values)
    return all(_within(bounds, np.concatenate(columns)) for bounds, columns in groups.items())


def _within(bounds: Bounds, values: NDArray[np.float32]) -> bool:
    # NaN is neither smaller nor larger, and fmin and fmax pass over it.
    return not (np.fmin.reduce(values) < bounds.low or np.fmax.reduce(values) > bounds.high)


def _wrong_values(samples: TelemetryColumns) -> Iterator[WrongValue]:
    times = samples.time_unix_nano
    for row in _rows((times < EARLIEST_NANOS) | (times > latest_nanos())):
        yield WrongValue(row, "time", rfc3339_of(int(times[row])), TIME_RULE)
    if samples.status is not None:
        for row in _rows(~np.isin(samples.status, np.frombuffer(STATUSES, np.uint8))):
            yield WrongValue(row, "status", str(samples.status[row]), STATUS_RULE)
    for name, values in samples.metrics.items():
        bounds = bounds_of(name)
        for row in _rows((values < bounds.low) | (values > bounds.high)):
            yield WrongValue(row, name, f"{values[row]:g}", bounds.text)


def _rows(mask: NDArray[np.bool_]) -> list[int]:
    return np.flatnonzero(mask).tolist() if mask.any() else []
