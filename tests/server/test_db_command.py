"""`spacelink db`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from spacelink_server.db_command import db
from spacelink_server.storage.opening import store_status
from tests.server.conftest import KINDS
from tests.server.stores import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Cluster


def run(*arguments: str) -> Result:
    return CliRunner().invoke(db, arguments)


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give the place of a store that is not there yet."""
    if request.param == "sqlite":
        yield Place(tmp_path / "data")
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.create_database(empty=True)
    yield Place(tmp_path / "data", url)
    cluster.drop_database(url)


def flags(place: Place) -> list[str]:
    return ["--database", place.url] if place.url else ["--data-dir", str(place.directory)]


def test_a_store_is_created_and_needs_nothing_more(empty: Place) -> None:
    before = run("status", *flags(empty))
    assert "the store is empty" in before.output
    created = run("upgrade", *flags(empty))
    wanted = store_status(empty.directory, empty.url).wanted
    assert created.exit_code == 0
    assert "applied  0001  Devices, segments" in created.output
    assert created.output.endswith(f"schema {wanted}\n")
    assert run("upgrade", *flags(empty)).output == f"schema {wanted}\n"
    after = run("status", *flags(empty))
    assert after.output == f"schema {wanted}; this version of SpaceLink works with {wanted}\n"


def test_a_newer_store_is_left_alone(empty: Place) -> None:
    run("upgrade", *flags(empty))
    store = empty.open()
    store.transact(
        lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    )
    store.close()
    for command in ("status", "upgrade"):
        refused = run(command, *flags(empty))
        assert refused.exit_code == 1
        assert "schema 9999, which this version of SpaceLink does not know" in refused.output


def test_the_file_of_a_server_says_where_the_store_is(tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}\nlisten: 127.0.0.1:0\nworkers: 1\n")
    assert run("upgrade", "--config", str(config)).exit_code == 0
    assert (tmp_path / "data" / "spacelink.db").exists()


def test_a_store_in_use_is_not_upgraded(tmp_path: Path) -> None:
    store = Place(tmp_path).open()
    try:
        refused = run("upgrade", "--data-dir", str(tmp_path))
        assert refused.exit_code == 1
        assert "in use by another server" in refused.output
        # A look does no harm.
        assert run("status", "--data-dir", str(tmp_path)).exit_code == 0
    finally:
        store.close()


@pytest.mark.parametrize("command", ["status", "upgrade"])
def test_a_database_that_cannot_be_used(command: str) -> None:
    wrong = run(command, "--database", "mysql://h/d")
    assert wrong.exit_code == 2
    assert "expected a URL such as postgresql://" in wrong.output
    gone = run(command, "--database", "postgresql://u:sesame@127.0.0.1:1/d")
    assert gone.exit_code == 1
    assert "sesame" not in gone.output
