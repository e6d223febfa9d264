"""What the stores have in common: everything but how they commit."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from spacelink_server.storage.schema import devices
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spacelink_server.storage.store import CommitGroup, CommitResult
    from spacelink_server.storage.tail import CommitTail

_T = TypeVar("_T")
_Loaded = TypeVar("_Loaded")
_Made = TypeVar("_Made")


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
    def process(
        self,
        load: Callable[[sa.Connection], _Loaded | None],
        make: Callable[[_Loaded], _Made],
        store: Callable[[sa.Connection, _Made], None],
    ) -> _Loaded | None:
        """Make something out of what is stored, and store it; see Transactions."""

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
        raise StoreUnavailableError(_reason(error)) from error
    # The embedded driver's own: of connections that are just being opened.
    except (exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(str(error)) from error


def _reason(error: exc.DBAPIError) -> str:
    """Say in one line why the database failed."""
    text = (str(error.orig).splitlines() or [""])[0].strip()
    if error.statement is None and not isinstance(error.orig, sqlite3.Error):
        # There was no connection yet; what the driver adds below its first line is advice.
        return f"cannot connect to the database: {text.removeprefix('connection failed: ')}"
    return text


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
