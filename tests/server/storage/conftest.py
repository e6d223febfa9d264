"""Each test of the store runs against SQLite and against a real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.stores import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spacelink_server.storage.sql_store import SqlStore
    from tests.postgres import Cluster

KINDS = ("sqlite", "postgres")


def place_of(kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    if kind == "sqlite":
        yield Place(directory)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.create_database()
    yield Place(directory, url)
    cluster.drop_database(url)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give the place of a store that is empty."""
    yield from place_of(request.param, tmp_path, request)


@pytest.fixture
def store(place: Place) -> Iterator[SqlStore]:
    """Give an empty store."""
    store = place.open()
    yield store
    store.close()


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    """Give a store that tests share which take names of their own."""
    for place in place_of(request.param, tmp_path_factory.mktemp("store"), request):
        store = place.open()
        yield store
        store.close()
