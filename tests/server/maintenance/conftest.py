"""Maintenance works on either store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore


@pytest.fixture
def store(either_store: SqlStore) -> SqlStore:
    """Give an empty store."""
    return either_store
