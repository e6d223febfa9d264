"""Devices, segments, stream cursors and rejected batches."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of the telemetry path."""
    op.create_table(
        "devices",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "telemetry_segments",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("first_time_unix_nano", sa.BigInteger, primary_key=True),
        sa.Column("segment_id", sa.BigInteger, primary_key=True),
        sa.Column("last_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("sample_count", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "stream_cursors",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("stream_id", sa.String(160), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("committed_sequence", sa.BigInteger, nullable=False),
        sa.Column("update_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "rejected_batches",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("stream_id", sa.String(160), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
