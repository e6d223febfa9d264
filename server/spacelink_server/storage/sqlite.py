"""The embedded store: SQLite, one process."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import sqlite

from spacelink_server.storage import migrations, requests
from spacelink_server.storage.requests import RequestResult
from spacelink_server.storage.schema import (
    devices,
    rejected_batches,
    request_results,
    stream_cursors,
    telemetry_segments,
)
from spacelink_server.storage.sql_store import SqlStore, as_unavailable
from spacelink_server.storage.store import (
    REJECTIONS_KEPT,
    CommitGroup,
    CommitResult,
    Rejection,
    StoreUnavailableError,
    StreamAdvance,
    StreamKey,
    StreamPosition,
    Submission,
    Submitted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_T = TypeVar("_T")
_Loaded = TypeVar("_Loaded")
_Made = TypeVar("_Made")

# Rows in one INSERT. Each statement gives up Python's global lock and has to
# win it back from a busy event loop, so a group is written with few statements;
# fixed sizes keep the statements in sqlite3's cache.
_INSERT_ROWS = (256, 16, 1)

_PRAGMAS = {
    "journal_mode": "WAL",  # readers do not wait for the writer
    "synchronous": "FULL",  # a commit returns after fsync of the log
    "busy_timeout": 10_000,
    # SQLite's default number of pages, with our page size 16 MB of log. The
    # commit that copies the log back takes 0.1 s then; four times the log makes
    # it 0.3 s and commits on the whole no faster.
    "wal_autocheckpoint": 1_000,
    "temp_store": "MEMORY",
}
# In KiB, of the one that writes: the pages that all devices write to. The others,
# up to ten, have SQLite's default of 2 MB: reports over a thousand devices take no
# longer with it than with 4, for the system keeps what they read, too.
_WRITER_CACHE = -32_000
# Payloads of a minute take 3 kB: 4 and 8 kB pages waste a quarter of their room
# on them, 32 kB pages write more than they gain where batches are small.
_PAGE_SIZE = 16_384


class DataDirectoryInUseError(Exception):
    """Another server works on the data directory."""


class SqliteStore(SqlStore):
    """Store in DIR/spacelink.db; see spacelink_server.storage.store.Store."""

    def __init__(self, directory: Path) -> None:
        """Open or create the store.

        Raises:
            DataDirectoryInUseError: another process has it open.
            SchemaMismatchError: it belongs to another version.
            StoreUnavailableError: the files cannot be opened.
        """
        self._directory = directory
        self._lock = contextlib.ExitStack()
        with as_unavailable():
            self._lock.enter_context(locked(directory))
        engine = make_engine(directory)
        super().__init__(engine, engine, engine)
        self._writer: sa.Connection | None = None
        # Held while the writer is in use: maintenance has a thread of its own.
        self._writing = threading.Lock()
        # Ids only tell segments of one device and time apart; counting on from
        # the clock keeps them distinct across restarts.
        self._segment_ids = itertools.count(time.time_ns())
        try:
            with as_unavailable():
                migrations.prepare(self._engine)
        except BaseException:
            self.close()
            raise

    def commit(self, group: CommitGroup) -> CommitResult:
        """Write a group in one transaction; it is on disk on return."""
        new_devices: set[tuple[str, str]] = set()
        with self._writing:
            try:
                with as_unavailable():
                    writer = self._write_connection()
                    with writer.begin():
                        result = self._write(writer, group, new_devices)
            except BaseException:
                self._drop_writer()
                raise
        self._known_devices |= new_devices
        return result

    def transact(self, work: Callable[[sa.Connection], _T], *, alone: bool = True) -> _T:
        """Run work in a write transaction, which always is alone; see Transactions."""
        with self._writing:
            try:
                with as_unavailable():
                    writer = self._write_connection()
                    with writer.begin():
                        return work(writer)
            except StoreUnavailableError:
                self._drop_writer()
                raise

    def process(
        self,
        load: Callable[[sa.Connection], _Loaded | None],
        make: Callable[[_Loaded], _Made],
        store: Callable[[sa.Connection, _Made], None],
    ) -> _Loaded | None:
        """Make something out of what is stored, and store it; see Transactions."""
        loaded = self.read(load)
        if loaded is not None:
            made = make(loaded)
            self.transact(lambda connection: store(connection, made))
        return loaded

    def probe(self, size: int) -> None:
        """Raise StoreUnavailableError unless size bytes could be committed."""
        path = self._directory / "probe"
        try:
            with path.open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, max(size, 1))
                finally:
                    path.unlink()
        except OSError as error:
            raise StoreUnavailableError(f"cannot write {size} bytes: {error.strerror}") from error
        # SQLite's own files must take a write, too.
        self.commit(CommitGroup(opens=[StreamKey("", "probe")]))

    def close(self) -> None:
        """Let go of all files and connections."""
        self._drop_writer()
        super().close()
        self._lock.close()

    def _write_connection(self) -> sa.Connection:
        if self._writer is None:
            self._writer = self._engine.connect().execution_options(spacelink_write=True)
            cursor = self._writer.connection.cursor()
            cursor.execute(f"PRAGMA cache_size = {_WRITER_CACHE}")
            cursor.close()
        return self._writer

    def _drop_writer(self) -> None:
        """After a failure start anew: the connection's state is not known."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(exc.DBAPIError):
                writer.invalidate()
                writer.close()

    def _write(
        self, writer: sa.Connection, group: CommitGroup, new_devices: set[tuple[str, str]]
    ) -> CommitResult:
        advanced = [_advance(writer, advance) for advance in group.advances]
        submitted = [_claim(writer, submission) for submission in group.submissions]
        rows: list[tuple[Any, ...]] = []
        written: list[StreamAdvance | Submission] = []
        written += itertools.compress(group.advances, advanced)
        written += requests.stored(group.submissions, submitted)
        for write in written:
            for segment in write.segments:
                key = (write.tenant_id, segment.device_id)
                if key not in self._known_devices:
                    new_devices.add(key)
                rows.append(
                    (
                        *key,
                        segment.first_time,
                        next(self._segment_ids),
                        segment.last_time,
                        segment.sample_count,
                        segment.payload,
                    )
                )
        _insert(writer, rows)
        for advance in itertools.compress(group.advances, advanced):
            if advance.rejected:
                _keep_rejections(writer, advance)
        if new_devices:
            now = time.time_ns()
            writer.exec_driver_sql(_INSERT_DEVICE, [(*key, now) for key in sorted(new_devices)])
        return CommitResult(advanced, submitted, [_open(writer, key) for key in group.opens])


