"""Rejected batches, where the first schema was made without them."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0008"
down_revision = "0007"

_TABLE = "rejected_batches"


def upgrade() -> None:
    """Create the table that 0001 as it first was did not create."""
    if sa.inspect(op.get_bind()).has_table(_TABLE):
        return
    op.create_table(
        _TABLE,
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("stream_id", name(160), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("reason", name(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
