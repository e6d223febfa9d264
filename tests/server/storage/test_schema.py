from __future__ import annotations

import sqlalchemy as sa

from spacelink_server.storage.schema import metadata

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
