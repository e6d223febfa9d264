"""What any server commits to PostgreSQL, as it comes.

Ids of segments begin with the time at which their transaction began, by the
database's clock. Transactions do not end in the order in which they began, so a
reader comes back to the horizon: the begin of the oldest one that was still
under way when it last looked. Everything that it cannot have seen then lies
behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.segments import Segment
from spacelink_server.storage.sql_store import run

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# How the database tells connections that commit groups from others.
COMMITTING = "spacelink commit"

# Taken in at once: in a tenth of a second more than a machine commits.
MOST_ARRIVALS = 20_000

# Between the moment that a transaction takes for its begin and the one at which
# others see that it has begun.
_MARGIN_NANOS = 50_000_000

_HORIZON = sa.text(
    "SELECT (extract(epoch FROM least(now(), min(xact_start))) * 1000000)::bigint FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = :committing"
)
_ARRIVALS = (
    "SELECT device_id, first_time_unix_nano, segment_id, octet_length(payload) FROM telemetry_segments"
    " WHERE tenant_id = :tenant AND segment_id >= :since {of_devices} ORDER BY segment_id LIMIT :most"
)
_ALL_ARRIVALS = sa.text(_ARRIVALS.format(of_devices=""))
_ARRIVALS_OF_DEVICES = sa.text(_ARRIVALS.format(of_devices="AND device_id = ANY(:devices)"))
_FETCH = sa.text(
    "SELECT device_id, first_time_unix_nano, last_time_unix_nano, sample_count, payload"
    " FROM telemetry_segments"
    " JOIN unnest(CAST(:devices AS text[]), CAST(:times AS bigint[]), CAST(:ids AS bigint[]))"
    " AS wanted(device, time, id) ON device_id = device AND first_time_unix_nano = time AND segment_id = id"
    " WHERE tenant_id = :tenant ORDER BY segment_id"
)


class Arrival(NamedTuple):
    """A segment that was committed.

    Attributes:
        device_id: with the next two, names it within its tenant.
        first_time: nanoseconds since 1970 UTC.
        segment_id: later commits have higher ones, but for those of the same moments.
        size: bytes of its payload.
    """

    device_id: str
    first_time: int
    segment_id: int
    size: int


class CommitTail:
    """Reads what was committed of late. All methods block; called by any thread."""

    def __init__(self, statements: sa.Engine) -> None:
        """Read through an engine whose statements are transactions of their own."""
        self._statements = statements

    def horizon(self) -> int:
        """Give a segment_id below all that is not yet committed.

        Raises:
            StoreUnavailableError: the store failed.
        """
        query = {"committing": COMMITTING}
        micros = run(self._statements, lambda connection: connection.execute(_HORIZON, query).scalar_one())
        return int(micros) * 1000 - _MARGIN_NANOS

    def arrivals(self, tenant_id: str, device_ids: Collection[str], since: int) -> list[Arrival]:
        """List the first MOST_ARRIVALS segments of a tenant from a segment_id on.

        Args:
            tenant_id: the tenant.
            device_ids: only those of these devices; empty means all.
            since: the lowest segment_id.

        Raises:
            StoreUnavailableError: the store failed.
        """
        query = {"tenant": tenant_id, "since": since, "most": MOST_ARRIVALS, "devices": [*device_ids]}
        statement = _ARRIVALS_OF_DEVICES if device_ids else _ALL_ARRIVALS
        if not device_ids:
            del query["devices"]
        rows = run(self._statements, lambda connection: connection.execute(statement, query).all())
        return [Arrival(*row) for row in rows]

    def fetch(self, tenant_id: str, arrivals: Sequence[Arrival]) -> list[Segment]:
        """Read segments, but for those that are gone by now.

        Raises:
            StoreUnavailableError: the store failed.
        """
        devices, times, ids, _ = zip(*arrivals, strict=True) if arrivals else ((), (), (), ())
        query = {"tenant": tenant_id, "devices": [*devices], "times": [*times], "ids": [*ids]}
        rows = run(self._statements, lambda connection: connection.execute(_FETCH, query).all())
        return [Segment(*row) for row in rows]
