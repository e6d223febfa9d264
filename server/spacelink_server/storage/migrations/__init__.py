"""Alembic migrations of the schema."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from spacelink_server.storage import citus

if TYPE_CHECKING:
    from collections.abc import Iterator

# Held while the schema is looked at and changed, so that of several servers
# that start on an empty database one creates the tables. Any number that
# nothing else in the database uses.
_LOCK = sa.text("SELECT pg_advisory_xact_lock(5787213829999610191)")


class SchemaMismatchError(Exception):
    """The store's schema is not the one this version works with."""


class Migration(NamedTuple):
    """A step from one schema to the next."""

    revision: str
    title: str


class Status(NamedTuple):
    """Where a store's schema stands.

    Attributes:
        found: its revision; None: the store is empty.
        wanted: the one that this version works with.
        pending: what an upgrade applies, in order.
    """

    found: str | None
    wanted: str
    pending: tuple[Migration, ...]


def prepare(engine: sa.Engine) -> None:
    """Create the tables in an empty store, check them in any other.

    Raises:
        SchemaMismatchError: says which schema was found, which is needed, and
            what to do.
    """
    with _alone(engine) as connection:
        found = status(connection)
        if found.found is None:
            _upgrade(connection)
        elif found.pending:
            raise SchemaMismatchError(
                f"the store has schema {found.found}, this version of SpaceLink works with {found.wanted}: "
                "make a backup, stop the servers that work on it, and run 'spacelink db upgrade'"
            )


def upgrade(engine: sa.Engine) -> Status:
    """Apply the migrations that a store lacks, all or none.

    In a database with the Citus extension, tables that are not yet distributed
    are.

    Returns:
        Where it stood before.

    Raises:
        SchemaMismatchError: the store is of a newer version, or something else's.
    """
    with _alone(engine) as connection:
        before = status(connection)
        _upgrade(connection)
        return before


def status(connection: sa.Connection) -> Status:
    """Tell where a store's schema stands.

    Raises:
        SchemaMismatchError: the store is of a newer version, or something else's.
    """
    scripts = ScriptDirectory.from_config(_config())
    wanted = scripts.get_current_head()
    assert wanted is not None  # noqa: S101 - there are migrations
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaMismatchError(
            f"the store has schema {found}, which this version of SpaceLink does not know: it works with "
            f"{wanted}; run the version that made the store, or a newer one"
        )
    pending = [*scripts.iterate_revisions(wanted, found or "base")][::-1]
    return Status(found, wanted, tuple(Migration(script.revision, script.doc) for script in pending))


def _upgrade(connection: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    citus.distribute(connection)


@contextlib.contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Begin a transaction that changes the schema."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(_LOCK)
        yield connection


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
