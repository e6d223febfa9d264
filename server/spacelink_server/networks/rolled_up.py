"""Measures of many devices over long ranges, from rollups.

A range is covered by the rollups of its whole days, then hours, then minutes.
What maintenance has not come to yet is added from its segments. A sample may be
in both, where it was sent twice: a window whose samples lie in one range of time
with segments is left to a finer rollup, and a minute of this kind is read from
the samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.columns import TelemetryColumns, merge
from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.networks.measures import Measures, metric
from spacelink_server.scoring import groups, histogram
from spacelink_server.storage import reading, rollup_sums
from spacelink_server.storage.rollups import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink_server.storage.rollup_sums import Sums
    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.transactions import Connection, Transactions

    Counts = NDArray[np.int64]

_SECOND = 1_000_000_000
_FINER = {DAY: HOUR, HOUR: MINUTE}


class Question(NamedTuple):
    """What is asked.

    Attributes:
        tenant_id: the tenant.
        device_ids: its devices.
        start: of the range, nanoseconds since 1970 UTC, at the start of a minute.
        end: of the range, exclusive.
        percentiles: those of latency that are wanted, 0 to 100.
    """

    tenant_id: str
    device_ids: Sequence[str]
    start: int
    end: int
    percentiles: Sequence[float]


def rolled_up(store: Transactions, question: Question) -> Measures:
    """Measure devices; latency percentiles are off by histogram.RELATIVE_ERROR at most. Blocks."""
    total = _Total(len(question.device_ids))
    reader = _Reader(question, total)
    # All of it in one transaction: between two, samples move from segments to rollups.
    store.read(reader.read)
    for device, start in reader.minutes:
        parts = reading.read(
            store,
            question.tenant_id,
            question.device_ids[device],
            start,
            min(start + MINUTE * _SECOND, question.end),
        )
        for part in parts:
            total.add_samples(device, reading.columns_of(part))
    return total.measures(question.percentiles)


class _Total:
    """Sums of devices."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._sums = np.zeros((6, devices))
        self._last_time = np.zeros(devices, np.int64)
        self._entries: list[tuple[Counts, Counts, Counts]] = []

    def add_sums(self, sums: Sums, rows: NDArray[np.bool_]) -> None:
        """Add some windows of rollups."""
        device = sums.device[rows]
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
            self._sums[row] += np.bincount(device, values[rows], self._devices)
        np.maximum.at(self._last_time, device, sums.last_time[rows])
        lengths = np.diff(sums.latency.offsets)
        kept = np.repeat(rows, lengths)
        self.add_latencies(
            np.repeat(device, lengths[rows]), sums.latency.buckets[kept], sums.latency.counts[kept]
        )

    def add_samples(self, device: int, columns: TelemetryColumns) -> None:
        """Add samples of a device, in time order."""
        latency, loss = metric(columns, "latency_ms"), metric(columns, "packet_loss_percent")
        latency, loss = latency[~np.isnan(latency)], loss[~np.isnan(loss)]
        offline = 0
        if columns.status is not None:
            offline = int((columns.status == DeviceStatus.DEVICE_STATUS_OFFLINE).sum())
        self._sums[:, device] += (
            len(columns),
            offline,
            len(latency),
            latency.sum(dtype=np.float64),
            len(loss),
            loss.sum(dtype=np.float64),
        )
        self._last_time[device] = max(self._last_time[device], int(columns.time_unix_nano[-1]))
        buckets = histogram.buckets(latency)
        self.add_latencies(np.full(len(buckets), device), buckets, np.ones(len(buckets), np.int64))

    def measures(self, percentiles: Sequence[float]) -> Measures:
        """Give what all of it comes to; the burst ratio and capacity tests are not in rollups."""
        samples, offline, latency_count, latency_sum, loss_count, loss_sum = self._sums
        nothing = np.empty(0, np.int64)
        entries = [(nothing, nothing, nothing), *self._entries]
        device, buckets, counts = (np.concatenate(column) for column in zip(*entries, strict=True))
        missing = np.full(self._devices, np.nan)
        return Measures(
            sample_count=samples.astype(np.int64),
            offline_count=offline.astype(np.int64),
            last_time=self._last_time,
            latency_percentiles_ms=groups.quantiles(
                device, buckets, counts, self._devices, np.asarray(percentiles, np.float64) / 100
            ),
            latency_mean_ms=_ratio(latency_sum, latency_count),
            loss_percent=_ratio(loss_sum, loss_count),
            burst_ratio=missing,
            throughput_mbps=missing,
        )

    def add_latencies(self, device: Counts, buckets: Counts, counts: Counts) -> None:
        """Add entries of histograms of latency."""
        self._entries.append((device, buckets, counts))


