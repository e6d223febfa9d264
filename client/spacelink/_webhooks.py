"""Calls of PartnerService that manage webhooks."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from spacelink._client import AsyncClient
from spacelink._messages import duration, enum_number, record
from spacelink.partners import NewWebhook, Webhook, WebhookDelivery, WebhookTest
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import timedelta

    from spacelink.v1.partner_pb2_grpc import PartnerServiceAsyncStub


class AsyncWebhooks(AsyncClient):
    """Has events sent, and looks after what was not."""

    @property
    def _hooks(self) -> PartnerServiceAsyncStub:
        return PartnerServiceStub(self._channel)

    async def create_webhook(
        self,
        url: str,
        event_types: Iterable[str] = (),
        *,
        payload: str = "spacelink",
        display_name: str = "",
    ) -> NewWebhook:
        """Have events sent to a URL.

        Args:
            url: where to send them: https, at a public address.
            event_types: which, such as "incident.opened"; none means all.
            payload: "spacelink", "cloudevents" or "alertmanager".
            display_name: for people.

        Returns:
            The webhook with its secret, which cannot be had again.

        Raises:
            ValueError: there is no such payload.
            InvalidArgumentError: names the field and what would be right.
        """
        request = pb.CreateWebhookRequest(
            url=url,
            event_types=event_types,
            payload=enum_number(pb.WebhookPayload.DESCRIPTOR, "payload", payload),
            display_name=display_name,
            request_id=str(uuid.uuid4()),
        )
        return _new_webhook(await self._unary(self._hooks.CreateWebhook, request))

    async def list_webhooks(self) -> AsyncGenerator[Webhook]:
        """List the tenant's webhooks, newest first; pages are fetched as they are needed."""
        async for page in self._pages(self._hooks.ListWebhooks, pb.ListWebhooksRequest()):
            for webhook in page.webhooks:
                yield record(Webhook, webhook)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook, and what it was yet to be sent.

        Raises:
            NotFoundError: there is no such webhook.
        """
        # Made again after it was served, it would find no webhook.
        request = pb.DeleteWebhookRequest(webhook_id=webhook_id)
        await self._unary(self._hooks.DeleteWebhook, request, repeatable=False)

    async def test_webhook(self, webhook_id: str) -> WebhookTest:
        """Send the event "webhook.test" at once, and tell what came of it.

        Raises:
            NotFoundError: there is no such webhook.
        """
        request = pb.TestWebhookRequest(webhook_id=webhook_id)
        response = await self._unary(self._hooks.TestWebhook, request)
        return record(WebhookTest, response)

    async def enable_webhook(self, webhook_id: str) -> Webhook:
        """Have events sent again by a webhook that is disabled.

        Raises:
            NotFoundError: there is no such webhook.
        """
        request = pb.EnableWebhookRequest(webhook_id=webhook_id)
        return record(Webhook, (await self._unary(self._hooks.EnableWebhook, request)).webhook)

    async def rotate_webhook_secret(self, webhook_id: str, *, overlap: timedelta | None = None) -> NewWebhook:
        """Give a webhook a new secret.

        Args:
            webhook_id: the webhook.
            overlap: how long deliveries are signed with the old secret, too;
                None means 24 hours.

        Raises:
            NotFoundError: there is no such webhook.
        """
        request = pb.RotateWebhookSecretRequest(webhook_id=webhook_id, overlap=duration(overlap))
        # Made again, it would replace the secret with a second one.
        return _new_webhook(await self._unary(self._hooks.RotateWebhookSecret, request, repeatable=False))

    async def list_webhook_deliveries(
        self, webhook_id: str, *, dead_only: bool = False
    ) -> AsyncGenerator[WebhookDelivery]:
        """List what a webhook was not sent, newest first; pages are fetched as they are needed.

        Args:
            webhook_id: the webhook.
            dead_only: only what is not tried any more.

        Raises:
            NotFoundError: there is no such webhook.
        """
        request = pb.ListWebhookDeliveriesRequest(webhook_id=webhook_id, dead_only=dead_only)
        async for page in self._pages(self._hooks.ListWebhookDeliveries, request):
            for delivery in page.deliveries:
                yield record(WebhookDelivery, delivery)

    async def redeliver_webhook(self, webhook_id: str, event_ids: Iterable[str] = ()) -> int:
        """Send a webhook again what it could not be sent.

        Args:
            webhook_id: the webhook; it must not be disabled.
            event_ids: the events, at most 1000; none means all of them.

        Returns:
            How many are sent again.

        Raises:
            NotFoundError: there is no such webhook.
            FailedPreconditionError: it is disabled.
        """
        request = pb.RedeliverWebhookRequest(webhook_id=webhook_id, event_ids=event_ids)
        return (await self._unary(self._hooks.RedeliverWebhook, request)).delivery_count


def _new_webhook(response: Any) -> NewWebhook:
    return NewWebhook(response.secret, record(Webhook, response.webhook))
