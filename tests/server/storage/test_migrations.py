from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from spacelink_server.storage import migrations, postgres, sqlite
from spacelink_server.storage.opening import store_status, upgrade_store
from spacelink_server.storage.schema import metadata
from spacelink_server.storage.store import StoreUnavailableError
from tests.server.conftest import KINDS
from tests.server.stores import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Cluster


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give the place of a store that is not there yet."""
    if request.param == "sqlite":
        yield Place(tmp_path)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.create_database(empty=True)
    yield Place(tmp_path, url)
    cluster.drop_database(url)


@pytest.fixture
def engine(place: Place) -> Iterator[sa.Engine]:
    engine = postgres.make_engine(place.url) if place.url else sqlite.make_engine(place.directory)
    yield engine
    engine.dispose()


def differences(engine: sa.Engine, wanted: sa.MetaData) -> list[Any]:
    def fits(item: Any, _: object, kind: str, *__: object) -> bool:
        """Leave out the indexes that only PostgreSQL has."""
        only_postgres = kind == "index" and item.dialect_options["postgresql"]["using"]
        return engine.dialect.name == "postgresql" or not only_postgres

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": fits})
        return list(compare_metadata(context, wanted))


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


def test_a_failed_migration_leaves_nothing(place: Place, engine: sa.Engine) -> None:
    """The store's own connections make the statements one transaction."""
    last = metadata.tables["stream_cursors"].name
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {last} (x INTEGER)"))
    with pytest.raises(StoreUnavailableError, match="already exists"):
        place.open()
    assert sa.inspect(engine).get_table_names() == [last]
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {last}"))
    place.open().close()


def test_a_store_of_another_version_is_refused(place: Place, engine: sa.Engine) -> None:
    place.open().close()
    set_revision(engine, "9999")
    for _ in range(2):
        with pytest.raises(migrations.SchemaMismatchError, match="9999"):
            place.open()


def test_an_older_store_is_refused_until_it_is_upgraded(place: Place, engine: sa.Engine) -> None:
    """And keeps what was in it."""
    older = migrations.Migration("0001", "Devices, segments, stream cursors and rejected batches.")
    with engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, older.revision)
        connection.execute(metadata.tables["devices"].insert().values(tenant_id="t", device_id="d", **TIMES))
    with pytest.raises(migrations.SchemaMismatchError, match=r"schema 0001.*spacelink db upgrade"):
        place.open()
    before = store_status(place.directory, place.url)
    assert (before.found, before.pending[0].revision) == ("0001", "0002")
    assert upgrade_store(place.directory, place.url) == before
    after = store_status(place.directory, place.url)
    assert after == (before.wanted, before.wanted, ())
    assert upgrade_store(place.directory, place.url) == after
    store = place.open()
    try:
        assert store.device_ids("t") == ["d"]
    finally:
        store.close()


def test_the_status_of_a_store_that_is_not_there(place: Place) -> None:
    found = store_status(place.directory, place.url)
    assert found.found is None
    assert found.pending[-1].revision == found.wanted
    assert not list(place.directory.iterdir())


def test_servers_that_start_at_once_create_the_tables_once(place: Place) -> None:
    if not place.url:
        pytest.skip("one server at a time works on an embedded store")
    with ThreadPoolExecutor(4) as threads:
        for store in threads.map(lambda _: place.open(), range(4)):
            store.close()
