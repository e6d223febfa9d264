"""`spacelink db`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from spacelink_server.db_command import db
from spacelink_server.storage.opening import store_status
from tests.postgres import WAIT_SECONDS
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
        (tmp_path / "data").mkdir()
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


def test_a_directory_that_is_missing_is_no_empty_store(tmp_path: Path) -> None:
    missing = run("status", "--data-dir", str(tmp_path / "data"))
    assert missing.exit_code == 1
    assert missing.output == f"Error: there is no directory {tmp_path / 'data'}\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["status", "upgrade"])
@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("mysql://h/d", 2, "expected a URL such as postgresql://"),
        ("postgresql://u:sesame@127.0.0.1:x/d", 2, "expected a URL such as postgresql://"),
        ("postgresql://u:open@sesame@127.0.0.1/d", 2, "expected a URL with one @"),
        (
            "postgresql://u:sesame@127.0.0.1:1/d",
            1,
            'server at "127.0.0.1", port 1 failed: Connection refused',
        ),
        ("postgresql://u:sesame@nowhere.invalid/d", 1, "failed to resolve host 'nowhere.invalid'"),
        ("postgresql://u:sesame@127.0.0.1:1/d?no=1", 1, 'invalid connection option "no"'),
    ],
)
def test_a_database_that_cannot_be_used(command: str, url: str, status: int, said: str) -> None:
    gone = run(command, "--database", url)
    assert gone.exit_code == status
    assert_one_line(gone, said)


def assert_one_line(result: Result, said: str) -> None:
    *usage, error = result.output.splitlines()
    assert error.startswith("Error: ")
    assert said in error
    assert not [line for line in usage if "sage" not in line and "Try" not in line and line]
    assert "sesame" not in result.output


def test_a_database_that_refuses(cluster: Cluster) -> None:
    assert_one_line(run("status", "--database", cluster.url("no_such")), 'database "no_such" does not exist')
    url = cluster.create_database(empty=True)
    with password_needed(cluster, "locked"):
        wrong = run("status", "--database", url.replace("spacelink@", "locked:sesame@"))
    assert_one_line(wrong, 'password authentication failed for user "locked"')
    cluster.drop_database(url)


@contextmanager
def password_needed(cluster: Cluster, user: str) -> Iterator[None]:
    """Let a user in with a password only."""
    rules = cluster.data / "pg_hba.conf"
    usual = rules.read_text()
    url = cluster.url("postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'right'")
        rules.write_text(f"local all {user} scram-sha-256\n{usual}")
        try:
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + WAIT_SECONDS
            while is_let_in(url.replace("spacelink@", f"{user}:wrong@")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            rules.write_text(usual)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"DROP ROLE {user}")


def is_let_in(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
