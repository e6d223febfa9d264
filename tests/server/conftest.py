"""Fixtures of the server's tests."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from spacelink_server.access import first_start, passwords
from spacelink_server.storage.sqlite import SqliteStore
from tests.server.installation import running
from tests.server.stores import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from spacelink_server.storage.sql_store import SqlStore
    from tests.postgres import Cluster
    from tests.server.installation import Installation


KINDS = ("sqlite", "postgres")


def place_of(kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give the place of an empty store."""
    if kind == "sqlite":
        yield Place(directory)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.create_database()
    yield Place(directory, url)
    cluster.drop_database(url)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give the place of an empty store: tests that take it run against either kind."""
    yield from place_of(request.param, tmp_path, request)


@pytest.fixture
def either_store(place: Place) -> Iterator[SqlStore]:
    """Give an empty store of either kind."""
    store = place.open()
    yield store
    store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Give an empty store."""
    store = SqliteStore(tmp_path)
    yield store
    store.close()


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the data directory of an installation that was started once; to be copied."""
    directory = tmp_path_factory.mktemp("founded")
    store = SqliteStore(directory)
    first_start.prepare(store, directory, {})
    store.close()
    return directory


@pytest.fixture
async def installation(
    founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Installation]:
    """Give an installation that is running; its hashes of passwords are cheap."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    directory = tmp_path / "data"
    shutil.copytree(founded, directory)
    async with running(Place(directory)) as installation:
        yield installation
