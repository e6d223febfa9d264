"""Alembic migrations of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Engine


class SchemaMismatchError(Exception):
    """The store's schema is not the one this version works with."""


def prepare(engine: Engine) -> None:
    """Create the tables in an empty store, check them in any other.

    Raises:
        SchemaMismatchError: says which schema was found and which is needed.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["engine"] = engine
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        command.upgrade(config, "head")
    elif found != head:
        raise SchemaMismatchError(
            f"the store has schema {found}, this version of SpaceLink works with {head}"
        )
