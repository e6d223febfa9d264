"""Spreads the tables over a Citus cluster, where the database has the extension.

A table is distributed by tenant_id, so that what is about one tenant is on one
node, unless its info says that it is a reference table: then every node has all
of it, and it may be joined with any table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from spacelink_server.storage.schema import REFERENCE, metadata, telemetry_segments

if TYPE_CHECKING:
    from sqlalchemy import Connection

_HAS_EXTENSION = sa.text("SELECT count(*) FROM pg_extension WHERE extname = 'citus'")
_KNOWN = sa.text("SELECT logicalrelid::regclass::text FROM pg_dist_partition")
_DISTRIBUTE = sa.text("SELECT create_distributed_table(:name, 'tenant_id')")
_MAKE_REFERENCE = sa.text("SELECT create_reference_table(:name)")


def is_distributed(connection: Connection) -> bool:
    """Tell whether the store's tables are spread over a cluster."""
    return telemetry_segments.name in _known_tables(connection)


def distribute(connection: Connection) -> None:
    """Distribute the tables that are not yet; does nothing without the extension."""
    if not _has_extension(connection):
        return
    known = _known_tables(connection)
    for table in metadata.sorted_tables:
        if table.name not in known:
            statement = _MAKE_REFERENCE if REFERENCE in table.info else _DISTRIBUTE
            connection.execute(statement, {"name": table.name})


def _has_extension(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql" and bool(connection.scalar(_HAS_EXTENSION))


def _known_tables(connection: Connection) -> set[str]:
    return set(connection.scalars(_KNOWN)) if _has_extension(connection) else set()
