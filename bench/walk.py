"""The samples that every system is fed: seeded random walks with two decimals, one sample a second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from spacelink.columns import METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hundredths: TypeAlias = NDArray[np.int64]

# Enough for a fleet whose devices commit in turn, small enough to stay in every store's index cache.
DEVICES = tuple(f"terminal-{number:03d}" for number in range(64))
EXTRA_METRICS = ("azimuth_deg", "elevation_deg")
ALL_METRICS = (*METRICS, *EXTRA_METRICS)

# 2024-01-01T00:00:00Z; a day of one device's samples ends a day later, so the past has room for any run.
START_SECONDS = 1_704_067_200

# A common multiple of the batch sizes, so that batches cut from the walk repeat without a remainder.
_ROWS = 12_000
_SEED = 20240101

# Lowest value, highest value and the spread of one step, in the order of ALL_METRICS.
_RANGES = {
    "latency_ms": (18.0, 140.0, 1.5),
    "jitter_ms": (0.0, 25.0, 0.4),
    "packet_loss_percent": (0.0, 12.0, 0.2),
    "signal_strength_dbm": (-95.0, -45.0, 0.5),
    "downlink_mbps": (0.0, 320.0, 4.0),
    "uplink_mbps": (0.0, 45.0, 0.8),
    "obstruction_percent": (0.0, 8.0, 0.1),
    "power_w": (35.0, 110.0, 0.7),
    "azimuth_deg": (0.0, 360.0, 0.9),
    "elevation_deg": (25.0, 90.0, 0.6),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Which samples one batch holds.

    Attributes:
        device: index into DEVICES.
        number: the batch's place among those of its device, from 0.
        size: samples in the batch.
    """

    device: int
    number: int
    size: int

    @property
    def first_second(self) -> int:
        """Time of the first sample, seconds since 1970."""
        return START_SECONDS + self.number * self.size

    @property
    def slot(self) -> int:
        """Which of the walk's batches of this size has the values; see cut."""
        # A prime step puts every device at another place of the walk.
        return (self.device * 7919 + self.number) % (_ROWS // self.size)


def nth_batch(connection: int, connections: int, index: int, size: int) -> Batch:
    """Give the index-th batch that one of several connections sends.

    The devices are dealt out to the connections; each connection sends the
    batches of its devices in turn.
    """
    devices = range(connection, len(DEVICES), connections)
    number, place = divmod(index, len(devices))
    return Batch(devices[place], number, size)


@cache
def hundredths() -> Hundredths:
    """Make the walk: shape (rows, metrics), values in hundredths of their unit."""
    generator = np.random.default_rng(_SEED)
    columns = [_column(generator, *_RANGES[name]) for name in ALL_METRICS]
    return np.stack(columns, axis=1)


@cache
def cut(size: int) -> list[Hundredths]:
    """Cut the walk into batches of shape (size, metrics)."""
    if _ROWS % size:
        raise ValueError(f"batch size {size}: expected a divisor of {_ROWS}")
    return np.split(hundredths(), _ROWS // size)


def _column(generator: np.random.Generator, low: float, high: float, spread: float) -> Hundredths:
    steps = generator.normal(0.0, spread, _ROWS)
    start = generator.uniform(low, high)
    # Folding reflects the walk at both ends of its range.
    width = high - low
    position = np.mod(start - low + np.cumsum(steps), 2 * width)
    folded = low + np.where(position > width, 2 * width - position, position)
    return np.rint(folded * 100).astype(np.int64)
