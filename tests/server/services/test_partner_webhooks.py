from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from spacelink.v1 import partner_pb2 as pb
from spacelink_server.access.limits import LimitExceededError, samples_per_day
from spacelink_server.storage import outbox
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import audited, ban, create_tenant, mint, tenant_admin
from tests.server.webhooks.receiver import Receiver, is_signed, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server.installation import Installation

URL = "http://127.0.0.1:9/hooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


async def call(installation: Installation, method: str, caller: str = "", **fields: Any) -> Any:
    """Call a method of PartnerService, by default as the operator."""
    request = getattr(pb, f"{method}Request")(**fields)
    return await getattr(installation.partner, method)(request, **bearer(caller or installation.operator))


async def append(installation: Installation, tenant_id: str = "default", **data: Any) -> None:
    await installation.database.write(lambda c: outbox.append(c, tenant_id, "incident.opened", data))


async def step(installation: Installation) -> None:
    await installation.deliverer.step()
    await installation.deliverer.idle()


async def test_makes_lists_and_deletes(installation: Installation) -> None:
    first = await call(
        installation,
        "CreateWebhook",
        url=URL,
        event_types=["token.banned", "incident.opened", "token.banned"],
        payload=pb.WEBHOOK_PAYLOAD_CLOUDEVENTS,
        display_name="ops",
    )
    hook = first.webhook
    assert (hook.url, hook.display_name, hook.payload) == (URL, "ops", pb.WEBHOOK_PAYLOAD_CLOUDEVENTS)
    assert list(hook.event_types) == ["incident.opened", "token.banned"]
    assert not hook.disabled
    second = (await call(installation, "CreateWebhook", url=URL)).webhook
    assert second.payload == pb.WEBHOOK_PAYLOAD_SPACELINK
    page = await call(installation, "ListWebhooks", page_size=1)
    rest = await call(installation, "ListWebhooks", page_token=page.next_page_token)
    assert [*page.webhooks, *rest.webhooks] == [second, hook]
    await append(installation)
    await call(installation, "DeleteWebhook", webhook_id=second.webhook_id)
    assert list((await call(installation, "ListWebhooks")).webhooks) == [hook]
    assert [event.action for event in (await audited(installation, "default"))[:3]] == [
        "webhook.delete",
        "webhook.create",
        "webhook.create",
    ]


async def test_a_secret_is_shown_and_not_stored(installation: Installation, tmp_path: Path) -> None:
    made, other = [await call(installation, "CreateWebhook", url=URL) for _ in range(2)]
    kind, _, text = made.secret.partition("_")
    assert kind == "whsec"
    key = base64.b64decode(text)
    assert len(key) == 32
    assert made.secret != other.secret
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("spacelink.db*"))
    assert made.webhook.webhook_id.encode() in stored
    assert text.encode() not in stored
    assert key not in stored


async def test_a_repeated_call_makes_one(installation: Installation) -> None:
    first, second = [await call(installation, "CreateWebhook", url=URL, request_id="r") for _ in range(2)]
    assert first == second
    assert len((await call(installation, "ListWebhooks")).webhooks) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "http://no-such-host.invalid/"}, "url"),
        ({"url": URL, "event_types": ["incident.opened", "webhook.test"]}, "event_types[1]"),
        ({"url": URL, "payload": 9}, "payload"),
        ({"url": URL, "display_name": "x" * 1001}, "display_name"),
        ({"url": URL, "request_id": "a b"}, "request_id"),
    ],
)
async def test_names_the_field_that_is_wrong(
    installation: Installation, fields: dict[str, Any], field: str
) -> None:
    found = await refusal(call(installation, "CreateWebhook", **fields))
    assert found["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


async def test_an_unknown_event_is_told_before_the_host_is_looked_up(installation: Installation) -> None:
    fields = {"url": "https://no-such-host.invalid/", "event_types": ["incident.open"]}
    found = await refusal(call(installation, "CreateWebhook", **fields))
    (violation,) = found["BadRequest"].field_violations
    assert violation.description.startswith("event_types[0]: 'incident.open': expected one of ")
    assert "incident.opened" in violation.description


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/",
        "https://[::1]/",
    ],
)
async def test_only_public_targets_with_tls_unless_allowed(installation: Installation, url: str) -> None:
    installation.targets._allow_private = False
    found = await refusal(call(installation, "CreateWebhook", url=url))
    assert (found["code"], found["reason"]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_WEBHOOK_TARGET",
    )


