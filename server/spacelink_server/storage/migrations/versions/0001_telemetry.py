"""Devices, segments, stream cursors and rejected batches."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of the telemetry path."""
    op.create_table(
        "devices",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "telemetry_segments",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
        sa.Column("first_time_unix_nano", sa.BigInteger, primary_key=True),
        sa.Column("segment_id", sa.BigInteger, primary_key=True),
        sa.Column("last_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("sample_count", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "stream_cursors",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("stream_id", name(160), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("committed_sequence", sa.BigInteger, nullable=False),
        sa.Column("update_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "rejected_batches",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("stream_id", name(160), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("reason", name(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        _tune()


def _tune() -> None:
    # Measured values hardly compress, and each commit would try.
    op.execute("ALTER TABLE telemetry_segments ALTER COLUMN payload SET STORAGE EXTERNAL")
    # Finds what is new, for next to nothing: ids and places in the table grow together.
    op.create_index(
        "telemetry_segments_by_id",
        "telemetry_segments",
        ["segment_id"],
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on", "pages_per_range": 32},
    )
    # Room for a cursor's next version on its page, without a new entry in the index.
    op.execute("ALTER TABLE stream_cursors SET (fillfactor = 50)")
