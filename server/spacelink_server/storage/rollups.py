"""Rollups: a device's samples in a window, summed up.

A histogram is stored as pairs of little-endian 16-bit numbers, a bucket (see
scoring/histogram.py) and how many values are in it; a count that does not fit
is spread over several pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from spacelink.columns import METRICS
from spacelink.storage.v1 import segment_pb2 as pb
from spacelink_server.storage import bulk
from spacelink_server.storage.schema import rollups

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

MINUTE, HOUR, DAY = 60, 3600, 86_400

# Metrics whose histogram every rollup has. Longer windows have those of the
# others, too, where they hold enough samples.
HISTOGRAM_METRICS = ("latency_ms", "packet_loss_percent")

# Of rollups that were made before gaps were noted: longer than all.
UNKNOWN_GAP = 2**62

_PAIR = np.dtype([("bucket", "<u2"), ("count", "<u2")])
_MOST = 0xFFFF

_STATUSES = ("active_count", "degraded_count", "offline_count", "maintenance_count")


@dataclass(frozen=True, slots=True)
class Histograms:
    """Histograms of w windows, with only the buckets that hold something.

    Attributes:
        offsets: int64 of shape (w + 1,); window i has the entries from offsets[i]
            to offsets[i + 1]. One without any has no histogram.
        buckets: integers of shape (n,), see scoring/histogram.py; of those that were
            read as short as they are stored, for there may be a million.
        counts: likewise. A bucket may have several entries.
    """

    offsets: NDArray[np.int64]
    buckets: NDArray[np.integer[Any]]
    counts: NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class MetricRollups:
    """A metric in w windows, in its own unit; each array has shape (w,).

    Attributes:
        count: int64, how many values there are.
        sum: float64, their sum; 0 where there are none.
        minimum: float64, the smallest; NaN where there are none.
        maximum: float64, the largest; NaN where there are none.
        histograms: of the values.
    """

    count: NDArray[np.int64]
    sum: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    histograms: Histograms


@dataclass(frozen=True, slots=True)
class Rollups:
    """The samples of devices in w windows, ordered by device and start.

    Attributes:
        device_ids: the devices that device counts in.
        window_seconds: MINUTE, HOUR or DAY.
        device: int64 of shape (w,), which of device_ids a window is of.
        start_unix: int64 of shape (w,), its start in seconds since 1970 UTC.
        sample_count: int64 of shape (w,), how many samples it holds.
        status_counts: int64 of shape (w, 5), how many of them have which
            DeviceStatus.
        first_time: int64 of shape (w,), the first of them, nanoseconds since
            1970 UTC.
        last_time: int64 of shape (w,), the last.
        longest_gap: int64 of shape (w,), the longest time between two that follow
            one another, nanoseconds; 0 where all have one time.
        last_gap: int64 of shape (w,), the time between the last two that differ in
            their time; likewise.
        metrics: by metric name; those asked for that any window has.
    """

    device_ids: tuple[str, ...]
    window_seconds: int
    device: NDArray[np.int64]
    start_unix: NDArray[np.int64]
    sample_count: NDArray[np.int64]
    status_counts: NDArray[np.int64]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    longest_gap: NDArray[np.int64]
    last_gap: NDArray[np.int64]
    metrics: Mapping[str, MetricRollups] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.start_unix)


def read_rollups(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
    metrics: Collection[str] | None = None,
) -> Rollups:
    """Read the rollups of devices in one query.

    A window without a rollup has no samples, or some that maintenance has not
    come to yet; see pending.py for which.

    Args:
        connection: of a read transaction.
        tenant_id: the tenant.
        device_ids: the devices wanted, each once.
        window_seconds: MINUTE, HOUR or DAY.
        span: the first and the end of the starts wanted, seconds since 1970 UTC.
        metrics: the metrics wanted; None means all.
    """
    r = rollups.c
    named = [name for name in METRICS if metrics is None or name in metrics]
    has_extra = metrics is None or not set(METRICS).issuperset(metrics)
    columns = [r[column] for name in named for column in _columns(name)]
    query = (
        sa.select(*_FIXED, r.extra if has_extra else sa.null(), *columns)
        .where(
            r.tenant_id == tenant_id,
            r.window_seconds == window_seconds,
            r.device_id.in_(device_ids),
            r.window_start_unix >= span[0],
            r.window_start_unix < span[1],
        )
        .order_by(r.device_id, r.window_start_unix)
    )
    rows = connection.execute(query).all()
    return _from_rows(tuple(device_ids), window_seconds, rows, named, metrics)


def replace(connection: sa.Connection, tenant_id: str, made: Rollups) -> None:
    """Write rollups in place of those of the same devices and windows."""
    columns = _to_columns(tenant_id, made)
    bulk.replace(connection, rollups, list(columns), list(zip(*columns.values(), strict=True)))


_FIXED: tuple[sa.ColumnElement[Any], ...] = (
    rollups.c.device_id,
    rollups.c.window_start_unix,
    rollups.c.sample_count,
    *(rollups.c[name] for name in _STATUSES),
    rollups.c.first_time_unix_nano,
    rollups.c.last_time_unix_nano,
    sa.func.coalesce(rollups.c.longest_gap_nanos, UNKNOWN_GAP),
    sa.func.coalesce(rollups.c.last_gap_nanos, UNKNOWN_GAP),
)
_PARTS = ("count", "sum", "min", "max", "histogram")


def _columns(metric: str) -> list[str]:
    return [f"{metric}_{part}" for part in _PARTS]


# To rows


def _to_columns(tenant_id: str, made: Rollups) -> dict[str, list[Any]]:
    named = [name for name in METRICS if name in made.metrics]
    columns: dict[str, list[Any]] = {
        "tenant_id": [tenant_id] * len(made),
        "window_seconds": [made.window_seconds] * len(made),
        "window_start_unix": made.start_unix.tolist(),
        "sample_count": made.sample_count.tolist(),
        "first_time_unix_nano": made.first_time.tolist(),
        "last_time_unix_nano": made.last_time.tolist(),
        "longest_gap_nanos": made.longest_gap.tolist(),
        "last_gap_nanos": made.last_gap.tolist(),
        "device_id": [made.device_ids[device] for device in made.device.tolist()],
        "extra": _extras(made),
    }
    for number, name in enumerate(_STATUSES, 1):
        columns[name] = made.status_counts[:, number].tolist()
    for metric in named:
        columns.update(zip(_columns(metric), _cells(made.metrics[metric]), strict=True))
    return columns


def _cells(metric: MetricRollups) -> list[list[Any]]:
    """Give the values of a metric's columns; None where a window has no value."""
    missing = metric.count == 0
    nothing: Any = None
    columns = (metric.count, metric.sum, metric.minimum, metric.maximum)
    cells = [np.where(missing, nothing, column.astype(object)).tolist() for column in columns]
    return [*cells, [data or None for data in _encode(metric.histograms)]]


