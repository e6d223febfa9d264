"""The request_ids of submitted batches, beside those of all other calls."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# They were streams with this before their name.
_MOVE = sa.text("""
    INSERT INTO request_results
    SELECT tenant_id, substr(stream_id, 9), 'SubmitTelemetryRequest', '{}', update_time_unix_nano
    FROM stream_cursors WHERE stream_id LIKE 'request %'
    ON CONFLICT DO NOTHING""")
_DELETE = sa.text("DELETE FROM stream_cursors WHERE stream_id LIKE 'request %'")


def upgrade() -> None:
    """Move them; what they were used for is not known."""
    op.execute(_MOVE)
    op.execute(_DELETE)
