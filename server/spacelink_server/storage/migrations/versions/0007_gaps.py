"""How far apart the samples of a rollup are, so that it tells whether a device was ever silent."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; rollups that are there know nothing of gaps."""
    for column in ("longest_gap_nanos", "last_gap_nanos"):
        op.add_column("rollups", sa.Column(column, sa.BigInteger))
