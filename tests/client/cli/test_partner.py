"""`spacelink partner` and `webhook`: what they ask, and what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.v1 import partner_pb2 as pb
from tests.client.cli.conftest import Ask
from tests.client.recorder import Recorder

NOON = Timestamp(seconds=1_769_860_800)
PASSWORD = "correct horse 9"
IDENTITY = ("--name", "ACME", "--email", "ops@acme.example", "--user", "anna")
SECRET = "slak_acme-sandbox.key.secret"
WEBHOOK_SECRET = "whsec_c2VjcmV0"


@pytest.fixture
def password(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return "--password-file", str(path)


def test_registering_prints_the_id_alone(ask: Ask, recorder: Recorder, password: tuple[str, str]) -> None:
    recorder.answers["RegisterPartner"] = pb.RegisterPartnerResponse(partner_id="p-1")
    result = ask("partner", "register", "acme", *IDENTITY, *password)
    assert (result.exit_code, result.stdout) == (0, "p-1\n")
    assert recorder.take("RegisterPartner").request == pb.RegisterPartnerRequest(
        tenant_id="acme",
        display_name="ACME",
        contact_email="ops@acme.example",
        user_name="anna",
        password=PASSWORD,
    )


@pytest.mark.parametrize("missing", ["--name", "--email", "--user"])
def test_a_registration_says_who_asks(ask: Ask, recorder: Recorder, missing: str) -> None:
    at = IDENTITY.index(missing)
    result = ask("partner", "register", "acme", *IDENTITY[:at], *IDENTITY[at + 2 :])
    assert result.exit_code == 2
    assert f"Missing option '{missing}'" in result.stderr
    assert recorder.calls == []


def test_creating_and_approving(ask: Ask, recorder: Recorder, password: tuple[str, str]) -> None:
    limits = ("--samples-per-day", "10", "--max-devices", "5")
    assert ask("partner", "create", "acme", *IDENTITY, *password, *limits).stdout == (
        "partner acme is created\n"
    )
    request = recorder.take("CreatePartner").request
    assert (request.tenant_id, request.password, request.samples_per_day, request.max_devices) == (
        *("acme", PASSWORD),
        *(10, 5),
    )
    partner = pb.Partner(tenant_id="acme-2", user_name="anna")
    recorder.answers["ApprovePartner"] = pb.ApprovePartnerResponse(partner=partner)
    result = ask("partner", "approve", "p-1", "--as", "acme-2", *limits)
    assert result.stdout == "partner acme-2 is approved; anna can log in\n"
    assert recorder.take("ApprovePartner").request == pb.ApprovePartnerRequest(
        partner_id="p-1", tenant_id="acme-2", samples_per_day=10, max_devices=5
    )


def test_listing_partners(ask: Ask, recorder: Recorder) -> None:
    partner = pb.Partner(partner_id="p-1", state=pb.PARTNER_STATE_PENDING, tenant_id="acme", create_time=NOON)
    recorder.answers["ListPartners"] = pb.ListPartnersResponse(partners=[partner])
    told = json.loads(ask("partner", "list", "--state", "pending").stdout)
    assert (told["partner_id"], told["state"], told["create_time"]) == (
        *("p-1", "pending"),
        "2026-01-31T12:00:00Z",
    )
    assert recorder.take("ListPartners").request.state == pb.PARTNER_STATE_PENDING
    assert "p-1,pending,acme," in ask("partner", "list", "--output", "csv").stdout
    assert "pending" in ask("partner", "list", "--output", "table").stdout
    assert ask("partner", "list", "--state", "gone").exit_code == 2


def test_the_allow_list_is_told_set_and_cleared(ask: Ask, recorder: Recorder) -> None:
    cidrs = ["192.0.2.0/24", "2001:db8::/32"]
    recorder.answers["GetIpAllowlist"] = pb.GetIpAllowlistResponse(cidrs=cidrs)
    recorder.answers["SetIpAllowlist"] = pb.SetIpAllowlistResponse(cidrs=cidrs)
    assert ask("partner", "ip-allowlist", "--tenant", "acme").stdout.split() == cidrs
    assert recorder.take("GetIpAllowlist").metadata["x-spacelink-tenant"] == "acme"
    assert ask("partner", "ip-allowlist", *cidrs).stdout.split() == cidrs
    assert list(recorder.take("SetIpAllowlist").request.cidrs) == cidrs
    recorder.answers["SetIpAllowlist"] = pb.SetIpAllowlistResponse()
    assert ask("partner", "ip-allowlist", "--clear").stdout == ""
    assert list(recorder.take("SetIpAllowlist").request.cidrs) == []
    assert ask("partner", "ip-allowlist", *cidrs, "--clear").exit_code == 2
    assert recorder.calls == []


def test_a_sandbox_s_key_is_printed_alone(ask: Ask, recorder: Recorder) -> None:
    sandbox = pb.Sandbox(tenant_id="acme-sandbox", device_ids=["a", "b"])
    recorder.answers["CreateSandbox"] = pb.CreateSandboxResponse(sandbox=sandbox, secret=SECRET)
    recorder.answers["ResetSandbox"] = pb.ResetSandboxResponse(sandbox=sandbox, secret=SECRET)
    for command in ("create", "reset"):
        result = ask("partner", "sandbox", command)
        assert (result.exit_code, result.stdout) == (0, f"{SECRET}\n")
        assert "sandbox acme-sandbox, 2 simulated devices" in result.stderr


def test_a_webhook_s_secret_is_printed_alone(ask: Ask, recorder: Recorder) -> None:
    webhook = pb.Webhook(webhook_id="w-1")
    recorder.answers["CreateWebhook"] = pb.CreateWebhookResponse(webhook=webhook, secret=WEBHOOK_SECRET)
    recorder.answers["RotateWebhookSecret"] = pb.RotateWebhookSecretResponse(
        webhook=webhook, secret=WEBHOOK_SECRET
    )
    events = ("--event", "incident.opened", "--event", "incident.closed")
    result = ask(
        *("webhook", "create", "https://hooks.acme.example/", *events),
        *("--payload", "alertmanager", "--name", "pager"),
    )
    assert (result.exit_code, result.stdout) == (0, f"{WEBHOOK_SECRET}\n")
    assert "webhook w-1" in result.stderr
    request = recorder.take("CreateWebhook").request
    assert (request.url, request.display_name) == ("https://hooks.acme.example/", "pager")
    assert list(request.event_types) == ["incident.opened", "incident.closed"]
    assert request.payload == pb.WEBHOOK_PAYLOAD_ALERTMANAGER
    ask("webhook", "create", "https://hooks.acme.example/")
    assert recorder.take("CreateWebhook").request.payload == pb.WEBHOOK_PAYLOAD_SPACELINK
    assert ask("webhook", "rotate-secret", "w-1", "--overlap", "2h").stdout == f"{WEBHOOK_SECRET}\n"
    request = recorder.take("RotateWebhookSecret").request
    assert (request.webhook_id, request.overlap) == ("w-1", Duration(seconds=7200))


def test_listing_webhooks_and_deliveries(ask: Ask, recorder: Recorder) -> None:
    webhook = pb.Webhook(webhook_id="w-1", disabled=True, payload=pb.WEBHOOK_PAYLOAD_CLOUDEVENTS)
    recorder.answers["ListWebhooks"] = pb.ListWebhooksResponse(webhooks=[webhook])
    told = json.loads(ask("webhook", "list").stdout)
    assert (told["webhook_id"], told["disabled"], told["payload"]) == ("w-1", True, "cloudevents")
    assert "w-1" in ask("webhook", "list", "--output", "table").stdout
    recorder.calls.clear()
    delivery = pb.WebhookDelivery(event_id="e-1", state=pb.WEBHOOK_DELIVERY_STATE_DEAD, error="status 500")
    recorder.answers["ListWebhookDeliveries"] = pb.ListWebhookDeliveriesResponse(deliveries=[delivery])
    told = json.loads(ask("webhook", "deliveries", "w-1", "--dead").stdout)
    assert (told["event_id"], told["state"], told["error"]) == ("e-1", "dead", "status 500")
    assert recorder.take("ListWebhookDeliveries").request.dead_only


def test_a_test_that_fails_is_a_failure(ask: Ask, recorder: Recorder) -> None:
    recorder.answers["TestWebhook"] = pb.TestWebhookResponse(delivered=True, status_code=204)
    assert ask("webhook", "test", "w-1").stdout == "delivered, answered with status 204\n"
    recorder.answers["TestWebhook"] = pb.TestWebhookResponse(error="timed out")
    result = ask("webhook", "test", "w-1")
    assert (result.exit_code, result.stderr) == (1, "Error: not delivered: timed out\n")


def test_changing_webhooks(ask: Ask, recorder: Recorder) -> None:
    assert ask("webhook", "enable", "w-1").stdout == "webhook w-1 is enabled\n"
    assert recorder.take("EnableWebhook").request.webhook_id == "w-1"
    assert ask("webhook", "delete", "w-1").stdout == "webhook w-1 is deleted\n"
    assert recorder.take("DeleteWebhook").request.webhook_id == "w-1"
    recorder.answers["RedeliverWebhook"] = pb.RedeliverWebhookResponse(delivery_count=2)
    assert ask("webhook", "redeliver", "w-1", "e-1", "e-2").stdout == "sent again: 2\n"
    assert list(recorder.take("RedeliverWebhook").request.event_ids) == ["e-1", "e-2"]


def test_a_list_of_nothing_says_so_on_a_table_only(ask: Ask) -> None:
    for command, things in (
        (("partner", "list"), "partners"),
        (("webhook", "list"), "webhooks"),
        (("webhook", "deliveries", "w-1"), "deliveries"),
    ):
        assert ask(*command, "--output", "table").stderr == f"no {things}\n"
        assert ask(*command, "--output", "json").output == ""
