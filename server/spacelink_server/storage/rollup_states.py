"""Whether devices were up or down all through a window, as their rollups tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from spacelink_server.storage import bulk
from spacelink_server.storage.rollups import UNKNOWN_GAP
from spacelink_server.storage.schema import rollups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# What all samples of a window say; MIXED: not all the same, or some nothing.
MIXED, UP, OFFLINE, LOST = range(4)


class States(NamedTuple):
    """Rollups of w windows; each array has shape (w,).

    Attributes:
        device: which of the devices asked for a window is of.
        start_unix: its start in seconds since 1970 UTC.
        first_time: of the first sample, nanoseconds since 1970 UTC.
        last_time: of the last.
        longest_gap: between two that follow one another, nanoseconds.
        last_gap: between the last two, likewise.
        state: MIXED, UP, OFFLINE or LOST.
    """

    device: NDArray[np.int64]
    start_unix: NDArray[np.int64]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    longest_gap: NDArray[np.int64]
    last_gap: NDArray[np.int64]
    state: NDArray[np.int64]


_r = rollups.c
# As Samples.is_known and Samples.is_down have it, of all samples of a window.
_told = _r.active_count + _r.degraded_count + _r.offline_count + _r.maintenance_count
_all_known = sa.or_(
    _told == _r.sample_count,
    _r.latency_ms_count == _r.sample_count,
    _r.packet_loss_percent_count == _r.sample_count,
)
_none_lost = sa.func.coalesce(_r.packet_loss_percent_max, 0) < 100
_all_lost = sa.and_(_r.packet_loss_percent_count == _r.sample_count, _r.packet_loss_percent_min >= 100)
_STATE = sa.case(
    (sa.and_(_r.offline_count == 0, _none_lost, _all_known), UP),
    (_r.offline_count == _r.sample_count, OFFLINE),
    (sa.and_(_r.offline_count == 0, _all_lost), LOST),
    else_=MIXED,
)
_COLUMNS = (
    _r.window_start_unix,
    _r.first_time_unix_nano,
    _r.last_time_unix_nano,
    sa.func.coalesce(_r.longest_gap_nanos, UNKNOWN_GAP),
    sa.func.coalesce(_r.last_gap_nanos, UNKNOWN_GAP),
    _STATE,
)


def read_states(
    connection: sa.Connection,
    tenant_id: str,
    device_ids: Sequence[str],
    window_seconds: int,
    span: tuple[int, int],
) -> States:
    """Read what the rollups of devices say; see rollups.read_rollups."""
    query = sa.select(_r.device_id, *_COLUMNS).where(
        _r.tenant_id == tenant_id,
        _r.window_seconds == window_seconds,
        _r.device_id.in_(device_ids),
        _r.window_start_unix >= span[0],
        _r.window_start_unix < span[1],
    )
    number = {device_id: place for place, device_id in enumerate(device_ids)}
    parts = [_part(number, rows) for rows in bulk.read(connection, query)]
    return States(*np.concatenate([_part(number, []), *parts], axis=1))


def _part(number: Mapping[str, int], rows: Sequence[tuple[Any, ...]]) -> NDArray[np.int64]:
    """Give the arrays of some rows, one below the other."""
    ids, *cells = zip(*rows, strict=True) if rows else [()] * (1 + len(_COLUMNS))
    return np.array([[*map(number.__getitem__, ids)], *cells], np.int64)
