"""Numbers that count up with every change, so that servers notice those of others.

Such a table has one row, of tenant "*".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_INSTALLATION = "*"


def get(connection: Connection, table: Table) -> int:
    """Give the number."""
    query = sa.select(table.c.version).where(table.c.tenant_id == _INSTALLATION)
    return connection.scalar(query) or 0


def count_up(connection: Connection, table: Table) -> None:
    """Count one up, in the transaction of the change, which must be alone."""
    counted = sa.update(table).where(table.c.tenant_id == _INSTALLATION).values(version=table.c.version + 1)
    if not connection.execute(counted).rowcount:
        connection.execute(sa.insert(table).values((_INSTALLATION, 1)))
