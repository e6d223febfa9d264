"""The methods of PartnerService that manage webhooks."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceServicer
from spacelink_server.access.call import current
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.services import _requests
from spacelink_server.storage import audit, outbox, webhooks
from spacelink_server.storage.audit import Event
from spacelink_server.storage.webhooks import SecretVersion, Webhook
from spacelink_server.webhooks import payloads, signing
from spacelink_server.webhooks.payloads import Message
from spacelink_server.webhooks.targets import TargetError

if TYPE_CHECKING:
    from spacelink_server.access.call import Call
    from spacelink_server.access.control import AccessControl
    from spacelink_server.storage.outbox import Delivery
    from spacelink_server.storage.transactions import Connection
    from spacelink_server.webhooks.sending import Sender
    from spacelink_server.webhooks.targets import Targets

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# Each event is stored once for each of them.
_MAX_WEBHOOKS = 20

# Secrets in use at once: a signature for each, in one header.
_MAX_SECRETS = 4

_MAX_EVENT_IDS = 1000


class WebhookMethods(PartnerServiceServicer):
    """Manages webhooks; see partner.proto."""

    def __init__(self, access: AccessControl, targets: Targets, sender: Sender) -> None:
        self._database = access.database
        self._keys = access.keys
        self._targets = targets
        self._sender = sender

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: Context
    ) -> pb.CreateWebhookResponse:
        """Make a webhook."""
        call = current()
        _requests.require_request_id(request.request_id)
        _requests.require_text("display_name", request.display_name)
        # First what takes no look into DNS.
        webhook = _new_webhook(call, request)
        host = await self._require_target(request.url)

        def work(connection: Connection) -> Webhook:
            def make() -> dict[str, str]:
                _require_room(connection, call)
                webhooks.insert(connection, webhook)
                _record(connection, call, "webhook.create", webhook, host=host)
                return {"webhook_id": webhook.webhook_id}

            return _find(connection, call, _requests.once(connection, call, request, make)["webhook_id"])

        made = await self._database.write(work)
        return pb.CreateWebhookResponse(webhook=_message(made), secret=self._secret(made))

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        """List the tenant's webhooks."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)
        rows = await self._database.read(lambda c: webhooks.page(c, tenant_id, before, size + 1))
        page, next_page = _requests.split_page(rows, size, lambda row: f"{row.create_time} {row.webhook_id}")
        return pb.ListWebhooksResponse(webhooks=map(_message, page), next_page_token=next_page)

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: Context
    ) -> pb.DeleteWebhookResponse:
        """Delete a webhook."""
        call = current()

        def work(connection: Connection) -> None:
            webhook = _find(connection, call, request.webhook_id)
            webhooks.delete(connection, webhook.tenant_id, webhook.webhook_id)
            _record(connection, call, "webhook.delete", webhook)

        await self._database.write(work)
        return pb.DeleteWebhookResponse()

    async def TestWebhook(self, request: pb.TestWebhookRequest, context: Context) -> pb.TestWebhookResponse:
        """Send a webhook something, and tell what came of it."""
        call = current()
        webhook = await self._database.read(lambda c: _find(c, call, request.webhook_id))
        message = Message(
            call.tenant_id,
            secrets.token_hex(16),
            payloads.TEST,
            time.time_ns(),
            {"webhook_id": webhook.webhook_id},
        )
        outcome = await self._sender.attempt(webhook, message)
        return pb.TestWebhookResponse(
            delivered=not outcome.error, status_code=outcome.status_code, error=outcome.error
        )

    async def EnableWebhook(
        self, request: pb.EnableWebhookRequest, context: Context
    ) -> pb.EnableWebhookResponse:
        """Have a webhook sent events again."""
        call = current()

        def work(connection: Connection) -> Webhook:
            webhook = _find(connection, call, request.webhook_id)
            webhook = webhook._replace(disable_reason="", failing_since=None, not_before=0)
            webhooks.update(connection, webhook)
            _record(connection, call, "webhook.enable", webhook)
            return webhook

        return pb.EnableWebhookResponse(webhook=_message(await self._database.write(work)))

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        """Give a webhook a new secret."""
        call = current()
        overlap = _requests.overlap(request.overlap, request.HasField("overlap"))

        def work(connection: Connection) -> Webhook:
            webhook = _rotated(_find(connection, call, request.webhook_id), time.time_ns(), overlap)
            webhooks.update(connection, webhook)
            seconds = overlap // 1_000_000_000
            version = webhook.secrets[0].version
            _record(connection, call, "webhook.rotate_secret", webhook, version=version, overlap=seconds)
            return webhook

        webhook = await self._database.write(work)
        return pb.RotateWebhookSecretResponse(webhook=_message(webhook), secret=self._secret(webhook))

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        """List what a webhook was not sent."""
        call = current()
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)

        def work(connection: Connection) -> list[Delivery]:
            name = _find(connection, call, request.webhook_id)[:2]
            return outbox.page(connection, *name, before, size + 1, dead_only=request.dead_only)

        rows = await self._database.read(work)
        page, next_page = _requests.split_page(rows, size, lambda row: f"{row.sequence} {row.event_id}")
        return pb.ListWebhookDeliveriesResponse(
            deliveries=map(_delivery_message, page), next_page_token=next_page
        )

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, context: Context
    ) -> pb.RedeliverWebhookResponse:
        """Send dead letters again."""
        call = current()
        if len(request.event_ids) > _MAX_EVENT_IDS:
            raise InvalidRequestError("event_ids", f"expected at most {_MAX_EVENT_IDS}")

        def work(connection: Connection) -> int:
            webhook = _find(connection, call, request.webhook_id)
            if webhook.disable_reason:
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "WEBHOOK_DISABLED",
                    f"the webhook is disabled: {webhook.disable_reason}; enable it first",
                )
            count = outbox.revive(connection, *webhook[:2], request.event_ids, time.time_ns())
            _record(connection, call, "webhook.redeliver", webhook, count=count)
            return count

        return pb.RedeliverWebhookResponse(delivery_count=await self._database.write(work))

    async def _require_target(self, url: str) -> str:
        """Give the host of a URL: the rest may well be a secret."""
        try:
            target = self._targets.parse(url)
            await self._targets.resolve(target)
        except TargetError as error:
            raise InvalidRequestError("url", str(error), "INVALID_WEBHOOK_TARGET") from None
        return target.authority

    def _secret(self, webhook: Webhook) -> str:
        version = webhook.secrets[0].version
        return signing.secret_text(self._keys.webhook_secret(*webhook[:2], version))


