"""Partners' webhooks, and what they were not sent yet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from google.protobuf.message import Message

from spacelink.v1 import partner_pb2 as pb
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, body_of, model_of
from spacelink_rest.parameters import IdempotencyKey, PageParam, PartnerTenant
from spacelink_rest.upstream import Data

router = APIRouter(prefix="/v1/partners/{tenant_id}/webhooks", tags=["webhooks"], dependencies=CREDENTIALS)

WebhookId = Annotated[str, Path(description="The webhook.", examples=["a-webhook-id"])]

_CREATE = {
    "url": "https://hooks.acme.example/spacelink",
    "event_types": ["incident.opened", "incident.closed"],
    "payload": "spacelink",
    "display_name": "pager",
}
_ROTATE = {"overlap": "86400s"}
_REDELIVER = {"event_ids": ["an-event-id"]}


@router.post("", status_code=201, response_model=model_of(pb.CreateWebhookResponse))
async def create_webhook(
    tenant_id: PartnerTenant,
    request: Annotated[Message, body_of(pb.CreateWebhookRequest, _CREATE, leave_out=("request_id",))],
    caller: CallerParam,
    data: Data,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Have events sent to a URL; the secret that they are signed with is shown once, in the answer."""
    request.MergeFrom(pb.CreateWebhookRequest(request_id=idempotency_key))
    return answer(await caller.about(tenant_id).call(data.partners.CreateWebhook, request), 201)


@router.get("", response_model=model_of(pb.ListWebhooksResponse))
async def list_webhooks(
    tenant_id: PartnerTenant, caller: CallerParam, data: Data, page: PageParam
) -> Response:
    """List the webhooks, the newest first."""
    request = pb.ListWebhooksRequest(**page)
    return answer(await caller.about(tenant_id).call(data.partners.ListWebhooks, request))


@router.post("/{webhook_id}/test", response_model=model_of(pb.TestWebhookResponse))
async def test_webhook(
    tenant_id: PartnerTenant, webhook_id: WebhookId, caller: CallerParam, data: Data
) -> Response:
    """Send the event webhook.test at once, and tell what came of it."""
    request = pb.TestWebhookRequest(webhook_id=webhook_id)
    return answer(await caller.about(tenant_id).call(data.partners.TestWebhook, request))


@router.post("/{webhook_id}/enable", response_model=model_of(pb.EnableWebhookResponse))
async def enable_webhook(
    tenant_id: PartnerTenant, webhook_id: WebhookId, caller: CallerParam, data: Data
) -> Response:
    """Have events sent again by a webhook that is disabled."""
    request = pb.EnableWebhookRequest(webhook_id=webhook_id)
    return answer(await caller.about(tenant_id).call(data.partners.EnableWebhook, request))


@router.post("/{webhook_id}/secret/rotate", response_model=model_of(pb.RotateWebhookSecretResponse))
async def rotate_webhook_secret(
    tenant_id: PartnerTenant,
    webhook_id: WebhookId,
    request: Annotated[Message, body_of(pb.RotateWebhookSecretRequest, _ROTATE, leave_out=("webhook_id",))],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Give a webhook a new secret; for a while, deliveries are signed with the old one, too."""
    request.MergeFrom(pb.RotateWebhookSecretRequest(webhook_id=webhook_id))
    return answer(await caller.about(tenant_id).call(data.partners.RotateWebhookSecret, request))


@router.get("/{webhook_id}/deliveries", response_model=model_of(pb.ListWebhookDeliveriesResponse))
async def list_webhook_deliveries(
    tenant_id: PartnerTenant,
    webhook_id: WebhookId,
    caller: CallerParam,
    data: Data,
    page: PageParam,
    dead_only: Annotated[bool, Query(description="Only dead letters.")] = False,
) -> Response:
    """List what a webhook was not sent yet, and what it could not be sent, the newest first."""
    request = pb.ListWebhookDeliveriesRequest(webhook_id=webhook_id, dead_only=dead_only, **page)
    return answer(await caller.about(tenant_id).call(data.partners.ListWebhookDeliveries, request))


@router.post("/{webhook_id}/redeliver", response_model=model_of(pb.RedeliverWebhookResponse))
async def redeliver_webhook(
    tenant_id: PartnerTenant,
    webhook_id: WebhookId,
    request: Annotated[Message, body_of(pb.RedeliverWebhookRequest, _REDELIVER, leave_out=("webhook_id",))],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Send a webhook again what it could not be sent; without event_ids, all of it."""
    request.MergeFrom(pb.RedeliverWebhookRequest(webhook_id=webhook_id))
    return answer(await caller.about(tenant_id).call(data.partners.RedeliverWebhook, request))


@router.delete("/{webhook_id}", status_code=204)
async def delete_webhook(
    tenant_id: PartnerTenant, webhook_id: WebhookId, caller: CallerParam, data: Data
) -> None:
    """Delete a webhook, and what it was yet to be sent."""
    request = pb.DeleteWebhookRequest(webhook_id=webhook_id)
    await caller.about(tenant_id).call(data.partners.DeleteWebhook, request)
