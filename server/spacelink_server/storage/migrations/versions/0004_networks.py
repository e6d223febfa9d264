"""Networks, score profiles and incidents."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables of networks."""
    op.create_table(
        "networks",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("network_id", name(128), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("sla", sa.Text, nullable=False),
        sa.Column("profile_id", name(128), nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "network_devices",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("network_id", name(128), primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
    )
    op.create_table(
        "score_profiles",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("profile_id", name(128), primary_key=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    is_open = sa.text("end_time_unix_nano IS NULL")
    op.create_table(
        "incidents",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("incident_id", name(32), primary_key=True),
        sa.Column("device_id", name(128), nullable=False),
        sa.Column("cause", sa.Integer, nullable=False),
        sa.Column("start_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("detect_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("end_time_unix_nano", sa.BigInteger),
        sa.Column("measured", sa.Double, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Index(
            "incidents_open",
            "tenant_id",
            "device_id",
            "cause",
            unique=True,
            sqlite_where=is_open,
            postgresql_where=is_open,
        ),
        sa.Index("incidents_by_time", "tenant_id", "start_time_unix_nano", "incident_id"),
        sa.Index("incidents_by_device", "tenant_id", "device_id", "cause", "start_time_unix_nano"),
    )