class _Reader:
    """Reads what a question is about.

    Attributes:
        minutes: device and start of minutes that have to be read from the samples.
    """

    def __init__(self, question: Question, total: _Total) -> None:
        self._q = question
        self._total = total
        self._number = {device_id: place for place, device_id in enumerate(question.device_ids)}
        self.minutes: list[tuple[int, int]] = []

    def read(self, connection: Connection) -> None:
        """Add all that is in rollups and in segments."""
        q = self._q
        segments = rollup_sums.arrived(connection, q.tenant_id, q.device_ids, q.start, q.end)
        self._arrived = np.array(
            [(self._number[each.device_id], each.first_time, each.last_time) for each in segments], np.int64
        ).reshape(-1, 3)
        self._reach = np.repeat([[2**63 - 1], [-1]], len(q.device_ids), axis=1)
        np.minimum.at(self._reach[0], self._arrived[:, 0], self._arrived[:, 1])
        np.maximum.at(self._reach[1], self._arrived[:, 0], self._arrived[:, 2])
        first, last = -(-q.start // (DAY * _SECOND)) * DAY, q.end // (DAY * _SECOND) * DAY
        if first < last:
            self._cover(connection, DAY, (first, last), q.device_ids)
            edges = [(q.start // _SECOND, first), (last, -(-q.end // _SECOND))]
        else:
            edges = [(q.start // _SECOND, -(-q.end // _SECOND))]
        for start, end in edges:
            self._cover_hours(connection, (start, end))
        self._add_segments(segments)

    def _cover_hours(self, connection: Connection, span: tuple[int, int]) -> None:
        first, last = -(-span[0] // HOUR) * HOUR, span[1] // HOUR * HOUR
        if first < last:
            self._cover(connection, HOUR, (first, last), self._q.device_ids)
            edges = [(span[0], first), (last, span[1])]
        else:
            edges = [span]
        for edge in edges:
            self._cover(connection, MINUTE, edge, self._q.device_ids)

    def _cover(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> None:
        """Cover a span with rollups of a length, or of finer ones where these cannot be used."""
        if span[0] >= span[1] or not device_ids:
            return
        rest = self._cover_whole(connection, window, span, device_ids)
        ours = np.array([self._number[device_id] for device_id in rest], np.int64)
        sums = rollup_sums.read_sums(connection, self._q.tenant_id, rest, window, span)
        sums = sums._replace(device=ours[sums.device])
        usable = ~self._is_touched(sums) & (sums.last_time < self._q.end)
        self._total.add_sums(sums, usable)
        left = zip(sums.device[~usable].tolist(), sums.start_unix[~usable].tolist(), strict=True)
        if window == MINUTE:
            self.minutes += [(device, start * _SECOND) for device, start in left]
            return
        finer = rollup_sums.pending(connection, self._q.tenant_id, device_ids, window, span)
        for device, start in left:
            finer.setdefault(start, []).append(self._q.device_ids[device])
        for start, some in finer.items():
            self._cover(connection, _FINER[window], (start, start + window), some)

    def _cover_whole(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> list[str]:
        """Cover a span of devices all of whose rollups can be used; give the others.

        The database adds these up, which is most of what there is to do.
        """
        totals = rollup_sums.read_totals(connection, self._q.tenant_id, device_ids, window, span)
        ours = np.array([self._number[device_id] for device_id in device_ids], np.int64)
        device = ours[totals.device]
        whole = (totals.last_time < self._q.end) & (
            (totals.last_time < self._reach[0, device]) | (totals.first_time > self._reach[1, device])
        )
        self._total.add_sums(totals._replace(device=device), whole)
        covered = [device_ids[place] for place in totals.device[whole].tolist()]
        if covered:
            place, latency = rollup_sums.read_latencies(connection, self._q.tenant_id, covered, window, span)
            ours = np.array([self._number[device_id] for device_id in covered], np.int64)
            lengths = np.diff(latency.offsets)
            self._total.add_latencies(np.repeat(ours[place], lengths), latency.buckets, latency.counts)
        return [device_ids[place] for place in totals.device[~whole].tolist()]

    def _is_touched(self, sums: Sums) -> NDArray[np.bool_]:
        """Tell which windows have their samples in one range of time with segments."""
        touched = np.zeros(len(sums.device), np.bool_)
        # As a rule what arrived last is behind all rollups; only of other devices
        # the segments are looked at one by one.
        near = (sums.first_time <= self._reach[1, sums.device]) & (
            sums.last_time >= self._reach[0, sums.device]
        )
        for device in np.unique(sums.device[near]):
            rows = np.flatnonzero(near & (sums.device == device))
            spans = self._arrived[self._arrived[:, 0] == device]
            overlaps = (sums.first_time[rows, None] <= spans[:, 2]) & (
                spans[:, 1] <= sums.last_time[rows, None]
            )
            touched[rows] = overlaps.any(axis=1)
        return touched

    def _add_segments(self, segments: Iterable[Segment]) -> None:
        """Add the samples of segments, each once, but for those in minutes that are read on their own."""
        apart: dict[int, list[int]] = {}
        for device, start in self.minutes:
            apart.setdefault(device, []).append(start)
        for device, columns in self._by_device(segments):
            times = columns.time_unix_nano
            kept = (times >= self._q.start) & (times < self._q.end)
            if device in apart:
                kept &= ~np.isin(times - times % (MINUTE * _SECOND), apart[device])
            if kept.any():
                self._total.add_samples(device, columns.take(kept))

    def _by_device(self, segments: Iterable[Segment]) -> Iterator[tuple[int, TelemetryColumns]]:
        held: dict[str, list[TelemetryColumns]] = {}
        for segment in segments:
            held.setdefault(segment.device_id, []).append(reading.columns_of(segment))
        for device_id, parts in held.items():
            yield self._number[device_id], merge(parts)


def _ratio(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return ratio
