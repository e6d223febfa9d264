"""Partners and webhooks: what is asked, and what is made of the answers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink import AsyncSpaceLinkClient, SpaceLinkClient, partners
from spacelink.errors import AlreadyExistsError, NotFoundError, UnauthenticatedError, UnavailableError
from spacelink.v1 import partner_pb2 as pb
from tests.client.recorder import Recorder
from tests.server.installation import Installation, running
from tests.server.stores import Place
from tests.server.webhooks.receiver import is_signed, receiving

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOON_MESSAGE = Timestamp(seconds=1_769_860_800)
SECRET = "slak_acme-sandbox.key.secret"
WEBHOOK_SECRET = "whsec_c2VjcmV0"
IDENTITY: dict[str, str] = {
    "display_name": "ACME",
    "contact_email": "ops@acme.example",
    "user_name": "anna",
    "password": "correct horse 9",
}


@pytest.fixture
def client(recorder: Recorder) -> Iterator[SpaceLinkClient]:
    with SpaceLinkClient(recorder.address, retry_for=5) as client:
        yield client


def test_a_registration(recorder: Recorder, client: SpaceLinkClient) -> None:
    recorder.answers["RegisterPartner"] = pb.RegisterPartnerResponse(partner_id="p")
    assert client.register_partner("acme", **IDENTITY) == "p"
    assert recorder.take("RegisterPartner").request == pb.RegisterPartnerRequest(tenant_id="acme", **IDENTITY)


def test_partners(recorder: Recorder, client: SpaceLinkClient) -> None:
    message = pb.Partner(
        partner_id="p",
        state=pb.PARTNER_STATE_PENDING,
        tenant_id="acme",
        display_name="ACME",
        contact_email="ops@acme.example",
        user_name="anna",
        create_time=NOON_MESSAGE,
    )
    partner = partners.Partner("p", "pending", "acme", "ACME", "ops@acme.example", "anna", NOON, None)
    limits = {"samples_per_day": 10, "max_devices": 5}
    recorder.answers = {
        "CreatePartner": pb.CreatePartnerResponse(partner=message),
        "ApprovePartner": pb.ApprovePartnerResponse(partner=message),
        "ListPartners": pb.ListPartnersResponse(partners=[message]),
    }
    assert client.create_partner("acme", **IDENTITY, **limits) == partner  # type: ignore[arg-type]
    request = recorder.take("CreatePartner").request
    assert request == pb.CreatePartnerRequest(tenant_id="acme", **IDENTITY, **limits)  # type: ignore[arg-type]
    assert client.approve_partner("p", tenant_id="acme-2", **limits) == partner
    request = recorder.take("ApprovePartner").request
    assert request == pb.ApprovePartnerRequest(partner_id="p", tenant_id="acme-2", **limits)
    assert list(client.list_partners("approved")) == [partner]
    assert recorder.take("ListPartners").request.state == pb.PARTNER_STATE_APPROVED
    assert list(client.list_partners()) == [partner]
    assert recorder.take("ListPartners").request.state == pb.PARTNER_STATE_UNSPECIFIED


def test_a_sandbox_s_key_is_shown_once(recorder: Recorder, client: SpaceLinkClient) -> None:
    message = pb.Sandbox(
        tenant_id="acme-sandbox", device_ids=["a", "b"], start_time=NOON_MESSAGE, end_time=NOON_MESSAGE
    )
    recorder.answers = {
        "CreateSandbox": pb.CreateSandboxResponse(sandbox=message, secret=SECRET),
        "ResetSandbox": pb.ResetSandboxResponse(sandbox=message, secret=SECRET),
    }
    for call in (client.create_sandbox, client.reset_sandbox):
        made = call()
        assert made.sandbox == partners.Sandbox("acme-sandbox", ("a", "b"), NOON, NOON)
        assert made.secret == SECRET
        assert SECRET not in repr(made)


def test_a_new_webhook_s_secret_is_shown_once(recorder: Recorder, client: SpaceLinkClient) -> None:
    message = pb.Webhook(
        webhook_id="w",
        url="https://hooks.acme.example/",
        event_types=["token.banned"],
        payload=pb.WEBHOOK_PAYLOAD_ALERTMANAGER,
        create_time=NOON_MESSAGE,
    )
    recorder.answers["CreateWebhook"] = pb.CreateWebhookResponse(webhook=message, secret=WEBHOOK_SECRET)
    made = client.create_webhook(
        "https://hooks.acme.example/", ["token.banned"], payload="alertmanager", display_name="pager"
    )
    assert made.webhook == partners.Webhook(
        *("w", "", "https://hooks.acme.example/", ("token.banned",), "alertmanager"),
        *(NOON, False, "", None, None),
    )
    assert made.secret == WEBHOOK_SECRET
    assert WEBHOOK_SECRET not in repr(made)
    request = recorder.take("CreateWebhook").request
    assert (request.payload, request.display_name) == (pb.WEBHOOK_PAYLOAD_ALERTMANAGER, "pager")
    assert uuid.UUID(request.request_id)


def test_rotating_tells_how_long_the_old_secret_stays(recorder: Recorder, client: SpaceLinkClient) -> None:
    recorder.answers["RotateWebhookSecret"] = pb.RotateWebhookSecretResponse(secret=WEBHOOK_SECRET)
    assert client.rotate_webhook_secret("w").secret == WEBHOOK_SECRET
    assert not recorder.take("RotateWebhookSecret").request.HasField("overlap")
    client.rotate_webhook_secret("w", overlap=timedelta(0))
    request = recorder.take("RotateWebhookSecret").request
    assert request == pb.RotateWebhookSecretRequest(webhook_id="w", overlap=Duration())


def test_deliveries(recorder: Recorder, client: SpaceLinkClient) -> None:
    message = pb.WebhookDelivery(
        event_id="e",
        event_type="token.banned",
        event_time=NOON_MESSAGE,
        data_json="{}",
        state=pb.WEBHOOK_DELIVERY_STATE_DEAD,
        attempt_count=7,
        status_code=500,
        error="status 500",
    )
    recorder.answers["ListWebhookDeliveries"] = pb.ListWebhookDeliveriesResponse(deliveries=[message])
    recorder.answers["RedeliverWebhook"] = pb.RedeliverWebhookResponse(delivery_count=1)
    assert list(client.list_webhook_deliveries("w", dead_only=True)) == [
        partners.WebhookDelivery("e", "token.banned", NOON, "{}", "dead", 7, None, 500, "status 500")
    ]
    assert recorder.take("ListWebhookDeliveries").request.dead_only
    assert client.redeliver_webhook("w", ["e"]) == 1
    request = recorder.take("RedeliverWebhook").request
    assert request == pb.RedeliverWebhookRequest(webhook_id="w", event_ids=["e"])


def test_a_word_that_is_none_is_refused_before_the_call(recorder: Recorder, client: SpaceLinkClient) -> None:
    with pytest.raises(ValueError, match="state 'gone': expected one of pending, approved"):
        list(client.list_partners("gone"))
    for payload in ("", "unspecified", "xml"):
        with pytest.raises(ValueError, match=r"payload '.*': expected one of spacelink, cloudevents, alert"):
            client.create_webhook("https://hooks.acme.example/", payload=payload)
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("RegisterPartner", lambda client: client.register_partner("acme", **IDENTITY)),
        ("CreatePartner", lambda client: client.create_partner("acme", **IDENTITY)),
        ("ApprovePartner", lambda client: client.approve_partner("p")),
        ("CreateSandbox", lambda client: client.create_sandbox()),
        ("DeleteWebhook", lambda client: client.delete_webhook("w")),
        ("RotateWebhookSecret", lambda client: client.rotate_webhook_secret("w")),
    ],
)
def test_what_must_not_be_done_twice_is_not_tried_again(
    recorder: Recorder, client: SpaceLinkClient, method: str, call: Any
) -> None:
    recorder.answers[method] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(UnavailableError):
        call(client)
    recorder.take(method)


# On the server's own service


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running(Place(tmp_path)) as installation:
        yield installation


async def test_a_partner_s_way_in(installation: Installation) -> None:
    async with (
        AsyncSpaceLinkClient(installation.address, token=installation.operator) as operator,
        AsyncSpaceLinkClient(installation.address) as anna,
    ):
        partner_id = await anna.register_partner("acme", **IDENTITY)
        assert [each.partner_id async for each in operator.list_partners("pending")] == [partner_id]
        with pytest.raises(UnauthenticatedError):
            await anna.authenticate("anna", IDENTITY["password"], tenant_id="acme")
        approved = await operator.approve_partner(partner_id, samples_per_day=1000)
        assert (approved.state, approved.tenant_id) == ("approved", "acme")
        assert approved.approve_time is not None
        with pytest.raises(AlreadyExistsError):
            await operator.create_partner("acme", **IDENTITY)
        await anna.authenticate("anna", IDENTITY["password"], tenant_id="acme")
        assert [each.partner_id async for each in anna.list_partners()] == [partner_id]
        assert await anna.set_ip_allowlist(["192.0.2.0/24", "127.0.0.0/8"]) == ("127.0.0.0/8", "192.0.2.0/24")
        assert await anna.get_ip_allowlist() == ("127.0.0.0/8", "192.0.2.0/24")
        assert await anna.set_ip_allowlist([]) == ()
        with pytest.raises(NotFoundError):
            await anna.reset_sandbox()
        first = await anna.create_sandbox()
        second = await anna.reset_sandbox()
        assert first.sandbox.device_ids == second.sandbox.device_ids
    async with AsyncSpaceLinkClient(installation.address, api_key=second.secret) as trying:
        assert (await trying.get_session()).tenant_id == second.sandbox.tenant_id == "acme-sandbox"


async def test_a_webhook_from_its_making_to_its_end(installation: Installation) -> None:
    with receiving() as receiver:
        async with AsyncSpaceLinkClient(installation.address, token=installation.operator) as client:
            made = await client.create_webhook(receiver.url, ["token.banned"])
            assert [each async for each in client.list_webhooks()] == [made.webhook]
            webhook_id = made.webhook.webhook_id
            assert await client.test_webhook(webhook_id) == partners.WebhookTest(True, 204, "")
            rotated = await client.rotate_webhook_secret(webhook_id, overlap=timedelta(0))
            assert (await client.test_webhook(webhook_id)).delivered
            before, after = receiver.received
            assert is_signed(made.secret, before)
            assert is_signed(rotated.secret, after)
            assert not is_signed(made.secret, after)
            receiver.answer(500)
            failed = await client.test_webhook(webhook_id)
            assert (failed.delivered, failed.status_code) == (False, 500)
            assert not (await client.enable_webhook(webhook_id)).disabled
            assert [each async for each in client.list_webhook_deliveries(webhook_id)] == []
            assert await client.redeliver_webhook(webhook_id) == 0
            await client.delete_webhook(webhook_id)
            with pytest.raises(NotFoundError):
                await client.delete_webhook(webhook_id)
