"""Units of rate limits and quotas, leased to servers.

A row counts the units of a limit in one window that are used up or leased. A
lease is written before a unit of it is used, so a server that dies takes the
rest of its leases with it and the sum never exceeds the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import limit_state

if TYPE_CHECKING:
    from collections.abc import Sequence

# A clock that is set back, or that is behind another server's, opens a window
# anew; if its row were gone, its units would be given twice. Clocks kept by NTP
# differ by far less than a minute.
_KEPT_SECONDS = 60

# The longest window is a day; two of them keep the previous one as well.
_LONGEST_KEPT_SECONDS = 2 * 86_400

# Each row that is added takes so many with it that are over: the table shrinks
# to what is in use, and no single lease pays for all.
_DELETED_ROWS = 16


class LeaseRequest(NamedTuple):
    """Asks for units of a limit in one window.

    Attributes:
        tenant_id: with the digest, names the limit.
        digest: SHA-256 of the prefix signature that ends with the limit.
        window_start: seconds since 1970 UTC.
        window_seconds: how long the window is.
        amount: how many units it has in all.
        least: fewer are of no use; at least 1.
        most: more are not wanted.
    """

    tenant_id: str
    digest: bytes
    window_start: int
    window_seconds: int
    amount: int
    least: int
    most: int


class Lease(NamedTuple):
    """What was leased: 0 units, or least to most; left is what the store still has."""

    units: int
    left: int


class UnusedUnits(NamedTuple):
    """Units of a lease that are given back."""

    tenant_id: str
    digest: bytes
    window_start: int
    units: int


def lease(connection: sa.Connection, requests: Sequence[LeaseRequest]) -> list[Lease]:
    """Lease units in a write transaction: no other may write between its statements."""
    return [_lease(connection, request) for request in requests]


def give_back(connection: sa.Connection, unused: Sequence[UnusedUnits]) -> None:
    """Make leased units available again; those of windows that are over are forgotten."""
    rows = [
        {"tenant": tenant_id, "digest": digest, "window": window_start, "units": units}
        for tenant_id, digest, window_start, units in unused
    ]
    connection.execute(_GIVE_BACK, rows)


def used(connection: sa.Connection, tenant_id: str, digest: bytes, window_start: int) -> int:
    """Count the units of a window that are used up or leased."""
    return _used(connection, tenant_id, digest, window_start) or 0


_l = limit_state.c
_OF_LIMIT = (_l.tenant_id == sa.bindparam("tenant"), _l.limit_digest == sa.bindparam("digest"))
_OF_WINDOW = (*_OF_LIMIT, _l.window_start_unix == sa.bindparam("window"))
_USED = sa.select(_l.used).where(*_OF_WINDOW)
_ADD = sa.update(limit_state).where(*_OF_WINDOW).values(used=_l.used + sa.bindparam("units"))
# A row that was deleted and opened anew may count fewer units than are given back.
_GIVE_BACK = (
    sa.update(limit_state)
    .where(*_OF_WINDOW, _l.used >= sa.bindparam("units"))
    .values(used=_l.used - sa.bindparam("units"))
)
_DELETE_EARLIER = sa.delete(limit_state).where(*_OF_LIMIT, _l.window_start_unix < sa.bindparam("before"))
_DELETE_FORGOTTEN = sa.delete(limit_state).where(
    _l.tenant_id == sa.bindparam("tenant"),
    sa.tuple_(_l.limit_digest, _l.window_start_unix).in_(
        sa.select(_l.limit_digest, _l.window_start_unix)
        .where(_l.tenant_id == sa.bindparam("tenant"), _l.window_start_unix < sa.bindparam("before"))
        .limit(_DELETED_ROWS)
    ),
)


def _lease(connection: sa.Connection, request: LeaseRequest) -> Lease:
    row = (request.tenant_id, request.digest, request.window_start)
    used_before = _used(connection, *row)
    left = max(request.amount - (used_before or 0), 0)
    if left < request.least:
        return Lease(0, left)
    units = min(left, request.most)
    if used_before is None:
        connection.execute(sa.insert(limit_state).values((*row, units)))
        _delete_past(connection, request)
    else:
        connection.execute(_ADD, {**_parameters(*row), "units": units})
    return Lease(units, left - units)


def _used(connection: sa.Connection, tenant_id: str, digest: bytes, window_start: int) -> int | None:
    return connection.scalar(_USED, _parameters(tenant_id, digest, window_start))


def _parameters(tenant_id: str, digest: bytes, window_start: int) -> dict[str, object]:
    return {"tenant": tenant_id, "digest": digest, "window": window_start}


def _delete_past(connection: sa.Connection, request: LeaseRequest) -> None:
    """Delete the limit's earlier windows, and a few of limits that nobody uses any more."""
    kept = max(request.window_seconds, _KEPT_SECONDS)
    connection.execute(
        _DELETE_EARLIER,
        {"tenant": request.tenant_id, "digest": request.digest, "before": request.window_start - kept},
    )
    connection.execute(
        _DELETE_FORGOTTEN,
        {"tenant": request.tenant_id, "before": request.window_start - _LONGEST_KEPT_SECONDS},
    )
