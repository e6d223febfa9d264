"""Types of columns."""

import sqlalchemy as sa


def name(length: int) -> sa.String:
    """Give the type of names: ordered by their bytes, as SQLite does and whatever locale a database has."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
