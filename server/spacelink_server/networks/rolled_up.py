"""Measures of many devices over long ranges, from rollups; see cover.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.networks.cover import Cover, Windows
from spacelink_server.networks.measures import Measures, metric
from spacelink_server.scoring import groups, histogram
from spacelink_server.storage import rollup_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.networks.cover import Question
    from spacelink_server.storage.rollup_sums import Sums
    from spacelink_server.storage.transactions import Connection, Transactions

    Counts = NDArray[np.int64]
    Integers = NDArray[np.integer[Any]]

_SECOND = 1_000_000_000


def rolled_up(store: Transactions, question: Question, percentiles: Sequence[float]) -> Measures:
    """Measure devices, each in each step; latency percentiles are off by histogram.RELATIVE_ERROR at most.

    Blocks.

    Args:
        store: holds the telemetry.
        question: what is asked.
        percentiles: those of latency that are wanted, 0 to 100.

    Returns:
        Of each device its steps, in the order of time.
    """
    total = _Total(question)
    total.add_all(store)
    return total.measures(percentiles)


class _Total(Cover):
    """Sums of devices in steps, a cell each."""

    def __init__(self, question: Question) -> None:
        super().__init__(question)
        self._cells = len(question.device_ids) * question.steps
        self._sums = np.zeros((6, self._cells))
        self._last_time = np.zeros(self._cells, np.int64)
        self._entries: list[tuple[Counts, Integers, Integers]] = []
        self._read_last: Sums

    def read_windows(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> Windows:
        """Read the rollups of a length that start in a span of seconds."""
        sums = rollup_sums.read_sums(connection, self.question.tenant_id, device_ids, window, span)
        self._read_last = sums._replace(device=self.numbers(device_ids)[sums.device])
        is_usable = np.ones(len(sums.device), np.bool_)
        return Windows(self._read_last.device, sums.start_unix, sums.first_time, sums.last_time, is_usable)

    def add_windows(self, rows: NDArray[np.bool_]) -> None:
        """Add some of the rollups that were read last."""
        sums = self._read_last
        cells = self._cells_of(sums.device, sums.start_unix * _SECOND)
        for row, values in enumerate(
            (
                sums.sample_count,
                sums.offline_count,
                sums.latency_count,
                sums.latency_sum,
                sums.loss_count,
                sums.loss_sum,
            )
        ):
            self._sums[row] += np.bincount(cells[rows], values[rows], self._cells)
        np.maximum.at(self._last_time, cells[rows], sums.last_time[rows])
        lengths = np.diff(sums.latency.offsets)
        kept = np.repeat(rows, lengths)
        self._add_latencies(
            np.repeat(cells[rows], lengths[rows]), sums.latency.buckets[kept], sums.latency.counts[kept]
        )

    def add_samples(self, device: int, columns: TelemetryColumns) -> None:
        """Add samples of a device, in time order, at least one."""
        cells = self._cells_of(np.int64(device), columns.time_unix_nano)
        self._count(0, cells)
        if columns.status is not None:
            self._count(1, cells[columns.status == DeviceStatus.DEVICE_STATUS_OFFLINE])
        for row, name in ((2, "latency_ms"), (4, "packet_loss_percent")):
            values = metric(columns, name)
            is_there = ~np.isnan(values)
            self._count(row, cells[is_there])
            self._count(row + 1, cells[is_there], values[is_there])
        np.maximum.at(self._last_time, cells, columns.time_unix_nano)
        latency = metric(columns, "latency_ms")
        is_there = ~np.isnan(latency)
        buckets = histogram.buckets(latency[is_there])
        self._add_latencies(cells[is_there], buckets, np.ones(len(buckets), np.int64))

    def measures(self, percentiles: Sequence[float]) -> Measures:
        """Give what all of it comes to; the burst ratio and capacity tests are not in rollups."""
        samples, offline, latency_count, latency_sum, loss_count, loss_sum = self._sums
        nothing = np.empty(0, np.int64)
        entries = [(nothing, nothing, nothing), *self._entries]
        cells, buckets, counts = (np.concatenate(column) for column in zip(*entries, strict=True))
        missing = np.full(self._cells, np.nan)
        return Measures(
            sample_count=samples.astype(np.int64),
            offline_count=offline.astype(np.int64),
            last_time=self._last_time,
            latency_percentiles_ms=groups.quantiles(
                cells, buckets, counts, self._cells, np.asarray(percentiles, np.float64) / 100
            ),
            latency_mean_ms=_ratio(latency_sum, latency_count),
            loss_percent=_ratio(loss_sum, loss_count),
            burst_ratio=missing,
            throughput_mbps=missing,
        )

    def _cells_of(self, device: Counts | np.int64, times: Counts) -> Counts:
        return device * self.question.steps + self.question.step_of(times)

    def _count(self, row: int, cells: Counts, values: NDArray[np.float32] | None = None) -> None:
        self._sums[row] += np.bincount(cells, values, self._cells)

    def _add_latencies(self, cells: Counts, buckets: Integers, counts: Integers) -> None:
        self._entries.append((cells, buckets, counts))


def _ratio(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return ratio