def _new_webhook(call: Call, request: pb.CreateWebhookRequest) -> Webhook:
    for index, event_type in enumerate(request.event_types):
        if event_type not in outbox.EVENT_TYPES:
            raise InvalidRequestError(
                f"event_types[{index}]",
                f"{event_type!r}: expected one of {', '.join(sorted(outbox.EVENT_TYPES))}",
            )
    payload = request.payload or pb.WEBHOOK_PAYLOAD_SPACELINK
    if payload not in pb.WebhookPayload.values():
        names = [name for name in pb.WebhookPayload.keys() if not name.endswith("_UNSPECIFIED")]  # noqa: SIM118
        raise InvalidRequestError("payload", f"expected one of {', '.join(names)}")
    return Webhook(
        call.tenant_id,
        secrets.token_hex(16),
        request.display_name,
        request.url,
        tuple(sorted(set(request.event_types))),
        payload,
        (SecretVersion(1, None),),
        time.time_ns(),
        "",
        None,
        0,
    )


def _require_room(connection: Connection, call: Call) -> None:
    if len(webhooks.all_of(connection, call.tenant_id)) >= _MAX_WEBHOOKS:
        raise RequestError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "TOO_MANY_WEBHOOKS",
            f"a tenant has at most {_MAX_WEBHOOKS} webhooks; delete one",
        )


def _rotated(webhook: Webhook, now: int, overlap: int) -> Webhook:
    """Give a webhook with a new secret, and with those that stay in use for a while."""
    end = now + overlap
    old = [
        SecretVersion(secret.version, end if secret.expire_time is None else min(end, secret.expire_time))
        for secret in webhook.secrets
    ]
    new = SecretVersion(webhook.secrets[0].version + 1, None)
    kept = [secret for secret in old if secret.expire_time and secret.expire_time > now]
    return webhook._replace(secrets=(new, *kept[: _MAX_SECRETS - 1]))


def _find(connection: Connection, call: Call, webhook_id: str) -> Webhook:
    webhook = webhooks.get(connection, call.tenant_id, webhook_id)
    if webhook is None:
        raise _requests.not_found("WEBHOOK_NOT_FOUND", f"there is no webhook {webhook_id!r}")
    return webhook


def _record(connection: Connection, call: Call, action: str, webhook: Webhook, **detail: Any) -> None:
    event = Event(call.principal.actor, action, f"webhook:{webhook.webhook_id}", detail=detail)
    audit.append(connection, call.tenant_id, event)


def _message(webhook: Webhook) -> pb.Webhook:
    now = time.time_ns()
    ends = [secret.expire_time for secret in webhook.secrets if secret.expire_time]
    return pb.Webhook(
        webhook_id=webhook.webhook_id,
        display_name=webhook.display_name,
        url=webhook.url,
        event_types=webhook.event_types,
        payload=webhook.payload,
        create_time=_requests.timestamp(webhook.create_time),
        disabled=bool(webhook.disable_reason),
        disable_reason=webhook.disable_reason,
        failing_since=_requests.timestamp(webhook.failing_since),
        old_secret_expire_time=_requests.timestamp(max((end for end in ends if end > now), default=None)),
    )


def _delivery_message(delivery: Delivery) -> pb.WebhookDelivery:
    is_dead = delivery.next_attempt_time is None
    return pb.WebhookDelivery(
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        event_time=_requests.timestamp(delivery.event_time),
        data_json=delivery.data,
        state=pb.WEBHOOK_DELIVERY_STATE_DEAD if is_dead else pb.WEBHOOK_DELIVERY_STATE_PENDING,
        attempt_count=delivery.attempt_count,
        next_attempt_time=_requests.timestamp(delivery.next_attempt_time),
        status_code=delivery.status_code,
        error=delivery.error,
    )
