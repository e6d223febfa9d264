"""What health is computed from, of many devices at once: rollups, and what they do not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from spacelink_server.storage.rollups import decode_histograms
from spacelink_server.storage.schema import pending_windows, rollups, telemetry_segments
from spacelink_server.storage.segments import MAX_SPAN_NANOS, Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spacelink_server.storage.rollups import Histograms


class Sums(NamedTuple):
    """Rollups of w windows; each array has shape (w,).

    Attributes:
        device: which of the devices asked for a window is of.
        start_unix: its start in seconds since 1970 UTC.
        first_time: of the first sample, nanoseconds since 1970 UTC.
        last_time: of the last.
        sample_count: how many samples.
        offline_count: how many of them say that the terminal is offline.
        latency_count: how many have a latency.
        latency_sum: of these, in ms.
        loss_count: how many have a loss.
        loss_sum: of these, in percent.
        latency: histograms of the latency.
    """

    device: NDArray[np.int64]
    start_unix: NDArray[np.int64]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    sample_count: NDArray[np.int64]
    offline_count: NDArray[np.int64]
    latency_count: NDArray[np.int64]
    latency_sum: NDArray[np.float64]
    loss_count: NDArray[np.int64]
    loss_sum: NDArray[np.float64]
    latency: Histograms


_r = rollups.c
_DTYPES = (*[np.int64] * 6, np.float64, np.int64, np.float64)
_COLUMNS = (
    _r.window_start_unix,
    _r.first_time_unix_nano,
    _r.last_time_unix_nano,
    _r.sample_count,
    _r.offline_count,
    sa.func.coalesce(_r.latency_ms_count, 0),
    sa.func.coalesce(_r.latency_ms_sum, 0.0),
    sa.func.coalesce(_r.packet_loss_percent_count, 0),
    sa.func.coalesce(_r.packet_loss_percent_sum, 0.0),
)


def read_totals(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
    parts: tuple[int, int] | None = None,
) -> Sums:
    """Add the rollups of each device up, where there are any; histograms are left out.

    Args:
        connection: of a read transaction.
        tenant_id: the tenant.
        device_ids: the devices wanted, each once.
        window_seconds: MINUTE, HOUR or DAY.
        span: the first and the end of the starts wanted, seconds since 1970 UTC.
        parts: where parts begin that are added up apart, and their length; None
            means all together.

    Returns:
        One window for each device and part, with the start of its first.
    """
    first, *summed = _COLUMNS
    times = (sa.func.min(first), sa.func.min(summed[0]), sa.func.max(summed[1]))
    together = [_r.device_id] if parts is None else [_r.device_id, (first - parts[0]) // parts[1]]
    query = (
        sa.select(_r.device_id, *times, *(sa.func.sum(column) for column in summed[2:]))
        .where(*_within(tenant_id, device_ids, window_seconds, span))
        .group_by(*together)
    )
    rows = connection.execute(query).all()
    ids, *cells = list(zip(*rows, strict=True)) or [()] * (1 + len(_COLUMNS))
    return _sums(device_ids, ids, cells, [b""] * len(rows))


def read_latencies(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], Histograms]:
    """Read histograms of latency.

    Returns:
        Which device each is of, the start of its window, and the histograms.
    """
    rows = _fetch(
        connection,
        sa.select(_r.device_id, _r.window_start_unix, _r.latency_ms_histogram).where(
            *_within(tenant_id, device_ids, window_seconds, span)
        ),
    )
    ids, starts, histograms = zip(*rows, strict=True) if rows else ((), (), ())
    latency = decode_histograms([data or b"" for data in histograms])
    return _numbers(device_ids, ids), np.array(starts, np.int64), latency


def read_sums(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
) -> Sums:
    """Read the rollups of devices; see rollups.read_rollups."""
    query = sa.select(_r.device_id, _r.latency_ms_histogram, *_COLUMNS).where(
        *_within(tenant_id, device_ids, window_seconds, span)
    )
    rows = _fetch(connection, query)
    ids, histograms, *cells = zip(*rows, strict=True) if rows else [()] * (2 + len(_COLUMNS))
    return _sums(device_ids, ids, cells, histograms)


def pending(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
) -> dict[int, list[str]]:
    """Tell which windows have no rollup although there are samples: their devices, by start."""
    p = pending_windows.c
    query = sa.select(p.window_start_unix, p.device_id).where(
        p.tenant_id == tenant_id,
        p.window_seconds == window_seconds,
        p.window_start_unix >= span[0],
        p.window_start_unix < span[1],
        p.device_id.in_(device_ids),
    )
    found: dict[int, list[str]] = {}
    for start, device_id in connection.execute(query):
        found.setdefault(start, []).append(device_id)
    return found


def arrived(
    connection: sa.Connection, tenant_id: str, device_ids: Sequence[str], start: int, end: int
) -> list[Segment]:
    """Read the segments with samples in [start, end) that no rollup has, by device."""
    t = telemetry_segments.c
    query = sa.select(
        t.device_id, t.first_time_unix_nano, t.last_time_unix_nano, t.sample_count, t.payload
    ).where(
        t.tenant_id == tenant_id,
        t.device_id.in_(device_ids),
        t.first_time_unix_nano >= start - MAX_SPAN_NANOS,
        t.first_time_unix_nano < end,
        t.last_time_unix_nano >= start,
    )
    ordered = query.order_by(t.device_id, t.first_time_unix_nano, t.segment_id)
    return [Segment._make(row) for row in connection.execute(ordered)]


def _within(
    tenant_id: str, device_ids: Sequence[str], window_seconds: int, span: tuple[int, int]
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _r.tenant_id == tenant_id,
        _r.window_seconds == window_seconds,
        _r.device_id.in_(device_ids),
        _r.window_start_unix >= span[0],
        _r.window_start_unix < span[1],
    )


def _fetch(connection: sa.Connection, query: sa.Select[Any]) -> list[Any]:
    # Tens of thousands of rows: the driver's own tuples, which need no conversion.
    return list(connection.execute(query).cursor.fetchall())


def _sums(
    device_ids: Sequence[str], ids: Sequence[str], cells: Sequence[Any], histograms: Sequence[bytes | None]
) -> Sums:
    columns = [np.array(column, dtype) for column, dtype in zip(cells, _DTYPES, strict=True)]
    latency = decode_histograms([data or b"" for data in histograms])
    return Sums._make([_numbers(device_ids, ids), *columns, latency])


def _numbers(device_ids: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    number = {device_id: place for place, device_id in enumerate(device_ids)}
    return np.array([number[device_id] for device_id in ids], np.int64)
