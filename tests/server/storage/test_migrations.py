from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from spacelink_server.storage import migrations
from spacelink_server.storage.schema import metadata
from spacelink_server.storage.sqlite import SqliteStore
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'spacelink.db'}")
    yield engine
    engine.dispose()


def differences(engine: sa.Engine, wanted: sa.MetaData) -> list[Any]:
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), wanted))


def revision(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def set_revision(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :new"), {"new": revision})


def test_migrations_make_the_tables_of_the_schema(engine: sa.Engine) -> None:
    migrations.prepare(engine)
    assert differences(engine, metadata) == []
    keys = sa.inspect(engine)
    for table in metadata.sorted_tables:
        # The comparison above leaves out primary keys.
        found = keys.get_pk_constraint(table.name)["constrained_columns"]
        assert found == [column.name for column in table.primary_key], table.name


def test_a_difference_would_be_seen(engine: sa.Engine) -> None:
    migrations.prepare(engine)
    wanted = sa.MetaData()
    for table in metadata.sorted_tables:
        table.to_metadata(wanted)
    wanted.tables["devices"].append_column(sa.Column("colour", sa.Integer))
    assert [difference[0] for difference in differences(engine, wanted)] == ["add_column"]


def test_preparing_again_changes_nothing(engine: sa.Engine) -> None:
    migrations.prepare(engine)
    found = revision(engine)
    assert found is not None
    with engine.begin() as connection:
        connection.execute(metadata.tables["devices"].insert().values(tenant_id="t", device_id="d", **TIMES))
    migrations.prepare(engine)
    assert revision(engine) == found
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables["devices"])) == 1


TIMES = {"create_time_unix_nano": 1}


def test_a_newer_schema_is_refused(engine: sa.Engine) -> None:
    migrations.prepare(engine)
    ours = revision(engine)
    set_revision(engine, "9999")
    with pytest.raises(migrations.SchemaMismatchError, match=f"9999.*{ours}"):
        migrations.prepare(engine)
    assert revision(engine) == "9999"


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """The store's own connections make the statements one transaction."""
    path = tmp_path / "spacelink.db"
    obstacle = sa.create_engine(f"sqlite:///{path}")
    last = metadata.tables["stream_cursors"].name
    with obstacle.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {last} (x INTEGER)"))
    with pytest.raises(StoreUnavailableError, match="already exists"):
        SqliteStore(tmp_path)
    assert sa.inspect(obstacle).get_table_names() == [last]
    with obstacle.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {last}"))
    obstacle.dispose()
    SqliteStore(tmp_path).close()


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'spacelink.db'}")
    set_revision(engine, "9999")
    engine.dispose()
    for _ in range(2):
        with pytest.raises(migrations.SchemaMismatchError, match="9999"):
            SqliteStore(tmp_path)
