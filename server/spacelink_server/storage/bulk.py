"""Writes rows by the hundred, in few statements, and reads them by the thousand.

SQLite's driver gives up Python's global lock for each row that it is handed by
itself, and has to win it back from a busy event loop, while commits wait for
the transaction to end. PostgreSQL's driver sends such rows all at once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    _Row = tuple[object, ...]

# Rows in one statement. Fixed sizes keep the statements in the driver's cache;
# the largest has 3500 values where rows are widest, a tenth of what SQLite takes.
_SIZES = (64, 8, 1)
# Rows read at once: enough for a visit to the driver not to count.
_READ_ROWS = 1024


def read(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Read tens of thousands of rows, as the driver's own tuples, which need no conversion."""
    cursor = connection.execute(query).cursor
    # Not all at once: the collector of garbage would go over them many times.
    return iter(lambda: cursor.fetchmany(_READ_ROWS), [])


def insert(connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[_Row]) -> None:
    """Insert rows with values for the columns named."""
    if connection.dialect.name == "sqlite":
        _insert_many("INSERT", connection, table, names, rows)
    elif rows:
        connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in rows])


def replace(connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[_Row]) -> None:
    """Insert rows in place of those with the same primary keys, whose columns must be among those named."""
    if connection.dialect.name == "sqlite":
        _insert_many("INSERT OR REPLACE", connection, table, names, rows)
        return
    places = {column.name: names.index(column.name) for column in table.primary_key}
    delete(connection, table, list(places), [tuple(row[place] for place in places.values()) for row in rows])
    insert(connection, table, names, rows)


def delete(connection: sa.Connection, table: sa.Table, names: Sequence[str], keys: Sequence[_Row]) -> None:
    """Delete the rows of a table with row ids that have one of the keys, which are of the columns named."""
    if connection.dialect.name == "sqlite":
        # Keys that are joined are looked up in the index; a list of them is not.
        found = " AND ".join(f"found.{name} = wanted.{name}" for name in names)
        row = f"({', '.join('?' * len(names))})"
        statement = (
            f"WITH wanted ({', '.join(names)}) AS (VALUES {{}}) "  # noqa: S608 - names of ours
            f"DELETE FROM {table.name} WHERE rowid IN "
            f"(SELECT found.rowid FROM wanted CROSS JOIN {table.name} AS found ON {found})"
        )
        _run(connection, lambda count: statement.format(", ".join([row] * count)), keys)
    elif keys:
        conditions = [table.c[name] == sa.bindparam(f"_{name}") for name in names]
        rows = [{f"_{name}": value for name, value in zip(names, key, strict=True)} for key in keys]
        connection.execute(sa.delete(table).where(*conditions), rows)


def _insert_many(
    verb: str, connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[_Row]
) -> None:
    into = f"{verb} INTO {table.name} ({', '.join(names)}) VALUES"
    row = f"({', '.join('?' * len(names))})"
    _run(connection, lambda count: f"{into} {', '.join([row] * count)}", rows)


def _run(connection: sa.Connection, statement: Callable[[int], str], rows: Sequence[_Row]) -> None:
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            values = tuple(itertools.chain(*rows[start : start + size]))
            connection.exec_driver_sql(statement(size), values)
            start += size