def _sql(statement: sa.Executable) -> str:
    """Compile once: the hot path hands plain tuples to the driver."""
    assert isinstance(statement, sa.ClauseElement)  # noqa: S101
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


_r = rejected_batches.c
_c = stream_cursors.c
_ADVANCE = _sql(
    sa.update(stream_cursors)
    .values(committed_sequence=sa.bindparam("sequence"))
    .where(
        _c.tenant_id == sa.bindparam("tenant"),
        _c.stream_id == sa.bindparam("stream"),
        _c.epoch == sa.bindparam("at_epoch"),
        _c.committed_sequence == sa.bindparam("expected"),
    )
)
_CLAIM = _sql(sqlite.insert(request_results).on_conflict_do_nothing())
_OPEN = _sql(
    sqlite.insert(stream_cursors).on_conflict_do_update(
        index_elements=[_c.tenant_id, _c.stream_id],
        set_={
            "epoch": _c.epoch + sa.literal_column("1"),
            "update_time_unix_nano": sa.literal_column("excluded.update_time_unix_nano"),
        },
    )
)
_POSITION = _sql(
    sa.select(_c.epoch, _c.committed_sequence).where(
        _c.tenant_id == sa.bindparam("tenant"), _c.stream_id == sa.bindparam("stream")
    )
)
_INSERT_DEVICE = _sql(sqlite.insert(devices).on_conflict_do_nothing())
_SEGMENT_ROW = f"({', '.join('?' * len(telemetry_segments.c))})"
_INSERT_SEGMENT = _sql(sa.insert(telemetry_segments)).removesuffix(_SEGMENT_ROW)


