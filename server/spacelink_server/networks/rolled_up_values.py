"""What the values of a metric of many devices come to in each step, from rollups; see cover.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink_server.networks.cover import Cover, Windows
from spacelink_server.networks.measures import metric
from spacelink_server.scoring import histogram
from spacelink_server.storage.rollups import HISTOGRAM_METRICS, HOUR, MINUTE, read_rollups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.networks.cover import Question
    from spacelink_server.storage.rollups import MetricRollups
    from spacelink_server.storage.transactions import Connection

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

_SECOND = 1_000_000_000


# Cells of a table of histograms: 32 MB.
_MAX_CELLS = 4_000_000


class Values(NamedTuple):
    """The values of n steps; each array has shape (n,) but for the histograms.

    Attributes:
        counts: how many there are.
        minima: the smallest; infinite where there are none.
        maxima: the largest; likewise.
        histograms: step, bucket and count of each entry, by step, then by bucket;
            shape (3, m).
    """

    counts: Counts
    minima: Numbers
    maxima: Numbers
    histograms: Counts

    @classmethod
    def add(cls, parts: Sequence[Values]) -> Values:
        """Add up the values of different devices in the same steps; at least one part."""
        return cls(
            np.sum([part.counts for part in parts], axis=0),
            np.min([part.minima for part in parts], axis=0),
            np.max([part.maxima for part in parts], axis=0),
            _added(np.concatenate([part.histograms for part in parts], axis=1)),
        )

    def together(self) -> Values:
        """Give all steps as one."""
        _, buckets, counts = self.histograms
        return Values(
            self.counts.sum(keepdims=True),
            self.minima.min(keepdims=True),
            self.maxima.max(keepdims=True),
            _added(np.stack([buckets * 0, buckets, counts])),
        )

    def quantiles(self, probabilities: NDArray[np.float64]) -> Numbers:
        """Estimate quantiles, shape (n, k); off by histogram.RELATIVE_ERROR at most, NaN for no values."""
        found = np.full((len(self.counts), len(probabilities)), np.nan)
        steps, buckets, counts = self.histograms
        bounds = np.searchsorted(steps, np.arange(len(self.counts) + 1))
        for step in np.flatnonzero(self.counts).tolist():
            rows = slice(bounds[step], bounds[step + 1])
            found[step] = histogram.sparse_quantiles(buckets[rows], counts[rows], probabilities)
        # A bucket's representative may lie outside of what was seen.
        clipped: Numbers = np.clip(found, self.minima[:, None], self.maxima[:, None])
        return clipped


def _added(entries: Counts) -> Counts:
    """Add up the entries of each step and bucket; in order."""
    steps, buckets, counts = entries
    if not entries.size:
        return entries
    low, width = int(buckets.min()), int(np.ptp(buckets)) + 1
    keys = steps * width + (buckets - low)
    # Values of one kind lie in a few hundred buckets, so a table is faster than sorting.
    if (int(steps.max()) + 1) * width <= _MAX_CELLS:
        table = np.bincount(keys, counts).astype(np.int64)
        kept = np.flatnonzero(table)
        sums = table[kept]
    else:
        kept, place = np.unique(keys, return_inverse=True)
        sums = np.bincount(place, counts).astype(np.int64)
    return np.stack([kept // width, kept % width + low, sums])


class StepValues(Cover):
    """Gathers the values of a metric in each step, of all devices together."""

    def __init__(self, question: Question, name: str) -> None:
        """Make it; add_all gathers."""
        super().__init__(question)
        # Of other metrics only hours and days have histograms.
        self.finest = MINUTE if name in HISTOGRAM_METRICS else HOUR
        self._name = name
        self._counts = np.zeros(question.steps, np.int64)
        self._minima = np.full(question.steps, np.inf)
        self._maxima = np.full(question.steps, -np.inf)
        self._entries = [np.empty((3, 0), np.int64)]
        self._read_last: tuple[Counts, MetricRollups] | None = None

    def read_windows(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> Windows:
        """Read the rollups of a length that start in a span of seconds."""
        q = self.question
        found = read_rollups(connection, q.tenant_id, device_ids, window, span, [self._name])
        steps = q.step_of(found.start_unix * _SECOND)
        is_usable = np.ones(len(found), np.bool_)
        self._read_last = None
        if values := found.metrics.get(self._name):
            self._read_last = steps, values
            is_usable = (values.count == 0) | (np.diff(values.histograms.offsets) > 0)
        numbers = np.array([self.number[device_id] for device_id in device_ids], np.int64)
        return Windows(numbers[found.device], found.start_unix, found.first_time, found.last_time, is_usable)

    def add_windows(self, rows: NDArray[np.bool_]) -> None:
        """Add some of the rollups that were read last."""
        if self._read_last is None:
            return
        steps, values = self._read_last
        rows = rows & (values.count > 0)
        self._count(steps[rows], values.count[rows], values.minimum[rows], values.maximum[rows])
        lengths = np.diff(values.histograms.offsets)
        kept = np.repeat(rows, lengths)
        entries = np.repeat(steps[rows], lengths[rows]), values.histograms.buckets[kept]
        self._entries.append(np.stack([*entries, values.histograms.counts[kept]]))

    def add_samples(self, device: int, columns: TelemetryColumns) -> None:
        """Add samples of a device, in time order, at least one."""
        values = metric(columns, self._name)
        is_there = ~np.isnan(values)
        steps, values = self.question.step_of(columns.time_unix_nano[is_there]), values[is_there]
        ones = np.ones(len(values), np.int64)
        self._count(steps, ones, values, values)
        self._entries.append(_added(np.stack([steps, histogram.buckets(values), ones])))

    def values(self) -> Values:
        """Give what was gathered."""
        entries = np.concatenate(self._entries, axis=1)
        return Values(self._counts, self._minima, self._maxima, _added(entries))

    def _count(
        self, steps: Counts, counts: Counts, minima: NDArray[np.floating], maxima: NDArray[np.floating]
    ) -> None:
        np.add.at(self._counts, steps, counts)
        np.minimum.at(self._minima, steps, minima)
        np.maximum.at(self._maxima, steps, maxima)
