"""Insertions that mind what is there already, for both stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from sqlalchemy import Table


def insert_missing(table: Table) -> postgresql.Insert:
    """Insert rows whose keys are not there yet; the rowcount tells how many were not."""
    # SQLite has taken the clause over from PostgreSQL, word for word. Without the
    # option the rowcount of an insertion is -1 with some drivers.
    statement = postgresql.insert(table).on_conflict_do_nothing()
    return statement.execution_options(preserve_rowcount=True)
