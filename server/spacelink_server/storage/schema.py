"""The tables.

tenant_id is the first column of every key, so that the schema can be
distributed on it. Times are nanoseconds since 1970-01-01 UTC. Names are ordered
by their bytes, in every database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

from spacelink.columns import METRICS
from spacelink_server.storage.types import name

# In a table's info: where the tables are distributed, it is not. It is small, or
# asked for across tenants.
REFERENCE = "reference"

metadata = MetaData()

# The devices a tenant ever sent a sample of.
devices = Table(
    "devices",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("device_id", name(128), primary_key=True),
    Column("create_time_unix_nano", BigInteger, nullable=False),
)

# One row per stored batch, until maintenance has taken it in: payload is a
# TelemetryBatch message with validated columns in time order, spanning at most
# segments.MAX_SPAN_NANOS. A table of its own: what is still to be done is found
# without an index that ingest would have to keep.
telemetry_segments = Table(
    "telemetry_segments",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("device_id", name(128), primary_key=True),
    Column("first_time_unix_nano", BigInteger, primary_key=True),
    Column("segment_id", BigInteger, primary_key=True),
    Column("last_time_unix_nano", BigInteger, nullable=False),
    Column("sample_count", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    # Finds what any server committed of late.
    Index(
        "telemetry_segments_by_id",
        "segment_id",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on", "pages_per_range": 32},
    ).ddl_if(dialect="postgresql"),
)

# What maintenance has taken in. No row reaches over the end of an hour (UTC), and
# all of them are in the rollups.
compacted_segments = Table(
    "compacted_segments",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("device_id", name(128), primary_key=True),
    Column("first_time_unix_nano", BigInteger, primary_key=True),
    # The newest of the segments that it was made of.
    Column("segment_id", BigInteger, primary_key=True),
    Column("last_time_unix_nano", BigInteger, nullable=False),
    Column("sample_count", Integer, nullable=False),
    Column("format", SmallInteger, nullable=False),  # see segments.py
    Column("payload", LargeBinary, nullable=False),
)

# The state of a device's compacted segments and rollups. Every change of them
# counts version up and is undone where another worker has done so before.
maintained_devices = Table(
    "maintained_devices",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("device_id", name(128), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("newest_time_unix_nano", BigInteger, nullable=False),
    Column("newest_sample", LargeBinary, nullable=False),  # a TelemetryBatch message
)

# Hours and days with samples that are not in a compacted hour, or not in the
# rollup of the window.
pending_windows = Table(
    "pending_windows",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("window_seconds", Integer, primary_key=True),
    Column("window_start_unix", BigInteger, primary_key=True),
    Column("device_id", name(128), primary_key=True),
    sqlite_with_rowid=False,
)


def _metric_columns(metric: str) -> list[Column[Any]]:
    """Name the columns of a metric; all are NULL where it has no value, or no histogram is kept."""
    return [
        Column(f"{metric}_count", Integer),
        Column(f"{metric}_sum", Double),
        Column(f"{metric}_min", REAL),
        Column(f"{metric}_max", REAL),
        Column(f"{metric}_histogram", LargeBinary),  # see rollups.py
    ]


# A device's samples in a window: a minute, an hour or a day.
rollups = Table(
    "rollups",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("window_seconds", Integer, primary_key=True),
    Column("device_id", name(128), primary_key=True),
    Column("window_start_unix", BigInteger, primary_key=True),
    Column("sample_count", Integer, nullable=False),
    Column("active_count", Integer, nullable=False),
    Column("degraded_count", Integer, nullable=False),
    Column("offline_count", Integer, nullable=False),
    Column("maintenance_count", Integer, nullable=False),
    Column("first_time_unix_nano", BigInteger, nullable=False),
    Column("last_time_unix_nano", BigInteger, nullable=False),
    *(column for metric in METRICS for column in _metric_columns(metric)),
    # Between samples; NULL: made before these were noted.
    Column("longest_gap_nanos", BigInteger),
    Column("last_gap_nanos", BigInteger),
    Column("extra", LargeBinary),  # a RollupExtras message of spacelink.storage.v1
    sqlite_with_rowid=False,
)

# How far each stream of batches is committed. A stream belongs to the newest
# epoch: writes of an older one are refused. update_time is when the stream was
# last opened.
stream_cursors = Table(
    "stream_cursors",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("stream_id", name(160), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("committed_sequence", BigInteger, nullable=False),
    Column("update_time_unix_nano", BigInteger, nullable=False),
)

# Which of a stream's last batches were rejected, and why. Kept until a producer
# must have heard of it.
rejected_batches = Table(
    "rejected_batches",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("stream_id", name(160), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("reason", name(64), nullable=False),
    Column("message", Text, nullable=False),
)

# tenant_id "*" is the installation itself: it has keys, but no data.
tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("samples_per_day", BigInteger, nullable=False),
    Column("max_devices", BigInteger, nullable=False),
    Column("domains", Text, nullable=False),  # a JSON list
    Column("create_time_unix_nano", BigInteger, nullable=False),
    # How long samples and rollups are kept; 0 is for ever.
    Column("raw_retention_days", Integer, nullable=False, server_default="0"),
    Column("rollup_retention_days", Integer, nullable=False, server_default="0"),
    info={REFERENCE: True},
)

# Which keys sign a tenant's tokens. The keys themselves are derived from the
# master key; the fingerprint tells whether it is the right one.
tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("key_version", BigInteger, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
    Column("expire_time_unix_nano", BigInteger),  # NULL: the key of new tokens
    info={REFERENCE: True},
)

# One row, of tenant "*": counts up with every change of a tenant or its keys.
tenant_version = Table(
    "tenant_version",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    info={REFERENCE: True},
)

users = Table(
    "users",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("user_name", name(128), primary_key=True),
    Column("role", Integer, nullable=False),  # spacelink.v1.Role
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("disabled", Boolean, nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
    info={REFERENCE: True},
)

# What is kept of tokens that were minted; the tokens are not.
tokens = Table(
    "tokens",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("token_id", name(32), primary_key=True),
    Column("key_version", BigInteger, nullable=False),
    Column("caveats", Text, nullable=False),  # a JSON list
    Column("minter", Text, nullable=False),
    Column("mint_time_unix_nano", BigInteger, nullable=False),
    Column("expire_time_unix_nano", BigInteger),
    # Limits of the minter that the token draws from, too: a JSON list of
    # [tenant_id, digest in hex, caveat].
    Column("inherited_limits", Text, nullable=False),
    Index("tokens_by_time", "tenant_id", "mint_time_unix_nano", "token_id"),
    # The minter first: the bans of the installation look for it in all tenants.
    Index("tokens_by_minter", "minter", "tenant_id"),
    info={REFERENCE: True},
)

# The digests of the prefix signatures of a token's minter, and of the minter's
# own minter: a ban on any of them is a ban on the token.
token_ancestors = Table(
    "token_ancestors",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("token_id", name(32), primary_key=True),
    Column("ancestor_digest", LargeBinary, primary_key=True),
    # Finds what a ban bans.
    Index("token_ancestors_by_digest", "ancestor_digest", "tenant_id"),
    info={REFERENCE: True},
)

# Every token seen and every prefix of it, with how often it was presented.
token_uses = Table(
    "token_uses",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("parent_digest", LargeBinary),
    Column("token_id", name(32), nullable=False),
    Column("caveat", Text, nullable=False),
    Column("use_count", BigInteger, nullable=False),
    Column("first_use_time_unix_nano", BigInteger, nullable=False),
    Column("last_use_time_unix_nano", BigInteger, nullable=False),
)

# A ban has one of digest, token_id and minted_before.
bans = Table(
    "bans",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("ban_id", name(32), primary_key=True),
    Column("digest", LargeBinary),
    Column("token_id", name(32)),
    Column("minted_before_unix_nano", BigInteger),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
    info={REFERENCE: True},
)

# One row, of tenant "*": counts up with every ban and unban.
ban_version = Table(
    "ban_version",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    info={REFERENCE: True},
)

# Keys that stand for tokens: the token is minted anew from the tenant's key
# with its id and caveats, so that neither is stored.
api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("key_id", name(32), primary_key=True),
    Column("secret_digest", LargeBinary, nullable=False),  # SHA-256
    Column("display_name", Text, nullable=False),
    Column("token_id", name(32), nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
    Column("expire_time_unix_nano", BigInteger),
    Column("last_use_time_unix_nano", BigInteger),
    Column("revoked", Boolean, nullable=False),
    info={REFERENCE: True},
)

# A chain of hashes for each tenant. event is the canonical JSON that was
# hashed, without the hash itself.
audit_events = Table(
    "audit_events",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("action", name(64), nullable=False),
    Column("event", Text, nullable=False),
    Column("event_hash", LargeBinary, nullable=False),
    Index("audit_events_by_action", "tenant_id", "action", "sequence"),
)

# Units of a rate limit or a quota that are used up or leased in a window.
limit_state = Table(
    "limit_state",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("limit_digest", LargeBinary, primary_key=True),
    Column("window_start_unix", BigInteger, primary_key=True),
    Column("used", BigInteger, nullable=False),
    # How full the tenant was told that its quota is, in percent; 0: it was not.
    Column("told_percent", Integer, nullable=False, server_default="0"),
    # Finds the rows of windows that are over.
    Index("limit_state_by_window", "tenant_id", "window_start_unix"),
)

# Answers to mutating calls with a request_id, so that a repeated call gives the
# same. Nothing secret: an answer names what was made.
request_results = Table(
    "request_results",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("request_id", name(128), primary_key=True),
    Column("method", name(128), nullable=False),
    Column("result", Text, nullable=False),  # JSON
    Column("create_time_unix_nano", BigInteger, nullable=False),
)

# Who works with the installation, or asks to: tenant_id is the default tenant,
# which partners belong to; partner_tenant_id is their own, once it is approved.
partners = Table(
    "partners",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("partner_id", name(32), primary_key=True),
    Column("partner_tenant_id", name(64), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("contact_email", Text, nullable=False),
    Column("user_name", name(128), nullable=False),
    # argon2id; empty once the user is made, who has it then.
    Column("password_hash", Text, nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
    Column("approve_time_unix_nano", BigInteger),  # NULL: it is pending
    Index("partners_by_time", "tenant_id", "create_time_unix_nano", "partner_id"),
    Index("partners_by_tenant", "tenant_id", "partner_tenant_id"),
    info={REFERENCE: True},
)

# From where a tenant's tokens are good; a tenant without rows has no such bound.
ip_allowlists = Table(
    "ip_allowlists",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("cidr", name(64), primary_key=True),
    info={REFERENCE: True},
)

# Tenants to try things in. tenant_id is the sandbox's own.
sandboxes = Table(
    "sandboxes",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("owner_tenant_id", name(64), nullable=False),
    info={REFERENCE: True},
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("webhook_id", name(32), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", Text, nullable=False),  # a JSON list
    Column("payload", Integer, nullable=False),  # spacelink.v1.WebhookPayload
    # The versions of its secret that are in use, newest first: a JSON list of
    # [version, time it expires or null]. The secrets themselves are derived
    # from the master key.
    Column("secrets", Text, nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
    Column("disable_reason", Text, nullable=False),  # empty: it is not disabled
    Column("failing_since_unix_nano", BigInteger),  # NULL: the last attempt succeeded
    # Its receiver asked not to be sent anything before.
    Column("not_before_unix_nano", BigInteger, nullable=False),
)

# The outbox: events that webhooks are yet to be sent, and dead letters. What is
# delivered is deleted.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("webhook_id", name(32), primary_key=True),
    Column("event_id", name(32), primary_key=True),
    # Counts up with a tenant's events.
    Column("sequence", BigInteger, nullable=False),
    # Events of one key are delivered in their order; empty: in any.
    Column("ordering_key", name(128), nullable=False),
    Column("event_type", name(64), nullable=False),
    Column("event_time_unix_nano", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("attempt_count", Integer, nullable=False),
    # When it may be tried; while it is being tried, when whoever does is taken
    # for lost. NULL: it is a dead letter.
    Column("next_attempt_time_unix_nano", BigInteger),
    Column("first_failure_time_unix_nano", BigInteger),  # NULL: there was none
    Column("lease_id", name(32), nullable=False),  # empty: nobody tries it
    Column("status_code", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Index("webhook_deliveries_due", "next_attempt_time_unix_nano", "tenant_id"),
    Index("webhook_deliveries_in_order", "tenant_id", "webhook_id", "ordering_key", "sequence"),
    Index("webhook_deliveries_by_sequence", "tenant_id", "sequence"),
)

# Named sets of devices. sla is a spacelink.v1.Sla as JSON.
networks = Table(
    "networks",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("network_id", name(128), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("sla", Text, nullable=False),
    Column("profile_id", name(128), nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
)

# A device may be in any number of networks, before it ever sent a sample too.
network_devices = Table(
    "network_devices",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("network_id", name(128), primary_key=True),
    Column("device_id", name(128), primary_key=True),
)

# Score profiles of the tenants' own. profile is a spacelink.v1.ScoreProfile as
# JSON; it never changes.
score_profiles = Table(
    "score_profiles",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("profile_id", name(128), primary_key=True),
    Column("profile", Text, nullable=False),
    Column("create_time_unix_nano", BigInteger, nullable=False),
)

# What a tenant was told of a network's SLA in a period: 1 that it is at risk, 2 that
# it is breached.
sla_alerts = Table(
    "sla_alerts",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("network_id", name(128), primary_key=True),
    Column("period_start_unix_nano", BigInteger, primary_key=True),
    Column("level", SmallInteger, nullable=False),
)

_OPEN = text("end_time_unix_nano IS NULL")

# What was wrong with a device, and when. The unique index lets only one server
# open an incident of a device and cause, until it is closed.
incidents = Table(
    "incidents",
    metadata,
    Column("tenant_id", name(64), primary_key=True),
    Column("incident_id", name(32), primary_key=True),
    Column("device_id", name(128), nullable=False),
    Column("cause", Integer, nullable=False),  # spacelink.v1.IncidentCause
    Column("start_time_unix_nano", BigInteger, nullable=False),
    Column("detect_time_unix_nano", BigInteger, nullable=False),
    Column("end_time_unix_nano", BigInteger),  # NULL: it is open
    Column("measured", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Index(
        "incidents_open",
        "tenant_id",
        "device_id",
        "cause",
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
    Index("incidents_by_time", "tenant_id", "start_time_unix_nano", "incident_id"),
    Index("incidents_by_device", "tenant_id", "device_id", "cause", "start_time_unix_nano"),
)
