"""Summary statistics of metrics that arrive in parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink_server.scoring import histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to so many values percentiles are exact, past it they come from a
# histogram. 4 MB for each metric; eleven days of a device at 1 Hz.
EXACT_VALUES = 1_000_000

# So many are gathered before they are put into a histogram that there is anyway:
# as many as it has buckets, which is what that costs.
_FOLDED_VALUES = histogram.BUCKETS

_PROBABILITIES = np.array([0.50, 0.95, 0.99])


@dataclass(frozen=True, slots=True)
class MetricStatistics:
    """Statistics of the values of one metric, in its own unit.

    Attributes:
        count: how many values.
        mean: their arithmetic mean.
        minimum: the smallest.
        maximum: the largest.
        percentiles: the 50th, 95th and 99th, linearly interpolated between
            closest ranks.
        percentile_relative_error: 0, or histogram.RELATIVE_ERROR.
    """

    count: int
    mean: float
    minimum: float
    maximum: float
    percentiles: tuple[float, float, float]
    percentile_relative_error: float


class MetricAccumulator:
    """Gathers the values of one metric; its memory is bounded."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._minimum = np.inf
        self._maximum = -np.inf
        # One buffer: an array for each part would take thirty times the room of
        # its value where parts are single samples.
        self._values = bytearray()
        # Of the values that are not in the buffer: buckets and counts, rising.
        self._histogram: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def add(self, values: NDArray[np.float32]) -> None:
        """Take in values of shape (n,); NaN is a missing value."""
        present = values[~np.isnan(values)]
        if not len(present):
            return
        total = float(present.sum(dtype=np.float64))
        self._count_in(len(present), total, float(present.min()), float(present.max()))
        self._values += present.tobytes()
        kept = EXACT_VALUES if self._histogram is None else _FOLDED_VALUES
        if len(self._values) > kept * present.itemsize:
            self._fold_values()

    def add_histogram(
        self,
        statistics: tuple[int, float, float, float],
        buckets: NDArray[np.integer[Any]],
        counts: NDArray[np.integer[Any]],
    ) -> None:
        """Take in values that were summed up before; percentiles are estimates from then on.

        Args:
            statistics: how many there are, their sum, the smallest and the largest.
            buckets: shape (n,), those that hold any of them, in any order; see
                histogram.py.
            counts: shape (n,), how many are in each.
        """
        self._count_in(*statistics)
        self._add_buckets(buckets, counts)

    def statistics(self) -> MetricStatistics | None:
        """Sum up what was gathered; None where there was no value."""
        if not self._count:
            return None
        p50, p95, p99 = self._percentiles()
        return MetricStatistics(
            self._count,
            self._sum / self._count,
            self._minimum,
            self._maximum,
            (float(p50), float(p95), float(p99)),
            0.0 if self._histogram is None else histogram.RELATIVE_ERROR,
        )

    def _count_in(self, count: int, total: float, minimum: float, maximum: float) -> None:
        self._count += count
        self._sum += total
        self._minimum = min(self._minimum, minimum)
        self._maximum = max(self._maximum, maximum)

    def _fold_values(self) -> None:
        """Move what is in the buffer to the histogram."""
        counts = histogram.counts(np.frombuffer(self._values, np.float32))
        self._values = bytearray()
        buckets = np.flatnonzero(counts)
        self._add_buckets(buckets, counts[buckets])

    def _add_buckets(self, buckets: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]]) -> None:
        if self._histogram is not None:
            known, known_counts = self._histogram
            buckets = np.concatenate([known, buckets])
            counts = np.concatenate([known_counts, counts])
        self._histogram = histogram.combined(buckets, counts)

    def _percentiles(self) -> NDArray[np.float64]:
        if self._histogram is not None:
            if self._values:
                self._fold_values()
            # A bucket's representative may lie outside of what was seen.
            estimates = histogram.sparse_quantiles(*self._histogram, _PROBABILITIES)
            return np.clip(estimates, self._minimum, self._maximum)
        values = np.frombuffer(self._values, np.float32).astype(np.float64)
        exact: NDArray[np.float64] = np.quantile(values, _PROBABILITIES)
        return exact
