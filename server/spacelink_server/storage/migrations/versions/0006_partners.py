"""Partners, the addresses they call from, sandboxes and webhooks."""

import sqlalchemy as sa
from alembic import op

from spacelink_server.storage.types import name

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables, and note in the limits what tenants were told."""
    op.create_table(
        "partners",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("partner_id", name(32), primary_key=True),
        sa.Column("partner_tenant_id", name(64), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("contact_email", sa.Text, nullable=False),
        sa.Column("user_name", name(128), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("approve_time_unix_nano", sa.BigInteger),
        sa.Index("partners_by_time", "tenant_id", "create_time_unix_nano", "partner_id"),
        sa.Index("partners_by_tenant", "tenant_id", "partner_tenant_id"),
    )
    op.create_table(
        "ip_allowlists",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("cidr", name(64), primary_key=True),
    )
    op.create_table(
        "sandboxes",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("owner_tenant_id", name(64), nullable=False),
    )
    op.create_table(
        "webhooks",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("webhook_id", name(32), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("event_types", sa.Text, nullable=False),
        sa.Column("payload", sa.Integer, nullable=False),
        sa.Column("secrets", sa.Text, nullable=False),
        sa.Column("create_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("disable_reason", sa.Text, nullable=False),
        sa.Column("failing_since_unix_nano", sa.BigInteger),
        sa.Column("not_before_unix_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant_id", name(64), primary_key=True),
        sa.Column("webhook_id", name(32), primary_key=True),
        sa.Column("event_id", name(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("ordering_key", name(128), nullable=False),
        sa.Column("event_type", name(64), nullable=False),
        sa.Column("event_time_unix_nano", sa.BigInteger, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("next_attempt_time_unix_nano", sa.BigInteger),
        sa.Column("first_failure_time_unix_nano", sa.BigInteger),
        sa.Column("lease_id", name(32), nullable=False),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Index("webhook_deliveries_due", "next_attempt_time_unix_nano", "tenant_id"),
        sa.Index("webhook_deliveries_in_order", "tenant_id", "webhook_id", "ordering_key", "sequence"),
        sa.Index("webhook_deliveries_by_sequence", "tenant_id", "sequence"),
    )
    op.add_column("limit_state", sa.Column("told_percent", sa.Integer, nullable=False, server_default="0"))
