"""Both stores, for tests that are about either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spacelink_server.storage.postgres import PostgresStore
from spacelink_server.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink_server.storage.sql_store import SqlStore


@dataclass(frozen=True)
class Place:
    """Where a store is; it can be opened again once it was closed."""

    directory: Path
    url: str = ""

    def open(self) -> SqlStore:
        return PostgresStore(self.url) if self.url else SqliteStore(self.directory)
