"""The store of several servers: PostgreSQL 15 and newer, or Citus."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import pq
from sqlalchemy import event, exc
from sqlalchemy.engine import make_url

from spacelink_server.storage import citus, migrations
from spacelink_server.storage.postgres_commit import GroupTransaction
from spacelink_server.storage.segments import Segment
from spacelink_server.storage.sql_store import SqlStore, as_unavailable
from spacelink_server.storage.store import (
    CommitGroup,
    CommitResult,
    StoreUnavailableError,
    StreamKey,
    Submission,
)
from spacelink_server.storage.tail import COMMITTING, CommitTail

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.storage.postgres_commit import Connection

_T = TypeVar("_T")
_Loaded = TypeVar("_Loaded")
_Made = TypeVar("_Made")

# A group meets another server's transaction in its way when a stream moves from
# one to the other; that it does so three times on end does not happen.
_ATTEMPTS = 3

# Held by whoever has to be alone in writing outside of group commits: any number
# that nothing else in the database uses.
_BE_ALONE = sa.text("SELECT pg_advisory_xact_lock(5787213829999610190)")
# What the connection is tried with where nothing has to be locked.
_BE_THERE = sa.text("SELECT 1")

# How a lost host is noticed at either end: after ten seconds, as long as SQLite
# waits for its lock.
_LOST_SECONDS = 10

_CONNECTION = {
    "application_name": "spacelink",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": str(_LOST_SECONDS * 1000),
}
_SESSION = {
    # What transact relies on, whatever the database's default is.
    "default_transaction_isolation": "read committed",
    # A server that is gone must not hold its locks. What runs between the
    # statements of a transaction takes milliseconds.
    "idle_in_transaction_session_timeout": f"{_LOST_SECONDS}s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    # Longer than a lost server holds one.
    "lock_timeout": f"{_LOST_SECONDS + 5}s",
    # Built for statements that take much longer than most of these.
    "jit": "off",
}
# The most that is on its way to a database on this machine, as far as the system
# allows (net.core.wmem_max). With its default of 208 KiB the database waits for the
# writing thread, and that for Python's global lock, thirty times in a full group.
_SEND_BYTES = 4 * 1024 * 1024
# An ack means that the commit is on disk, whatever the database's default is.
# Where commits wait for standbys, too, they go on doing so.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


class PostgresStore(SqlStore):
    """Store in a database; see spacelink_server.storage.store.Store."""

    one_writer = False

    def __init__(self, url: str) -> None:
        """Open the store, or create it in an empty database.

        Args:
            url: postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or any other that
                libpq takes.

        Raises:
            SchemaMismatchError: the database belongs to another version, or to
                something else.
            StoreUnavailableError: it cannot be connected to.
            ValueError: the URL cannot be used.
        """
        engine = make_engine(url, _BinaryCursor)
        super().__init__(
            engine,
            statements=engine.execution_options(isolation_level="AUTOCOMMIT"),
            snapshots=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        )
        self.tail = CommitTail(self._statements)
        self._writer: sa.PoolProxiedConnection | None = None
        try:
            with as_unavailable():
                migrations.prepare(engine)
                with engine.connect() as connection:
                    self._distributed = citus.is_distributed(connection)
        except BaseException:
            self.close()
            raise

    def commit(self, group: CommitGroup) -> CommitResult:
        """Write a group; it is on disk on return.

        In one transaction, or where tables are distributed in one for each
        tenant: then a part may have been written when it fails.
        """
        if not self._distributed:
            return self._commit(group)
        results = {tenant_id: self._commit(part) for tenant_id, part in _parts(group).items()}
        return _joined(group, results)

    def transact(self, work: Callable[[sa.Connection], _T], *, alone: bool = True) -> _T:
        """Run work in a write transaction; see Transactions. Called by any thread."""
        with as_unavailable(), self._begin(alone) as connection:
            answer = work(connection)
            connection.commit()
            return answer

    def process(
        self,
        load: Callable[[sa.Connection], _Loaded | None],
        make: Callable[[_Loaded], _Made],
        store: Callable[[sa.Connection, _Made], None],
    ) -> _Loaded | None:
        """Make something out of what is stored, and store it, in one transaction; see Transactions."""
        with as_unavailable(), self._engine.begin() as connection:
            loaded = load(connection)
            if loaded is not None:
                store(connection, make(loaded))
            return loaded

    def probe(self, size: int) -> None:
        """Raise StoreUnavailableError unless size bytes could be committed."""
        payload = Submission("", "", [Segment("probe", 0, 0, 1, bytes(size))])
        try:
            connection = self._write_connection()
            GroupTransaction(connection, {("", "probe")}).copy([payload], 0)
            connection.rollback()
        except psycopg.Error as error:
            self._drop_writer()
            raise StoreUnavailableError(str(error)) from error
        self.commit(CommitGroup(opens=[StreamKey("", "probe")]))

    def close(self) -> None:
        """Let go of all connections."""
        self._drop_writer()

    def _commit(self, group: CommitGroup) -> CommitResult:
        for _ in range(_ATTEMPTS - 1):
            result = self._try_commit(group, last=False)
            if result is not None:
                return result
        result = self._try_commit(group, last=True)
        assert result is not None  # noqa: S101 - the last attempt succeeds or raises
        return result

    def _try_commit(self, group: CommitGroup, *, last: bool) -> CommitResult | None:
        """Commit a group; None: it was not written, but may be at another attempt."""
        transaction = None
        try:
            transaction = GroupTransaction(self._write_connection(), self._known_devices)
            result = transaction.run(group)
        except psycopg.Error as error:
            self._drop_writer()
            if last or transaction is None or not transaction.may_repeat(error):
                raise StoreUnavailableError(str(error)) from error
            return None
        except BaseException:
            self._drop_writer()
            raise
        self._known_devices |= transaction.new_devices
        return result

    def _write_connection(self) -> Connection:
        if self._writer is not None:
            return _driver_of(self._writer)
        self._writer = self._engine.raw_connection()
        connection = _driver_of(self._writer)
        connection.execute("SELECT set_config('application_name', %s, false)", (COMMITTING,))
        connection.commit()
        return connection

    def _drop_writer(self) -> None:
        """After a failure start anew: the connection's state is not known."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.invalidate()
        # What happened to it may have happened to those that wait in the pool.
        self._engine.dispose()

    def _begin(self, alone: bool) -> sa.Connection:
        first = _BE_ALONE if alone else _BE_THERE
        connection = self._engine.connect()
        try:
            connection.execute(first)
        except exc.DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
            # The database was restarted since the connection was made.
            connection = self._engine.connect()
            connection.execute(first)
        return connection


