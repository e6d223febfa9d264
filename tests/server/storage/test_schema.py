from __future__ import annotations

import importlib
import pkgutil
import re
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import visitors

from spacelink_server import storage
from spacelink_server.storage import accounts, tenants
from spacelink_server.storage.accounts import User
from spacelink_server.storage.schema import REFERENCE, metadata
from spacelink_server.storage.tenants import Tenant
from spacelink_server.storage.types import name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink_server.storage.sql_store import SqlStore

TABLES = metadata.sorted_tables


def test_there_are_tables() -> None:
    assert {"devices", "telemetry_segments", "stream_cursors"} <= {table.name for table in TABLES}


def test_tenant_id_is_first_in_every_key() -> None:
    """What distributes the schema on tenant_id: no unique key may go without it."""
    for table in TABLES:
        unique = [index for index in table.indexes if index.unique]
        keys = [c for c in table.constraints if isinstance(c, sa.PrimaryKeyConstraint | sa.UniqueConstraint)]
        assert keys, table.name
        for key in (*keys, *unique):
            assert next(iter(key.columns)).name == "tenant_id", table.name


def test_there_are_no_foreign_keys() -> None:
    for table in TABLES:
        assert not table.foreign_keys, table.name


def test_keys_are_made_by_the_application() -> None:
    for table in TABLES:
        for column in table.primary_key:
            assert not column.nullable, f"{table.name}.{column.name}"
            assert column.server_default is None, f"{table.name}.{column.name}"
            assert table.autoincrement_column is not column, f"{table.name}.{column.name}"


def test_times_have_64_bits() -> None:
    for table in TABLES:
        for column in table.columns:
            if column.name.endswith(("_unix_nano", "_unix")):
                assert isinstance(column.type, sa.BigInteger), f"{table.name}.{column.name}"


# What lets Citus distribute the tables


def test_only_small_tables_are_on_every_node() -> None:
    """All that grows with the devices or the calls is distributed."""
    reference = {table.name for table in TABLES if REFERENCE in table.info}
    assert reference == {
        "api_keys",
        "ban_version",
        "bans",
        "ip_allowlists",
        "partners",
        "sandboxes",
        "tenant_keys",
        "tenant_version",
        "tenants",
        "token_ancestors",
        "tokens",
        "users",
    }


def test_tables_are_distributed_by_columns_of_one_type() -> None:
    """Tables of one type of column are kept together, tenant by tenant."""
    assert {repr(table.c.tenant_id.type) for table in TABLES} == {repr(name(64))}


def test_names_in_keys_are_ordered_by_their_bytes() -> None:
    """Pages and locks go by the order of names, which must not depend on a database's locale."""
    dialect = postgresql.dialect()
    for table in TABLES:
        indexed = {column for index in table.indexes for column in index.columns} | {*table.primary_key}
        for column in indexed:
            if isinstance(column.type, sa.Text) or not isinstance(column.type, sa.String):
                continue
            kind = column.type.dialect_impl(dialect)
            assert kind.collation == "C", f"{table.name}.{column.name}: declare it with types.name"  # type: ignore[attr-defined]


def statements() -> Iterator[tuple[str, sa.ClauseElement]]:
    """Give the statements that the modules of storage keep."""
    for module in pkgutil.iter_modules(storage.__path__, f"{storage.__name__}."):
        for place, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, sa.ClauseElement):
                yield f"{module.name}.{place}", value


def test_what_joins_tables_joins_those_of_every_node() -> None:
    joined = []
    for place, statement in statements():
        tables = {part for part in visitors.iterate(statement) if isinstance(part, sa.Table)}
        if isinstance(statement, sa.Select) and len(tables) > 1:
            joined.append(place)
            assert all(REFERENCE in table.info for table in tables), place
    assert joined, "there is nothing to look at any more"


def test_no_update_sets_a_column_of_a_key() -> None:
    updates = [(place, found) for place, found in statements() if isinstance(found, sa.Update)]
    assert updates
    for place, update in updates:
        assert isinstance(update.table, sa.Table)
        set_columns = re.findall(r"(\w+)=", str(update).partition(" WHERE ")[0])
        assert set_columns, place
        assert not {column.name for column in update.table.primary_key} & {*set_columns}, place


def test_replacing_rows_sets_no_column_of_a_key(store: SqlStore) -> None:
    """Of these the statements are made anew each time."""
    said: list[str] = []
    sa.event.listen(store._engine, "before_cursor_execute", lambda *args: said.append(args[2]))

    def work(connection: sa.Connection) -> None:
        tenants.update(connection, Tenant("t", "T", 1, 1, (), 0))
        accounts.update(connection, User("t", "u", 1, "hash", False, 0))

    store.transact(work)
    updates = [statement for statement in said if statement.startswith(("UPDATE tenants", "UPDATE users"))]
    assert len(updates) == 2
    for update in updates:
        assert not re.search(r"(tenant_id|user_name)=", update.partition(" WHERE ")[0])


def test_the_database_has_nothing_that_cannot_be_distributed(database: str) -> None:
    with psycopg.connect(database) as connection:
        for query in (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT sequencename FROM pg_sequences",
            "SELECT conname FROM pg_constraint WHERE contype = 'f'",
        ):
            assert connection.execute(query).fetchall() == []