def _extras(made: Rollups) -> list[bytes | None]:
    messages = [pb.RollupExtras() for _ in range(len(made))]
    for name, metric in made.metrics.items():
        if name in METRICS:
            continue
        for message, count, *cells in zip(messages, *_cells(metric), strict=True):
            if count:
                total, low, high, histogram = cells
                message.metrics.add(
                    name=name, count=count, sum=total, min=low, max=high, histogram=histogram or b""
                )
    return [message.SerializeToString() or None for message in messages]


def _encode(histograms: Histograms) -> list[bytes]:
    pieces = np.maximum(-(-histograms.counts // _MOST), 1)
    pairs = np.empty(int(pieces.sum()), _PAIR)
    pairs["bucket"] = np.repeat(histograms.buckets, pieces)
    pairs["count"] = _MOST
    ends = np.cumsum(pieces)
    pairs["count"][ends - 1] = histograms.counts - (pieces - 1) * _MOST
    bounds = np.concatenate(([0], ends))[histograms.offsets] * _PAIR.itemsize
    data = pairs.tobytes()
    return [data[start:end] for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]


# From rows


def _from_rows(
    device_ids: tuple[str, ...],
    window_seconds: int,
    rows: Sequence[Sequence[Any]],
    named: Sequence[str],
    wanted: Collection[str] | None,
) -> Rollups:
    fixed = len(_FIXED)
    cells = list(zip(*rows, strict=True)) or [()] * (fixed + 1 + len(_PARTS) * len(named))
    index = {device_id: number for number, device_id in enumerate(device_ids)}
    start, count, *statuses, first, last, longest_gap, last_gap = (
        np.array(column, np.int64) for column in cells[1:fixed]
    )
    unknown = count - sum(statuses)
    metrics = {}
    for number, name in enumerate(named):
        place = fixed + 1 + number * len(_PARTS)
        metric = _metric(*cells[place : place + len(_PARTS)])
        if metric.count.any():
            metrics[name] = metric
    metrics |= _from_extras(cells[fixed], wanted)
    return Rollups(
        device_ids,
        window_seconds,
        np.array([index[device_id] for device_id in cells[0]], np.int64),
        start,
        count,
        np.stack([unknown, *statuses], axis=1),
        first,
        last,
        longest_gap,
        last_gap,
        metrics,
    )


def _metric(
    count: Sequence[int | None],
    total: Sequence[float | None],
    low: Sequence[float | None],
    high: Sequence[float | None],
    histogram: Sequence[bytes | None],
) -> MetricRollups:
    return MetricRollups(
        np.array([value or 0 for value in count], np.int64),
        np.array([value or 0.0 for value in total], np.float64),
        np.array(low, np.float64),
        np.array(high, np.float64),
        decode_histograms([data or b"" for data in histogram]),
    )


def _from_extras(cells: Iterable[bytes | None], wanted: Collection[str] | None) -> dict[str, MetricRollups]:
    found: dict[str, dict[int, pb.RollupExtra]] = {}
    size = 0
    for size, data in enumerate(cells, 1):
        for extra in pb.RollupExtras.FromString(data).metrics if data else ():
            if wanted is None or extra.name in wanted:
                found.setdefault(extra.name, {})[size - 1] = extra
    return {
        name: _metric(*zip(*(_extra_cells(by_row.get(row)) for row in range(size)), strict=True))
        for name, by_row in found.items()
    }


def _extra_cells(extra: pb.RollupExtra | None) -> tuple[Any, Any, Any, Any, Any]:
    if extra is None:
        return (None,) * 5
    return extra.count, extra.sum, extra.min, extra.max, extra.histogram


def decode_histograms(data: Sequence[bytes]) -> Histograms:
    """Read stored histograms; empty bytes are none."""
    pairs = np.frombuffer(b"".join(data), _PAIR)
    lengths = np.array([0, *map(len, data)], np.int64) // _PAIR.itemsize
    return Histograms(np.cumsum(lengths), pairs["bucket"], pairs["count"])
