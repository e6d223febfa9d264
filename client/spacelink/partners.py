"""What the server tells of partners, their sandboxes and their webhooks.

Times are datetimes in UTC, or None where there is none. What gives its holder
rights is not in repr().
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Partner:
    """Somebody whose systems work with this installation.

    Attributes:
        partner_id: names the partner; not its tenant.
        state: "pending" or "approved".
        tenant_id: its tenant; while it is pending, the one that it asks for.
        display_name: for people.
        contact_email: whom to ask.
        user_name: the tenant's first user.
        create_time: when it registered, or was made.
        approve_time: when it was approved.
    """

    partner_id: str
    state: str
    tenant_id: str
    display_name: str
    contact_email: str
    user_name: str
    create_time: datetime | None
    approve_time: datetime | None


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A tenant to try things in.

    Attributes:
        tenant_id: the sandbox's tenant.
        device_ids: its simulated devices.
        start_time: the first time of their telemetry.
        end_time: the time that it ends before.
    """

    tenant_id: str
    device_ids: tuple[str, ...]
    start_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewSandbox:
    """A sandbox that was just made, or reset.

    Attributes:
        secret: an API key of the sandbox, which the server cannot show again.
        sandbox: the sandbox.
    """

    secret: str = field(repr=False)
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are sent, and which.

    Attributes:
        webhook_id: names the webhook.
        display_name: for people.
        url: where they are sent.
        event_types: which are sent; none means all.
        payload: the form they have: "spacelink", "cloudevents" or "alertmanager".
        create_time: when it was made.
        disabled: whether nothing is sent.
        disable_reason: why nothing is sent.
        failing_since: since when every attempt has failed.
        old_secret_expire_time: when the last secret but the current one stops
            being used.
    """

    webhook_id: str
    display_name: str
    url: str
    event_types: tuple[str, ...]
    payload: str
    create_time: datetime | None
    disabled: bool
    disable_reason: str
    failing_since: datetime | None
    old_secret_expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook with a secret that was just made.

    Attributes:
        secret: what deliveries are signed with, "whsec_…" as Standard Webhooks
            has it; the server does not show it again.
        webhook: the webhook.
    """

    secret: str = field(repr=False)
    webhook: Webhook


@dataclass(frozen=True, slots=True)
class WebhookTest:
    """What came of a test.

    Attributes:
        delivered: whether the event was taken.
        status_code: the status of the answer, such as 204; 0 where there was none.
        error: why it was not taken, for people.
    """

    delivered: bool
    status_code: int
    error: str


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """An event that a webhook was not sent.

    Attributes:
        event_id: names the event: the header webhook-id.
        event_type: what it is, such as "incident.opened".
        event_time: when it happened.
        data_json: its data, as JSON.
        state: "pending", or "dead" where it is not tried any more.
        attempt_count: how often it was tried.
        next_attempt_time: when it is tried next.
        status_code: the status of the last answer; 0 where there was none.
        error: why the last attempt failed, for people.
    """

    event_id: str
    event_type: str
    event_time: datetime | None
    data_json: str
    state: str
    attempt_count: int
    next_attempt_time: datetime | None
    status_code: int
    error: str
