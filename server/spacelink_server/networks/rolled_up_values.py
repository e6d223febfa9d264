"""What the values of a metric of many devices come to in each step, from rollups; see cover.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink_server.networks.cover import Cover, Windows
from spacelink_server.networks.measures import metric
from spacelink_server.scoring import groups, histogram
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


class Values(NamedTuple):
    """The values of n steps; each array has shape (n,), NaN where a step has none.

    Attributes:
        counts: how many there are.
        quantiles: shape (n, k); off by histogram.RELATIVE_ERROR at most.
        minima: the smallest.
        maxima: the largest.
    """

    counts: Counts
    quantiles: Numbers
    minima: Numbers
    maxima: Numbers


class StepValues(Cover):
    """Gathers the values of a metric, of all devices together."""

    def __init__(self, question: Question, name: str) -> None:
        """Make it; add_all gathers."""
        super().__init__(question)
        # Of other metrics only hours and days have histograms.
        self.finest = MINUTE if name in HISTOGRAM_METRICS else HOUR
        self._name = name
        self._counts = np.zeros(question.steps, np.int64)
        self._minima = np.full(question.steps, np.inf)
        self._maxima = np.full(question.steps, -np.inf)
        self._histogram = np.zeros((question.steps, 0), np.int64)
        self._entries: list[tuple[Counts, Counts, Counts]] = []
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
        return Windows(
            numbers[found.device], found.start_unix, found.first_time, found.last_time, is_usable
        )

    def add_windows(self, rows: NDArray[np.bool_]) -> None:
        """Add some of the rollups that were read last."""
        if self._read_last is None:
            return
        steps, values = self._read_last
        rows = rows & (values.count > 0)
        self._count(steps[rows], values.count[rows], values.minimum[rows], values.maximum[rows])
        lengths = np.diff(values.histograms.offsets)
        kept = np.repeat(rows, lengths)
        self._entries.append(
            (
                np.repeat(steps[rows], lengths[rows]),
                values.histograms.buckets[kept],
                values.histograms.counts[kept],
            )
        )

    def add_samples(self, device: int, columns: TelemetryColumns) -> None:
        """Add samples of a device, in time order, at least one."""
        values = metric(columns, self._name)
        is_there = ~np.isnan(values)
        steps, values = self.question.step_of(columns.time_unix_nano[is_there]), values[is_there]
        ones = np.ones(len(values), np.int64)
        self._count(steps, ones, values, values)
        self._entries.append((steps, histogram.buckets(values), ones))
