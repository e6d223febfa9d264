"""The tables.

tenant_id is the first column of every key, so that the schema can be
distributed on it. Times are nanoseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

# The devices a tenant ever sent a sample of.
devices = Table(
    "devices",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("device_id", String(128), primary_key=True),
    Column("create_time_unix_nano", BigInteger, nullable=False),
)

# One row per stored batch: payload is a TelemetryBatch message with validated
# columns in time order, spanning at most segments.MAX_SPAN_NANOS.
telemetry_segments = Table(
    "telemetry_segments",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("device_id", String(128), primary_key=True),
    Column("first_time_unix_nano", BigInteger, primary_key=True),
    Column("segment_id", BigInteger, primary_key=True),
    Column("last_time_unix_nano", BigInteger, nullable=False),
    Column("sample_count", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

# How far each stream of batches is committed. A stream belongs to the newest
# epoch: writes of an older one are refused. update_time is when the stream was
# last opened.
stream_cursors = Table(
    "stream_cursors",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("stream_id", String(160), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("committed_sequence", BigInteger, nullable=False),
    Column("update_time_unix_nano", BigInteger, nullable=False),
)
