"""Summaries of telemetry, from the cheapest source that has it."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.v1 import telemetry_pb2 as pb
from spacelink_server.scoring.summary import MetricAccumulator
from spacelink_server.storage import reading
from spacelink_server.storage.pending import arrived_spans
from spacelink_server.storage.rollups import DAY, HISTOGRAM_METRICS, HOUR, MINUTE, read_rollups

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.rollups import MetricRollups, Rollups
    from spacelink_server.storage.transactions import Connection, Transactions

    # By device, the parts of the range that are still to be read.
    Ranges: TypeAlias = dict[str, tuple[tuple[int, int], ...]]

logger = logging.getLogger(__name__)

_SECOND = 1_000_000_000

# Beyond all times that int64 nanoseconds can express.
_FOREVER = 2**63 - 1


class Query(NamedTuple):
    """What to summarise.

    Attributes:
        tenant_id: the tenant.
        start: of the range, nanoseconds since 1970 UTC.
        end: of the range, exclusive.
        metrics: those wanted; none means all.
    """

    tenant_id: str
    start: int
    end: int
    metrics: frozenset[str]


class Summary:
    """Gathers the statistics of one device or of all."""

    def __init__(self, device_id: str = "") -> None:
        self._device_id = device_id
        self._accumulators: dict[str, MetricAccumulator] = defaultdict(MetricAccumulator)
        self.count = 0
        self._first = _FOREVER
        self._last = -_FOREVER

    def add_samples(self, columns: TelemetryColumns, metrics: Collection[str]) -> None:
        """Take in samples."""
        self._add_count(len(columns), int(columns.time_unix_nano[0]), int(columns.time_unix_nano[-1]))
        for name, values in columns.metrics.items():
            if not metrics or name in metrics:
                self._accumulators[name].add(values)

    def add_rollups(self, rollups: Rollups, rows: NDArray[np.int64]) -> None:
        """Take in some rows of rollups, at least one."""
        times = int(rollups.first_time[rows].min()), int(rollups.last_time[rows].max())
        self._add_count(int(rollups.sample_count[rows].sum()), *times)
        for name, metric in rollups.metrics.items():
            count = int(metric.count[rows].sum())
            if count:
                low, high = np.nanmin(metric.minimum[rows]), np.nanmax(metric.maximum[rows])
                statistics = count, float(metric.sum[rows].sum()), float(low), float(high)
                entries = _entries(metric, rows)
                histograms = metric.histograms
                self._accumulators[name].add_histogram(
                    statistics, histograms.buckets[entries], histograms.counts[entries]
                )

    def message(self) -> pb.TelemetrySummary:
        """Sum up what was gathered, which must be something."""
        message = pb.TelemetrySummary(device_id=self._device_id, sample_count=self.count)
        message.first_time.FromNanoseconds(self._first)
        message.last_time.FromNanoseconds(self._last)
        for name, accumulator in self._accumulators.items():
            statistics = accumulator.statistics()
            if statistics is None:
                continue
            p50, p95, p99 = statistics.percentiles
            message.metrics.add(
                name=name,
                count=statistics.count,
                mean=statistics.mean,
                min=statistics.minimum,
                max=statistics.maximum,
                p50=p50,
                p95=p95,
                p99=p99,
                percentile_relative_error=statistics.percentile_relative_error,
            )
        return message

    def _add_count(self, count: int, first: int, last: int) -> None:
        self.count += count
        self._first = min(self._first, first)
        self._last = max(self._last, last)


def summarize(store: Transactions, query: Query, summaries: Mapping[str, Summary]) -> None:
    """Add the samples of devices to their summaries.

    Whole days and hours come from their rollups, and minutes where these have
    all that is wanted; the rest, and what maintenance has not come to, comes from
    the samples.

    Args:
        store: where to read; this blocks.
        query: what to read.
        summaries: by device.
    """
    ranges = store.read(partial(_add_rollups, query=query, summaries=summaries))
    sample_count = 0
    for device_id, device_ranges in ranges.items():
        for start, end in device_ranges:
            for part in reading.read(store, query.tenant_id, device_id, start, end):
                columns = reading.columns_of(part)
                sample_count += len(columns)
                summaries[device_id].add_samples(columns, query.metrics)
    logger.debug("summary of %d devices: %d samples read from segments", len(summaries), sample_count)


def _add_rollups(connection: Connection, query: Query, summaries: Mapping[str, Summary]) -> Ranges:
    """Add what rollups have; give the ranges that are left."""
    arrived: dict[str, list[tuple[int, int]]] = defaultdict(list)
    device_ids = list(summaries)
    for device_id, first, last in arrived_spans(
        connection, query.tenant_id, device_ids, query.start, query.end
    ):
        arrived[device_id].append((first, last))
    ranges: Ranges = dict.fromkeys(device_ids, ((query.start, query.end),))
    for window_seconds in _windows(query.metrics):
        used = 0
        for (start, end), some in _by_range(ranges).items():
            span = -(-start // (window_seconds * _SECOND)), end // (window_seconds * _SECOND)
            if span[0] >= span[1]:
                continue
            rollups = read_rollups(
                connection,
                query.tenant_id,
                some,
                window_seconds,
                (span[0] * window_seconds, span[1] * window_seconds),
                query.metrics or None,
            )
            for device_id, rows in _usable(rollups, arrived):
                summaries[device_id].add_rollups(rollups, rows)
                ranges[device_id] = _without(
                    ranges[device_id], (rollups.start_unix[rows] * _SECOND).tolist(), window_seconds * _SECOND
                )
                used += len(rows)
        logger.debug("summary of %d devices: %d rollups of %d s", len(device_ids), used, window_seconds)
    return ranges


def _windows(metrics: frozenset[str]) -> tuple[int, ...]:
    """Name the windows whose rollups have histograms of the metrics wanted."""
    return (DAY, HOUR, MINUTE) if metrics and metrics.issubset(HISTOGRAM_METRICS) else (DAY, HOUR)


def _by_range(ranges: Ranges) -> dict[tuple[int, int], list[str]]:
    """Tell which devices have which ranges left; most have the same."""
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for device_id, device_ranges in ranges.items():
        for each in device_ranges:
            found[each].append(device_id)
    return found


def _usable(
    rollups: Rollups, arrived: Mapping[str, Sequence[tuple[int, int]]]
) -> Iterable[tuple[str, NDArray[np.int64]]]:
    """Give, by device, the rows that have all histograms and that nothing has arrived for since."""
    is_usable = np.ones(len(rollups), np.bool_)
    for metric in rollups.metrics.values():
        is_usable &= (metric.count == 0) | (np.diff(metric.histograms.offsets) > 0)
    for number, device_id in enumerate(rollups.device_ids):
        rows = np.flatnonzero(is_usable & (rollups.device == number))
        for first, last in arrived.get(device_id, ()):
            starts = rollups.start_unix[rows] * _SECOND
            rows = rows[(starts > last) | (starts + rollups.window_seconds * _SECOND <= first)]
        if len(rows):
            yield device_id, rows


def _entries(metric: MetricRollups, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the entries of the histograms of some rows."""
    starts, ends = metric.histograms.offsets[rows], metric.histograms.offsets[rows + 1]
    lengths = ends - starts
    return np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(
        lengths.sum()
    )


def _without(
    ranges: Sequence[tuple[int, int]], starts: Iterable[int], length: int
) -> tuple[tuple[int, int], ...]:
    """Take windows out of ranges; each window lies within one of them. Both are in order."""
    left: list[tuple[int, int]] = []
    windows = iter(starts)
    window = next(windows, None)
    for start, end in ranges:
        position = start
        while window is not None and window < end:
            if window > position:
                left.append((position, window))
            position = window + length
            window = next(windows, None)
        if position < end:
            left.append((position, end))
    return tuple(left)