async def test_there_is_an_end_to_them(installation: Installation) -> None:
    for _ in range(20):
        await call(installation, "CreateWebhook", url=URL)
    assert (await refusal(call(installation, "CreateWebhook", url=URL)))["reason"] == "TOO_MANY_WEBHOOKS"
    acme = await tenant_admin(installation, "acme")
    await call(installation, "CreateWebhook", acme, url=URL)


async def test_a_webhook_of_another_tenant_is_not_found(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    webhook_id = (await call(installation, "CreateWebhook", url=URL)).webhook.webhook_id
    for method in (
        "DeleteWebhook",
        "TestWebhook",
        "EnableWebhook",
        "RotateWebhookSecret",
        "ListWebhookDeliveries",
        "RedeliverWebhook",
    ):
        found = await refusal(call(installation, method, acme, webhook_id=webhook_id))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND"), method
    assert list((await call(installation, "ListWebhooks", acme)).webhooks) == []


async def test_events_go_to_their_own_tenant_only(installation: Installation, receiver: Receiver) -> None:
    acme = await tenant_admin(installation, "acme")
    await call(installation, "CreateWebhook", acme, url=receiver.url)
    await append(installation)
    await append(installation, "acme", n=1)
    await step(installation)
    assert [request.json["data"] for request in receiver.received] == [{"n": 1}]


async def test_a_test_tells_what_came_of_it(installation: Installation, receiver: Receiver) -> None:
    made = await call(installation, "CreateWebhook", url=receiver.url)
    webhook_id = made.webhook.webhook_id
    receiver.answer(200, 500)
    assert await call(installation, "TestWebhook", webhook_id=webhook_id) == pb.TestWebhookResponse(
        delivered=True, status_code=200
    )
    found = await call(installation, "TestWebhook", webhook_id=webhook_id)
    assert (found.delivered, found.status_code) == (False, 500)
    assert "500" in found.error
    assert all(is_signed(made.secret, request) for request in receiver.received)
    assert receiver.received[0].json["type"] == "webhook.test"
    assert list((await call(installation, "ListWebhookDeliveries", webhook_id=webhook_id)).deliveries) == []


async def test_a_rotated_secret_is_used_for_a_while(installation: Installation, receiver: Receiver) -> None:
    made = await call(installation, "CreateWebhook", url=receiver.url)
    webhook_id = made.webhook.webhook_id
    second = await call(
        installation, "RotateWebhookSecret", webhook_id=webhook_id, overlap=Duration(seconds=3600)
    )
    third = await call(installation, "RotateWebhookSecret", webhook_id=webhook_id)
    secrets = [made.secret, second.secret, third.secret]
    assert len(set(secrets)) == 3
    assert third.webhook.HasField("old_secret_expire_time")

    async def signed() -> list[bool]:
        await call(installation, "TestWebhook", webhook_id=webhook_id)
        request = receiver.received[-1]
        found = [is_signed(secret, request) for secret in secrets]
        assert len(request.headers["webhook-signature"].split(" ")) == sum(found)
        return found

    assert await signed() == [True, True, True]
    installation.clock.ahead = 3601
    assert await signed() == [False, True, True]
    installation.clock.ahead = 24 * 3600 + 1
    assert await signed() == [False, False, True]
    installation.clock.ahead = 0
    fourth = await call(installation, "RotateWebhookSecret", webhook_id=webhook_id, overlap=Duration())
    secrets.append(fourth.secret)
    assert (await signed())[-2:] == [False, True]


async def test_dead_letters_are_sent_again(installation: Installation, receiver: Receiver) -> None:
    webhook_id = (await call(installation, "CreateWebhook", url=receiver.url)).webhook.webhook_id
    receiver.answer(410)
    await append(installation, n=1)
    await append(installation, n=2)
    await step(installation)
    ids = [request.id for request in receiver.received]
    found = await refusal(call(installation, "RedeliverWebhook", webhook_id=webhook_id))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.FAILED_PRECONDITION, "WEBHOOK_DISABLED")
    await call(installation, "EnableWebhook", webhook_id=webhook_id)
    listed = await call(installation, "ListWebhookDeliveries", webhook_id=webhook_id, dead_only=True)
    letters = list(listed.deliveries)
    assert {letter.state for letter in letters} == {pb.WEBHOOK_DELIVERY_STATE_DEAD}
    wanted = letters[-1].event_id
    answer = await call(installation, "RedeliverWebhook", webhook_id=webhook_id, event_ids=[wanted])
    assert answer.delivery_count == 1
    receiver.received.clear()
    await step(installation)
    assert [request.id for request in receiver.received] == [wanted]
    assert wanted in ids
    count = (await call(installation, "RedeliverWebhook", webhook_id=webhook_id)).delivery_count
    assert count == len(letters) - 1
    await step(installation)
    listed = await call(installation, "ListWebhookDeliveries", webhook_id=webhook_id)
    assert list(listed.deliveries) == []


