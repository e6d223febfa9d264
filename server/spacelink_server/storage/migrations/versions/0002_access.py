"""Tenants, tokens, bans, accounts, limits and the audit chain."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables of access control."""
    op.create_table(
        "tenants",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("samples_per_day", sa.BigInteger, nullable=False),
        sa.Column("max_devices", sa.BigInteger, nullable=False),
        sa.Column("domains", sa.Text, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tenant_keys",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("key_version", sa.BigInteger, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("expire_time_unix_nano", sa.BigInteger),
    )
    op.create_table(
        "users",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("user_name", name(128), primary_key=True),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("token_id", name(32), primary_key=True),
        sa.Column("key_version", sa.BigInteger, nullable=False),
        sa.Column("caveats", sa.Text, nullable=False),
        sa.Column("minter", sa.Text, nullable=False),
        sa.Column("mint_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("expire_time_unix_nano", sa.BigInteger),
        sa.Column("inherited_limits", sa.Text, nullable=False),
        sa.Index("tokens_by_time", "tenant_id", "mint_time_unix_nano", "token_id"),
        sa.Index("tokens_by_minter", "minter", "tenant_id"),
    )
    op.create_table(
        "token_ancestors",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("token_id", name(32), primary_key=True),
        sa.Column("ancestor_digest", sa.LargeBinary, primary_key=True),
        sa.Index("token_ancestors_by_digest", "ancestor_digest", "tenant_id"),
    )
    op.create_table(
        "token_uses",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("parent_digest", sa.LargeBinary),
        sa.Column("token_id", name(32), nullable=False),
        sa.Column("caveat", sa.Text, nullable=False),
        sa.Column("use_count", sa.BigInteger, nullable=False),
        sa.Column("first_use_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("last_use_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "bans",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("ban_id", name(32), primary_key=True),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("token_id", name(32)),
        sa.Column("minted_before_unix_nano", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ban_version",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("key_id", name(32), primary_key=True),
        sa.Column("secret_digest", sa.LargeBinary, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("token_id", name(32), nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("expire_time_unix_nano", sa.BigInteger),
        sa.Column("last_use_time_unix_nano", sa.BigInteger),
        sa.Column("revoked", sa.Boolean, nullable=False),
    )
    op.create_table(
        "audit_events",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("action", name(64), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("event_hash", sa.LargeBinary, nullable=False),
        sa.Index("audit_events_by_action", "tenant_id", "action", "sequence"),
    )
    op.create_table(
        "limit_state",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("limit_digest", sa.LargeBinary, primary_key=True),
        sa.Column("window_start_unix", sa.BigInteger, primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Index("limit_state_by_window", "tenant_id", "window_start_unix"),
    )
    op.create_table(
        "request_results",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("request_id", name(128), primary_key=True),
        sa.Column("method", name(128), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
    )
