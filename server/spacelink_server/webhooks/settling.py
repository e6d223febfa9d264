"""What becomes of a delivery, and of its webhook, after an attempt. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from spacelink_server.storage import audit, outbox, webhooks
from spacelink_server.storage.audit import Event
from spacelink_server.storage.outbox import Failure
from spacelink_server.webhooks import schedule

if TYPE_CHECKING:
    from spacelink_server.storage.outbox import Delivery
    from spacelink_server.storage.transactions import Connection
    from spacelink_server.storage.webhooks import Webhook
    from spacelink_server.webhooks.sending import Outcome

logger = logging.getLogger(__name__)


def delivered(connection: Connection, delivery: Delivery) -> None:
    """Settle a delivery that succeeded, in a write transaction, which need not be alone."""
    outbox.settle(connection, delivery)
    webhooks.note_success(connection, delivery.tenant_id, delivery.webhook_id)


def failed(connection: Connection, delivery: Delivery, outcome: Outcome, now: int) -> None:
    """Have a delivery that failed tried again, or given up, in a write transaction that is alone."""
    webhook = webhooks.get(connection, delivery.tenant_id, delivery.webhook_id)
    if webhook is None or webhook.disable_reason:
        return
    failing_since = webhook.failing_since or now
    reason = ""
    if outcome.is_gone:
        reason = "its receiver answered 410 Gone"
    elif now >= failing_since + schedule.DAY:
        reason = f"every attempt has failed for a day; the last one: {outcome.error}"
    first_failure = delivery.first_failure_time or now
    at = schedule.next_attempt(delivery.attempt_count + 1, first_failure, now, outcome.retry_after)
    outbox.retry(connection, delivery, Failure(now, outcome.status_code, outcome.error), at)
    outbox.forget(connection, delivery.tenant_id, delivery.webhook_id, now)
    webhook = webhook._replace(failing_since=failing_since)
    if outcome.retry_after is not None:
        until = now + int(outcome.retry_after * 1_000_000_000)
        webhook = webhook._replace(not_before=until)
        outbox.postpone(connection, webhook.tenant_id, webhook.webhook_id, until)
    webhooks.update(connection, webhook)
    if reason:
        disable(connection, webhook, reason)


def disable(connection: Connection, webhook: Webhook, reason: str) -> None:
    """Send a webhook nothing more, and tell the tenant by its other webhooks."""
    logger.warning("webhook %s of %s is disabled: %s", webhook.webhook_id, webhook.tenant_id, reason)
    webhooks.update(connection, webhook._replace(disable_reason=reason))
    outbox.bury(connection, webhook.tenant_id, webhook.webhook_id, f"the webhook was disabled: {reason}")
    detail = {"webhook_id": webhook.webhook_id, "display_name": webhook.display_name, "reason": reason}
    event = Event("system", "webhook.disable", f"webhook:{webhook.webhook_id}", detail=detail)
    audit.append(connection, webhook.tenant_id, event)
    outbox.append(connection, webhook.tenant_id, "webhook.disabled", detail)