async def test_deliveries_are_listed_in_pages(installation: Installation) -> None:
    webhook_id = (await call(installation, "CreateWebhook", url=URL)).webhook.webhook_id
    for n in range(3):
        await append(installation, n=n)
    found = []
    token = ""
    for _ in range(2):
        page = await call(
            installation, "ListWebhookDeliveries", webhook_id=webhook_id, page_size=2, page_token=token
        )
        found += page.deliveries
        token = page.next_page_token
    assert ([json.loads(each.data_json)["n"] for each in found], token) == ([2, 1, 0], "")
    assert {each.state for each in found} == {pb.WEBHOOK_DELIVERY_STATE_PENDING}
    none = await call(installation, "ListWebhookDeliveries", webhook_id=webhook_id, dead_only=True)
    assert list(none.deliveries) == []


async def test_what_bans_a_token_tells_of_it(installation: Installation, receiver: Receiver) -> None:
    await call(installation, "CreateWebhook", url=receiver.url, event_types=["token.banned"])
    token = await mint(installation, installation.operator)
    made = await ban(installation, installation.operator, token=token, reason="leaked")
    # It is banned already, so nothing happens.
    await ban(installation, installation.operator, token=token)
    await step(installation)
    (request,) = receiver.received
    assert request.json["data"] == {"ban_id": made.ban_id, "digest": made.digest, "reason": "leaked"}
    assert token.encode() not in request.body


async def test_a_quota_that_runs_low_is_told_once(installation: Installation, receiver: Receiver) -> None:
    await create_tenant(installation, "acme", samples_per_day=320)
    acme = await mint(installation, installation.operator, "scope = *:*", tenant_id="acme")
    await call(installation, "CreateWebhook", acme, url=receiver.url)
    key = samples_per_day("acme", 320)
    heard = []
    for units in (200, 40, 40, 40):
        await installation.limiter.take([key], 0, units)
        await step(installation)
        heard.append([request.json["type"] for request in receiver.received])
    with pytest.raises(LimitExceededError):
        await installation.limiter.take([key], 0, 1)
    await step(installation)
    assert heard == [[], [], ["quota.warning"], ["quota.warning", "quota.exhausted"]]
    assert len(receiver.received) == 2
    data = receiver.received[0].json["data"]
    assert (data["quota"], data["percent"]) == (320, 80)
    assert receiver.received[1].json["data"]["percent"] == 100


async def test_a_limit_of_a_token_is_not_told(installation: Installation, receiver: Receiver) -> None:
    """It is its holder's matter, not the tenant's."""
    await call(installation, "CreateWebhook", url=receiver.url)
    token = await mint(installation, installation.operator, "rate_limit = 1/day", "scope = partners:read")
    await call(installation, "ListWebhooks", token)
    assert (await refusal(call(installation, "ListWebhooks", token)))["reason"] == "RATE_LIMITED"
    await step(installation)
    assert receiver.received == []
