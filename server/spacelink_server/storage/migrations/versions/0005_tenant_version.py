"""A number by which servers notice that others changed the tenants."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "tenant_version",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
