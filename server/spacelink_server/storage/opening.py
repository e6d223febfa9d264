"""Opens and upgrades the store that the settings name."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from spacelink_server.storage import migrations, sqlite
from spacelink_server.storage.sql_store import as_unavailable
from spacelink_server.storage.sqlite import SqliteStore
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from spacelink_server.storage.migrations import Status
    from spacelink_server.storage.sql_store import SqlStore


def open_store(data_dir: Path, database: str) -> SqlStore:
    """Open a store, or create it where there is none.

    Args:
        data_dir: has the embedded store, and in any case the keys; made if need be.
        database: the URL of a PostgreSQL database; empty means the embedded store.

    Raises:
        DataDirectoryInUseError: another server works on the embedded store.
        SchemaMismatchError: the store belongs to another version.
        StoreUnavailableError: it cannot be opened.
        ValueError: database is no such URL.
    """
    if not database:
        return SqliteStore(data_dir)
    store: SqlStore = _postgres().PostgresStore(database)
    try:
        # Not before: where there is no database, nothing is to be left behind.
        with as_unavailable():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except BaseException:
        store.close()
        raise
    return store


def store_status(data_dir: Path, database: str) -> Status:
    """Tell where the schema of a store stands; see open_store. Nothing is made."""
    if not database and not data_dir.is_dir():
        raise StoreUnavailableError(f"there is no directory {data_dir}")
    if not database and not sqlite.path_of(data_dir).exists():
        with sa.create_engine("sqlite://").connect() as empty:
            return migrations.status(empty)
    engine = _postgres().make_engine(database) if database else sqlite.make_engine(data_dir)
    with as_unavailable(), _disposed(engine), engine.connect() as connection:
        return migrations.status(connection)


def upgrade_store(data_dir: Path, database: str) -> Status:
    """Upgrade the schema of a store, or create it, and tell where it stood before; see open_store."""
    if database:
        engine = _postgres().make_engine(database)
        with as_unavailable(), _disposed(engine):
            return migrations.upgrade(engine)
    with as_unavailable(), sqlite.locked(data_dir), _disposed(sqlite.make_engine(data_dir)) as engine:
        return migrations.upgrade(engine)


def _postgres() -> ModuleType:
    """Import what needs an extra of its own."""
    try:
        return importlib.import_module("spacelink_server.storage.postgres")
    except ModuleNotFoundError as error:
        raise StoreUnavailableError(
            f"a database needs the package {error.name}: pip install 'spacelink[postgres]'"
        ) from None


@contextlib.contextmanager
def _disposed(engine: sa.Engine) -> Iterator[sa.Engine]:
    try:
        yield engine
    finally:
        engine.dispose()
