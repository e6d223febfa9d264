"""Compacted segments, rollups, and how long both are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0003"
down_revision = "0002"

_METRICS = (
    "latency_ms",
    "jitter_ms",
    "packet_loss_percent",
    "signal_strength_dbm",
    "downlink_mbps",
    "uplink_mbps",
    "obstruction_percent",
    "power_w",
)


def upgrade() -> None:
    """Create the tables of maintenance."""
    op.create_table(
        "compacted_segments",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
        sa.Column("first_time_unix_nano", sa.BigInteger, primary_key=True),
        sa.Column("segment_id", sa.BigInteger, primary_key=True),
        sa.Column("last_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("sample_count", sa.Integer, nullable=False),
        sa.Column("format", sa.SmallInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "maintained_devices",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("newest_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("newest_sample", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "pending_windows",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("window_seconds", sa.Integer, primary_key=True),
        sa.Column("window_start_unix", sa.BigInteger, primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollups",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("window_seconds", sa.Integer, primary_key=True),
        sa.Column("device_id", name(128), primary_key=True),
        sa.Column("window_start_unix", sa.BigInteger, primary_key=True),
        sa.Column("sample_count", sa.Integer, nullable=False),
        sa.Column("active_count", sa.Integer, nullable=False),
        sa.Column("degraded_count", sa.Integer, nullable=False),
        sa.Column("offline_count", sa.Integer, nullable=False),
        sa.Column("maintenance_count", sa.Integer, nullable=False),
        sa.Column("first_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("last_time_unix_nano", sa.BigInteger, nullable=False),
        *(column for metric in _METRICS for column in _columns_of(metric)),
        sa.Column("extra", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    for column in ("raw_retention_days", "rollup_retention_days"):
        op.add_column("tenants", sa.Column(column, sa.Integer, nullable=False, server_default="0"))


def _columns_of(metric: str) -> list[sa.Column[Any]]:
    return [
        sa.Column(f"{metric}_count", sa.Integer),
        sa.Column(f"{metric}_sum", sa.Double),
        sa.Column(f"{metric}_min", sa.REAL),
        sa.Column(f"{metric}_max", sa.REAL),
        sa.Column(f"{metric}_histogram", sa.LargeBinary),
    ]