class _BinaryCursor(psycopg.Cursor[Any]):
    """Asks for results as the server has them: payloads in hexadecimal take twice the room."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format = pq.Format.BINARY


def make_engine(url: str, cursor: type[psycopg.Cursor[Any]] = psycopg.Cursor) -> sa.Engine:
    """Give an engine for a database; ValueError where the URL cannot be used."""
    parsed = _parse(url)
    defaults = {name: value for name, value in _CONNECTION.items() if name not in parsed.query}
    engine = sa.create_engine(
        parsed.update_query_dict(defaults),
        connect_args={"cursor_factory": cursor},
        pool_size=8,
        max_overflow=-1,
        use_native_hstore=False,
    )
    event.listen(engine, "connect", _configure)
    return engine


def _driver_of(connection: sa.PoolProxiedConnection) -> Connection:
    driver = connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - that of the engine's dialect
    return driver


def _parse(url: str) -> sa.URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in ("postgresql", "postgres"):
        # The URL itself may hold a password.
        raise ValueError("expected a URL such as postgresql://user:password@host/database")
    if "@" in (parsed.host or ""):
        # What stands before it would be shown as the host.
        raise ValueError("expected a URL with one @; in a password it is written %40")
    return parsed.set(drivername="postgresql+psycopg")


def _configure(connection: Connection, _: object) -> None:
    _widen_buffer(connection)
    with connection.cursor() as cursor:
        for setting in _SESSION.items():
            cursor.execute("SELECT set_config(%s, %s, false)", setting)
        cursor.execute(_DURABLE)
    connection.commit()


def _widen_buffer(connection: Connection) -> None:
    # That of TCP grows by itself.
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        if peer.family == socket.AF_UNIX:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)


def _parts(group: CommitGroup) -> dict[str, CommitGroup]:
    """Divide a group by tenants."""
    parts: defaultdict[str, CommitGroup] = defaultdict(CommitGroup)
    for advance in group.advances:
        parts[advance.tenant_id].advances.append(advance)
    for submission in group.submissions:
        parts[submission.tenant_id].submissions.append(submission)
    for key in group.opens:
        parts[key.tenant_id].opens.append(key)
    return parts


def _joined(group: CommitGroup, results: dict[str, CommitResult]) -> CommitResult:
    """Put the results of a group's parts into the group's order."""
    advanced = {tenant_id: iter(result.advanced) for tenant_id, result in results.items()}
    submitted = {tenant_id: iter(result.submitted) for tenant_id, result in results.items()}
    positions = {tenant_id: iter(result.positions) for tenant_id, result in results.items()}
    return CommitResult(
        [next(advanced[advance.tenant_id]) for advance in group.advances],
        [next(submitted[submission.tenant_id]) for submission in group.submissions],
        [next(positions[key.tenant_id]) for key in group.opens],
    )
