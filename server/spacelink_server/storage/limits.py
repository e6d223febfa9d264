"""Units of rate limits and quotas, leased to servers.

A row counts the units of a limit in one window that are used up or leased. A
lease is written before a unit of it is used, so a server that dies takes the
rest of its leases with it and the sum never exceeds the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import outbox
from spacelink_server.storage.inserts import insert_missing
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

# A limit has two windows at most when it opens one; of a window per second, as
# many as are kept.
_DELETED_EARLIER = 2 * _KEPT_SECONDS

# When a tenant is told about its quota, in percent of it.
_WARNING_PERCENT = 80
_EXHAUSTED_PERCENT = 100


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
        is_told: whether the tenant is told when units run low, and out.
    """

    tenant_id: str
    digest: bytes
    window_start: int
    window_seconds: int
    amount: int
    least: int
    most: int
    is_told: bool = False


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
    """Lease units in a write transaction, which need not be alone: it locks the rows it looks at."""
    leases: dict[int, Lease] = {}
    # All take their locks in one order, so that nobody waits in a circle.
    for place, request in sorted(enumerate(requests), key=lambda numbered: (numbered[1][:3], numbered[0])):
        leases[place] = _lease(connection, request)
    return [leases[place] for place in range(len(requests))]


def give_back(connection: sa.Connection, unused: Sequence[UnusedUnits]) -> None:
    """Make leased units available again; those of windows that are over are forgotten.

    In a write transaction, which need not be alone.
    """
    rows = [{**_parameters(*each[:3]), "units": each.units} for each in sorted(unused)]
    connection.execute(_GIVE_BACK, rows)


def used(connection: sa.Connection, tenant_id: str, digest: bytes, window_start: int) -> int:
    """Count the units of a window that are used up or leased."""
    return connection.scalar(_USED, _parameters(tenant_id, digest, window_start)) or 0


_l = limit_state.c
_COLUMNS = tuple(_l.keys())
_OF_LIMIT = (_l.tenant_id == sa.bindparam("tenant"), _l.limit_digest == sa.bindparam("digest"))
_OF_WINDOW = (*_OF_LIMIT, _l.window_start_unix == sa.bindparam("window"))
_USED = sa.select(_l.used).where(*_OF_WINDOW)
# SQLite, which has one writer at a time, leaves the lock out.
_LOCK_WINDOW = sa.select(_l.used, _l.told_percent).where(*_OF_WINDOW).with_for_update()
_TELL = sa.update(limit_state).where(*_OF_WINDOW).values(told_percent=sa.bindparam("percent"))
_INSERT = insert_missing(limit_state)
_ADD = sa.update(limit_state).where(*_OF_WINDOW).values(used=_l.used + sa.bindparam("units"))
# A row that was deleted and opened anew may count fewer units than are given back.
_GIVE_BACK = (
    sa.update(limit_state)
    .where(*_OF_WINDOW, _l.used >= sa.bindparam("units"))
    .values(used=_l.used - sa.bindparam("units"))
)


def _delete_windows(*which: sa.ColumnElement[bool], most: int) -> sa.Delete:
    """Delete windows that are over, but for those that somebody else has locked."""
    of_tenant = _l.tenant_id == sa.bindparam("tenant")
    over = (
        sa.select(_l.limit_digest, _l.window_start_unix)
        .where(of_tenant, *which, _l.window_start_unix < sa.bindparam("before"))
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return sa.delete(limit_state).where(of_tenant, sa.tuple_(_l.limit_digest, _l.window_start_unix).in_(over))


_DELETE_EARLIER = _delete_windows(_l.limit_digest == sa.bindparam("digest"), most=_DELETED_EARLIER)
_DELETE_FORGOTTEN = _delete_windows(most=_DELETED_ROWS)


def _lease(connection: sa.Connection, request: LeaseRequest) -> Lease:
    key = _parameters(request.tenant_id, request.digest, request.window_start)
    window = connection.execute(_LOCK_WINDOW, key).one_or_none()
    used = window.used if window else 0
    told = window.told_percent if window else 0
    left = max(request.amount - used, 0)
    if left < request.least:
        _tell(connection, request, used, told, is_short=True)
        return Lease(0, left)
    units = min(left, request.most)
    if window is not None:
        connection.execute(_ADD, {**key, "units": units})
    elif connection.execute(_INSERT, dict(zip(_COLUMNS, (*request[:3], units, 0), strict=True))).rowcount:
        _delete_past(connection, request)
    else:
        # Another server has just opened the window.
        return _lease(connection, request)
    _tell(connection, request, used + units, told, is_short=False)
    return Lease(units, left - units)


def _tell(connection: sa.Connection, request: LeaseRequest, used: int, told: int, *, is_short: bool) -> None:
    """Tell a tenant, once for each step, that its quota runs low or out.

    Units count when servers lease them, a share of the window before they use them.
    """
    is_low = 100 * used >= _WARNING_PERCENT * request.amount
    is_out = is_short or used >= request.amount
    percent = _EXHAUSTED_PERCENT if is_out else _WARNING_PERCENT if is_low else 0
    if not request.is_told or percent <= told:
        return
    event_type = "quota.exhausted" if is_out else "quota.warning"
    data = {
        "quota": request.amount,
        "used": used,
        "percent": percent,
        "window_start_unix": request.window_start,
        "window_seconds": request.window_seconds,
    }
    outbox.append(connection, request.tenant_id, event_type, data)
    key = _parameters(request.tenant_id, request.digest, request.window_start)
    connection.execute(_TELL, {**key, "percent": percent})


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
