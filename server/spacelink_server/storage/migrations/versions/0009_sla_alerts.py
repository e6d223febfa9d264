"""What tenants were told of their SLAs."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "sla_alerts",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("network_id", name(128), primary_key=True),
        sa.Column("period_start_unix_nano", sa.BigInteger, primary_key=True),
        sa.Column("level", sa.SmallInteger, nullable=False),
    )
