"""What health is computed from, of many devices at once: rollups, and what they do not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from spacelink_server.storage import bulk
from spacelink_server.storage.rollups import decode_histograms
from spacelink_server.storage.schema import pending_windows, rollups, telemetry_segments
from spacelink_server.storage.segments import MAX_SPAN_NANOS, Segment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    latency_count: NDArray[np.float64]
    latency_sum: NDArray[np.float64]
    loss_count: NDArray[np.float64]
    loss_sum: NDArray[np.float64]
    latency: Histograms


_r = rollups.c
_COLUMNS = (
    _r.window_start_unix,
    _r.first_time_unix_nano,
    _r.last_time_unix_nano,
    _r.sample_count,
    _r.offline_count,
    _r.latency_ms_count,
    _r.latency_ms_sum,
    _r.packet_loss_percent_count,
    _r.packet_loss_percent_sum,
)


def read_sums(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
) -> Sums:
    """Read the rollups of devices; see rollups.read_rollups."""
    query = sa.select(_r.device_id, _r.latency_ms_histogram, *_COLUMNS).where(
        _r.tenant_id == tenant_id,
        _r.window_seconds == window_seconds,
        _r.device_id.in_(device_ids),
        _r.window_start_unix >= span[0],
        _r.window_start_unix < span[1],
    )
    number = {device_id: place for place, device_id in enumerate(device_ids)}
    parts = [_part(number, rows) for rows in bulk.read(connection, query)]
    device, whole, values, histograms = zip(_part(number, []), *parts, strict=True)
    return Sums._make(
        [
            np.concatenate(device),
            *np.concatenate(whole, axis=1),
            *np.concatenate(values, axis=1),
            decode_histograms([data for some in histograms for data in some]),
        ]
    )


def _part(
    number: Mapping[str, int], rows: Sequence[tuple[Any, ...]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], list[bytes]]:
    """Give devices, whole numbers, other numbers and histograms of some rows."""
    ids, histograms, *cells = zip(*rows, strict=True) if rows else [()] * (2 + len(_COLUMNS))
    return (
        np.fromiter(map(number.__getitem__, ids), np.int64, len(rows)),
        np.array(cells[:5], np.int64),
        # NULL where there is no value.
        np.nan_to_num(np.array(cells[5:], np.float64)),
        [data or b"" for data in histograms],
    )


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
