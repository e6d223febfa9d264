"""A fleet's samples, and what the store must hold of them, computed value by value."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from spacelink.columns import TelemetryColumns
from spacelink_server.scoring import histogram
from spacelink_server.storage.rollups import DAY, HOUR, MINUTE, Rollups, read_rollups
from spacelink_server.storage.schema import compacted_segments, pending_windows, telemetry_segments
from spacelink_server.storage.segments import FORMATS, CompactedSegment
from spacelink_server.storage.store import CommitGroup, Submission
from tests.server.samples import T0, validated
from tests.server.stored import stored_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spacelink_server.storage.store import Store
    from tests.server.samples import Sample

TENANT = "t"
COMPACTED = next(number for number, kind in FORMATS.items() if kind is CompactedSegment)
SECOND = 1_000_000_000
DEVICES = ("dish-1", "dish-2", "dish-3")


def some_samples(seed: int, device_id: str, start: int, count: int, step: int = SECOND) -> TelemetryColumns:
    """Make samples that look measured, with gaps, zeros and missing values."""
    random = np.random.default_rng(seed)
    times = T0 + start + np.sort(random.choice(2 * count, count, replace=False)) * step // 2
    loss = np.where(random.random(count) < 0.9, 0, random.integers(1, 101, count))
    latency = np.where(random.random(count) < 0.05, np.nan, random.normal(30, 8, count).clip(1))
    status = random.choice([1, 1, 1, 2, 3], count).astype(np.uint8)
    metrics = {"latency_ms": latency, "packet_loss_percent": loss, "azimuth_deg": random.normal(0, 90, count)}
    columns = {name: values.astype(np.float32) for name, values in metrics.items()}
    return TelemetryColumns(device_id, times, columns, status)


def submit(store: Store, *batches: TelemetryColumns) -> None:
    """Store batches one after the other."""
    for batch in batches:
        store.commit(CommitGroup(submissions=[Submission(TENANT, "", validated(batch.encode()))]))


def rollups_of(store: Store, window_seconds: int, device_ids: Sequence[str] = DEVICES) -> Rollups:
    """Read all rollups of a length."""
    return store.read(
        partial(
            read_rollups,
            tenant_id=TENANT,
            device_ids=device_ids,
            window_seconds=window_seconds,
            span=(0, 2**40),
        )
    )


def count_rows(store: Store, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    """Count the rows of a table."""
    query = sa.select(sa.func.count()).select_from(table).where(*conditions)
    return store.read(lambda connection: connection.scalar(query)) or 0


def check(store: Store, batches: Iterable[TelemetryColumns], closed: int) -> None:
    """Compare all that maintenance keeps with the samples it was made from.

    Args:
        store: what maintenance worked on; nothing may be left to do.
        batches: all that was ever stored.
        closed: windows that ended by this moment are closed.
    """
    assert count_rows(store, telemetry_segments) == 0
    by_device: dict[str, dict[Sample, None]] = defaultdict(dict)
    for batch in batches:
        for sample in samples_of(batch):
            by_device[batch.device_id][sample] = None
    for device_id in DEVICES:
        expected = sorted(by_device[device_id])
        assert sorted(stored_samples(store, TENANT, device_id)) == expected
    for window_seconds in (MINUTE, HOUR, DAY):
        end = 2**62 if window_seconds == MINUTE else closed
        check_rollups(rollups_of(store, window_seconds), by_device, window_seconds * SECOND, end)
    check_closed(store, by_device, closed)


def samples_of(batch: TelemetryColumns) -> list[Sample]:
    """Give a batch's samples as plain data."""
    from tests.server.samples import samples_in  # noqa: PLC0415

    return samples_in([batch.encode()])


def check_closed(store: Store, by_device: dict[str, dict[Sample, None]], closed: int) -> None:
    """Every closed hour is one compacted segment, every other is pending."""
    hours = {(d, s[0] // (HOUR * SECOND)) for d, found in by_device.items() for s in found}
    is_closed = {hour for hour in hours if (hour[1] + 1) * HOUR * SECOND <= closed}
    t = compacted_segments.c
    assert count_rows(store, compacted_segments, t.format == COMPACTED) == len(is_closed)
    p = pending_windows.c
    assert count_rows(store, pending_windows, p.window_seconds == HOUR) == len(hours - is_closed)


def check_rollups(found: Rollups, by_device: dict[str, dict[Sample, None]], window: int, end: int) -> None:
    """Compare rollups with those of plain Python."""
    groups: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for device_id, samples in by_device.items():
        for sample in samples:
            start = sample[0] // window * window
            if start + window <= end:
                groups[device_id, start].append(sample)
    keys = [
        (found.device_ids[device], start * SECOND)
        for device, start in zip(found.device.tolist(), found.start_unix.tolist(), strict=True)
    ]
    assert keys == sorted(groups)
    for row, key in enumerate(keys):
        group = sorted(groups[key])
        assert found.sample_count[row] == len(group)
        assert (found.first_time[row], found.last_time[row]) == (group[0][0], group[-1][0])
        times = sorted({sample[0] for sample in group})
        gaps = [after - before for before, after in pairwise(times)] or [0]
        assert (found.longest_gap[row], found.last_gap[row]) == (max(gaps), gaps[-1])
        assert found.status_counts[row].tolist() == [
            sum(status == number for _, status, _ in group) for number in range(5)
        ]
        check_metrics(found, row, group)


def check_metrics(found: Rollups, row: int, samples: list[Sample]) -> None:
    """Compare the metrics of one window."""
    values: dict[str, list[float]] = defaultdict(list)
    for _, _, metrics in samples:
        for name, bits in metrics:
            values[name].append(float(np.uint32(bits).view(np.float32)))
    having = {name for name, metric in found.metrics.items() if metric.count[row]}
    assert having == set(values)
    for name in having:
        metric = found.metrics[name]
        assert metric.count[row] == len(values[name])
        assert metric.sum[row] == math.fsum(values[name]) or math.isclose(
            metric.sum[row], math.fsum(values[name]), rel_tol=1e-12, abs_tol=1e-9
        )
        assert (metric.minimum[row], metric.maximum[row]) == (min(values[name]), max(values[name]))
        part = slice(metric.histograms.offsets[row], metric.histograms.offsets[row + 1])
        is_kept = name in ("latency_ms", "packet_loss_percent")
        if part.start < part.stop or is_kept:
            check_histogram(metric.histograms.buckets[part], metric.histograms.counts[part], values[name])


def check_histogram(buckets: Any, counts: Any, values: list[float]) -> None:
    """Compare a histogram's quantiles with those of the values."""
    dense = np.bincount(buckets, counts, histogram.BUCKETS).astype(np.int64)
    assert dense.sum() == len(values)
    wanted = np.array([0.0, 0.25, 0.5, 0.95, 0.99, 1.0])
    exact = np.quantile(np.array(values), wanted, method="closest_observation")
    ranks = np.round(wanted * (len(values) - 1)) / max(len(values) - 1, 1)
    estimates = histogram.quantiles(dense, ranks)
    exact = np.sort(np.array(values))[np.round(wanted * (len(values) - 1)).astype(int)]
    np.testing.assert_allclose(estimates, exact, rtol=histogram.RELATIVE_ERROR)