def _advance(writer: sa.Connection, advance: StreamAdvance) -> bool:
    row = (advance.sequence, advance.tenant_id, advance.stream_id, advance.epoch, advance.expected)
    return writer.exec_driver_sql(_ADVANCE, row).rowcount == 1


def _claim(writer: sa.Connection, submission: Submission) -> Submitted:
    """Take a request_id, or tell what it was taken for."""
    if not submission.request_id:
        return Submitted.STORED
    key = (submission.tenant_id, submission.request_id)
    method = requests.method_of(submission)
    if writer.exec_driver_sql(_CLAIM, requests.row(*key, RequestResult(method, {}))).rowcount == 1:
        return Submitted.STORED
    taken = requests.get(writer, *key)
    return requests.repeated(method, taken.method if taken else "")


def _open(writer: sa.Connection, key: StreamKey) -> StreamPosition:
    writer.exec_driver_sql(_OPEN, (*key, 1, 0, time.time_ns()))
    epoch, committed = writer.exec_driver_sql(_POSITION, tuple(key)).one()
    kept = sa.select(_r.sequence, _r.reason, _r.message).where(
        _r.tenant_id == key.tenant_id,
        _r.stream_id == key.stream_id,
        _r.sequence > committed - REJECTIONS_KEPT,
    )
    rejected = tuple(Rejection._make(row) for row in writer.execute(kept.order_by(_r.sequence)))
    return StreamPosition(epoch, committed, rejected)


def _keep_rejections(writer: sa.Connection, advance: StreamAdvance) -> None:
    """Keep what an opening stream may still have to hear of, and no more."""
    key = {"tenant_id": advance.tenant_id, "stream_id": advance.stream_id}
    writer.execute(
        sa.delete(rejected_batches).where(
            _r.tenant_id == advance.tenant_id,
            _r.stream_id == advance.stream_id,
            _r.sequence <= advance.sequence - REJECTIONS_KEPT,
        )
    )
    kept = [each for each in advance.rejected if each.sequence > advance.sequence - REJECTIONS_KEPT]
    writer.execute(sa.insert(rejected_batches), [key | each._asdict() for each in kept])


def _insert(writer: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
    start = 0
    for size in _INSERT_ROWS:
        while len(rows) - start >= size:
            values = tuple(itertools.chain.from_iterable(rows[start : start + size]))
            writer.exec_driver_sql(_INSERT_SEGMENT + ", ".join([_SEGMENT_ROW] * size), values)
            start += size


def path_of(directory: Path) -> Path:
    """Give the path of the database in a data directory."""
    return directory / "spacelink.db"


def make_engine(directory: Path) -> sa.Engine:
    """Give an engine for the database in a data directory."""
    engine = sa.create_engine(
        f"sqlite:///{path_of(directory)}",
        connect_args={"check_same_thread": False},
        poolclass=sa.QueuePool,
        pool_size=8,
        max_overflow=-1,
    )

    def configure(connection: sqlite3.Connection, _: object) -> None:
        # The driver would only begin at the first write; SQLAlchemy's begin
        # event below does it, so that reads are transactions too.
        connection.isolation_level = None
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        for name, value in _PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")

    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("spacelink_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)
    return engine


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others off a data directory, which is made if need be.

    Raises:
        DataDirectoryInUseError: another process works on it.
        OSError: it cannot be made.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUseError(f"{directory} is in use by another server") from None
        # SQLite gives the files beside it the same mode.
        path_of(directory).touch(mode=0o600)
        yield
    finally:
        os.close(descriptor)
