"""What the stores have in common: everything but how they commit."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from spacelink_server.storage.schema import devices, telemetry_segments
from spacelink_server.storage.segments import MAX_SPAN_NANOS, Segment
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spacelink_server.storage.store import CommitGroup, CommitResult
    from spacelink_server.storage.tail import CommitTail

_T = TypeVar("_T")

# Read at once by a range query: 256 segments of a minute each are about 1 MB and
# four hours of a device; large segments come fewer at a time.
_READ_ROWS = 256
_READ_BYTES = 4 * 1024 * 1024

# A stream_id cannot hold a blank, so request ids cannot clash with them.
REQUEST_PREFIX = "request "


class SqlStore(ABC):
    """Reads what commits wrote.

    A spacelink_server.storage.store.Store, and the Transactions of the other rooms.

    Attributes:
        tail: what other servers commit; None: there are no others.
        one_writer: whether only the thread that commits may write.
    """

    one_writer = True

    def __init__(self, engine: sa.Engine, statements: sa.Engine, snapshots: sa.Engine) -> None:
        """Read through engines.

        Args:
            engine: what close lets go of.
            statements: for statements that are transactions of their own.
            snapshots: for transactions whose statements all see the same.
        """
        self.tail: CommitTail | None = None
        self._engine = engine
        self._statements = statements
        self._snapshots = snapshots
        # Devices that are stored; the others are looked at by each commit.
        self._known_devices: set[tuple[str, str]] = set()

    @abstractmethod
    def commit(self, group: CommitGroup) -> CommitResult:
        """Write a group; it is on disk on return."""

    @abstractmethod
    def transact(self, work: Callable[[sa.Connection], _T], *, alone: bool = True) -> _T:
        """Run work in a write transaction; see Transactions."""

    @abstractmethod
    def probe(self, size: int) -> None:
        """Raise StoreUnavailableError unless size bytes could be committed."""

    def read(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Run work in a read transaction; called by any thread."""
        return run(self._snapshots, work)

    def device_ids(self, tenant_id: str, *, after: str = "", limit: int = -1) -> list[str]:
        """List a tenant's devices behind one, in order; -1 means all."""
        query = (
            sa.select(devices.c.device_id)
            .where(devices.c.tenant_id == tenant_id, devices.c.device_id > after)
            .order_by(devices.c.device_id)
        )
        if limit >= 0:
            query = query.limit(limit)
        return run(self._statements, lambda connection: list(connection.scalars(query)))

    def segments(self, tenant_id: str, device_id: str, start: int, end: int) -> Iterator[Sequence[Segment]]:
        """Read the segments with samples in [start, end), ordered by first time."""
        t = telemetry_segments.c
        position = (start - MAX_SPAN_NANOS, -1)
        query = (
            sa.select(*_SEGMENT_COLUMNS, t.segment_id)
            .where(
                t.tenant_id == tenant_id,
                t.device_id == device_id,
                t.first_time_unix_nano < end,
                t.last_time_unix_nano >= start,
                sa.tuple_(t.first_time_unix_nano, t.segment_id)
                > sa.tuple_(sa.bindparam("time"), sa.bindparam("id")),
            )
            .order_by(t.first_time_unix_nano, t.segment_id)
            .limit(_READ_ROWS)
        )
        while True:
            # A read transaction for each part: a slow reader must not keep the
            # store from tidying up behind its writers.
            after = {"time": position[0], "id": position[1]}
            rows = run(self._statements, partial(_take_bytes, query=query, after=after))
            if not rows:
                return
            yield [Segment._make(row[:-1]) for row in rows]
            position = (rows[-1].first_time_unix_nano, rows[-1].segment_id)

    def newest_segments(self, tenant_id: str, device_id: str) -> Sequence[Segment]:
        """Read the segments that may hold a device's newest sample."""
        t = telemetry_segments.c
        of_device = (t.tenant_id == tenant_id, t.device_id == device_id)
        newest = sa.select(sa.func.max(t.first_time_unix_nano)).where(*of_device).scalar_subquery()
        reach = sa.select(*_SEGMENT_COLUMNS).where(
            *of_device, t.first_time_unix_nano >= newest - MAX_SPAN_NANOS
        )
        last = sa.select(sa.func.max(reach.subquery().c.last_time_unix_nano)).scalar_subquery()
        query = reach.where(t.last_time_unix_nano == last).order_by(t.segment_id)
        rows = run(self._statements, lambda connection: connection.execute(query).all())
        return [Segment(*row) for row in rows]

    def close(self) -> None:
        """Let go of all files and connections."""
        self._engine.dispose()


@contextlib.contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise StoreUnavailableError for whatever the database, its driver or its files fail with."""
    try:
        yield
    except exc.IntegrityError:
        raise  # a row that is there already: the caller's matter, not the store's
    except exc.DBAPIError as error:
        raise StoreUnavailableError(str(error.orig)) from error
    # The embedded driver's own: of connections that are just being opened.
    except (exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(str(error)) from error


def run(engine: sa.Engine, work: Callable[[sa.Connection], _T]) -> _T:
    """Run work that reads with a connection.

    Raises:
        StoreUnavailableError: the database failed.
    """
    with as_unavailable():
        try:
            with engine.connect() as connection:
                return work(connection)
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # The database was restarted since the connection was made; the pool
        # has let go of all of these.
        with engine.connect() as connection:
            return work(connection)


_SEGMENT_COLUMNS = (
    telemetry_segments.c.device_id,
    telemetry_segments.c.first_time_unix_nano,
    telemetry_segments.c.last_time_unix_nano,
    telemetry_segments.c.sample_count,
    telemetry_segments.c.payload,
)


def _take_bytes(connection: sa.Connection, query: sa.Select[Any], after: dict[str, int]) -> list[sa.Row[Any]]:
    taken = []
    size = 0
    for row in connection.execute(query, after):
        taken.append(row)
        size += len(row.payload)
        if size >= _READ_BYTES:
            break
    return taken
