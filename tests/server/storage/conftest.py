"""Each test of the store runs against SQLite and against a real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.conftest import KINDS, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink_server.storage.sql_store import SqlStore


@pytest.fixture
def store(either_store: SqlStore) -> SqlStore:
    """Give an empty store."""
    return either_store


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    """Give a store that tests share which take names of their own."""
    for place in place_of(request.param, tmp_path_factory.mktemp("store"), request):
        store = place.open()
        yield store
        store.close()
