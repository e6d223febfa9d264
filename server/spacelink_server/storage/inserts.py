"""Insertions that mind what is there already, for both stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from sqlalchemy import Table


def insert_missing(table: Table) -> postgresql.Insert:
    """Insert rows whose keys are not there yet; the rowcount tells how many were not."""
    # SQLite has taken the clause over from PostgreSQL, word for word.
    return postgresql.insert(table).on_conflict_do_nothing()
