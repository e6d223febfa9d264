from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.v1.partner_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    EnableWebhookRequest,
    ListWebhookDeliveriesRequest,
    ListWebhooksRequest,
    Webhook,
    WebhookDelivery,
)
from spacelink_server.storage import outbox
from spacelink_server.webhooks import delivery, sending
from spacelink_server.webhooks.delivery import Deliverer
from tests.server.installation import bearer
from tests.server.services.access_calls import audited
from tests.server.waiting import WAIT_SECONDS, until
from tests.server.webhooks.receiver import Receiver, is_signed, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.installation import Installation

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


async def create(installation: Installation, url: str, **fields: Any) -> CreateWebhookResponse:
    request = CreateWebhookRequest(url=url, **fields)
    return await installation.partner.CreateWebhook(request, **bearer(installation.operator))


async def append(installation: Installation, event_type: str = "incident.opened", **data: Any) -> None:
    await installation.database.write(lambda c: outbox.append(c, "default", event_type, data))


async def step(installation: Installation) -> None:
    """Deliver what is due, and wait for what becomes of it."""
    await installation.deliverer.step()
    await installation.deliverer.idle()


async def deliveries(installation: Installation, hook: Webhook, **fields: Any) -> list[WebhookDelivery]:
    request = ListWebhookDeliveriesRequest(webhook_id=hook.webhook_id, **fields)
    answer = await installation.partner.ListWebhookDeliveries(request, **bearer(installation.operator))
    return list(answer.deliveries)


async def hooks(installation: Installation) -> dict[str, Webhook]:
    answer = await installation.partner.ListWebhooks(ListWebhooksRequest(), **bearer(installation.operator))
    return {hook.webhook_id: hook for hook in answer.webhooks}


async def test_an_event_is_delivered_once_and_signed(installation: Installation, receiver: Receiver) -> None:
    made = await create(installation, receiver.url)
    await append(installation, device_id="dish", n=1)
    await step(installation)
    await step(installation)
    (request,) = receiver.received
    assert is_signed(made.secret, request)
    assert request.path == "/hooks?a=b"
    assert request.headers["content-type"] == "application/json"
    assert request.json["type"] == "incident.opened"
    assert request.json["data"] == {"device_id": "dish", "n": 1}
    assert request.json["id"] == request.id
    assert abs(int(request.headers["webhook-timestamp"]) - installation.clock()) < 60
    assert await deliveries(installation, made.webhook) == []


async def test_a_failure_is_tried_again_with_the_same_id(
    installation: Installation, receiver: Receiver
) -> None:
    made = await create(installation, receiver.url)
    receiver.answer(500, 302, 404)
    await append(installation)
    for attempt, (status, ahead) in enumerate(((500, 5), (302, 10), (404, 20)), 1):
        await step(installation)
        (failed,) = await deliveries(installation, made.webhook)
        assert (failed.attempt_count, failed.status_code) == (attempt, status)
        assert str(status) in failed.error
        await step(installation)
        assert len(receiver.received) == attempt, "it is not due yet"
        installation.clock.ahead += ahead
    assert (await hooks(installation))[made.webhook.webhook_id].HasField("failing_since")
    await step(installation)
    assert len(receiver.received) == 4
    assert len({request.id for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.received}) == 4
    assert all(is_signed(made.secret, request) for request in receiver.received)
    assert await deliveries(installation, made.webhook) == []
    assert not (await hooks(installation))[made.webhook.webhook_id].HasField("failing_since")


async def test_what_waits_and_what_is_tried_is_counted(
    installation: Installation, receiver: Receiver
) -> None:
    deliverer = installation.deliverer
    await create(installation, receiver.url)
    await create(installation, receiver.url)
    await append(installation)
    assert deliverer.pending == 0
    await deliverer.count()
    assert deliverer.pending == 2
    receiver.answer(500, 200)
    await step(installation)
    await deliverer.count()
    assert deliverer.pending == 1
    assert deliverer.attempts == {"delivered": 1, "failed": 1}


async def test_a_receiver_that_is_away_for_a_while(installation: Installation) -> None:
    with receiving() as receiver:
        port = receiver.port
        made = await create(installation, receiver.url)
    await append(installation)
    await step(installation)
    (failed,) = await deliveries(installation, made.webhook)
    assert (failed.status_code, failed.error) == (0, "cannot connect: Connection refused")
    installation.clock.ahead += 5
    with receiving(port) as receiver:
        await step(installation)
        assert len(receiver.received) == 1


async def test_a_receiver_that_hangs(
    installation: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(installation, receiver.url)
    receiver.gate.clear()
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.05)
    await append(installation)
    await step(installation)
    receiver.gate.set()
    (failed,) = await deliveries(installation, made.webhook)
    assert (failed.status_code, failed.error) == (0, "no answer within 0 s")


async def test_a_receiver_that_hangs_keeps_only_itself_waiting(
    installation: Installation, receiver: Receiver
) -> None:
    await create(installation, receiver.url)
    receiver.gate.clear()
    with receiving() as other:
        await create(installation, other.url)
        await append(installation, n=1)
        await installation.deliverer.step()
        await until(lambda: receiver.received and other.received)
        await append(installation, n=2)

        async def other_has_both() -> None:
            while len(other.received) < 2:
                await installation.deliverer.step()
                await asyncio.sleep(0.01)

        await asyncio.wait_for(other_has_both(), WAIT_SECONDS)
    assert len(receiver.received) == 1
    receiver.gate.set()
    await installation.deliverer.idle()


async def test_redirects_are_not_followed(installation: Installation, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        made = await create(installation, receiver.url)
        receiver.answer(307, location=elsewhere.url)
        await append(installation)
        await step(installation)
        assert elsewhere.received == []
    (failed,) = await deliveries(installation, made.webhook)
    assert failed.status_code == 307


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(
    installation: Installation, receiver: Receiver, status: int
) -> None:
    """With all events, for they all go to it."""
    await create(installation, receiver.url)
    receiver.answer(status, retry_after="3600")
    await append(installation)
    await step(installation)
    await append(installation)
    installation.clock.ahead += HOUR - 60
    await append(installation)
    await step(installation)
    assert len(receiver.received) == 1
    installation.clock.ahead += 60
    await step(installation)
    assert len({request.id for request in receiver.received}) == 3
    assert len(receiver.received) == 4


async def test_who_is_gone_is_not_sent_anything_more(installation: Installation, receiver: Receiver) -> None:
    with receiving() as other:
        gone = (await create(installation, receiver.url, display_name="old")).webhook
        await create(installation, other.url, event_types=["webhook.disabled"])
        receiver.answer(410)
        await append(installation, device_id="a", n=1)
        await append(installation, device_id="a", n=2)
        await step(installation)
        await append(installation, n=3)
        installation.clock.ahead += DAY
        await step(installation)
        assert len(receiver.received) == 1
        (notice,) = other.received
    assert notice.json["type"] == "webhook.disabled"
    assert notice.json["data"]["webhook_id"] == gone.webhook_id
    assert "410" in notice.json["data"]["reason"]
    found = (await hooks(installation))[gone.webhook_id]
    assert (found.disabled, "410" in found.disable_reason) == (True, True)
    dead = await deliveries(installation, gone, dead_only=True)
    assert [json.loads(letter.data_json)["n"] for letter in dead] == [2, 1]
    (event,) = await audited(installation, "default", "webhook.disable")
    assert (event.actor, event.resource) == ("system", f"webhook:{gone.webhook_id}")


async def fail_for_a_day(installation: Installation, receiver: Receiver) -> None:
    receiver.answer(*[500] * 100)
    end = installation.clock.ahead + DAY
    while installation.clock.ahead <= end + 60:
        await step(installation)
        installation.clock.ahead += HOUR
    receiver.answers.clear()


async def test_a_day_of_failure_disables(installation: Installation, receiver: Receiver) -> None:
    with receiving() as other:
        made = (await create(installation, receiver.url)).webhook
        await create(installation, other.url)
        await append(installation, n=1)
        await fail_for_a_day(installation, receiver)
        await step(installation)
        # Each hour, at least from the seventh attempt on each other one.
        assert 12 <= len(receiver.received) <= 26
        types = [request.json["type"] for request in other.received]
    assert types == ["incident.opened", "webhook.disabled"]
    assert "a day" in (await hooks(installation))[made.webhook_id].disable_reason
    (dead,) = await deliveries(installation, made, dead_only=True)
    assert (dead.attempt_count, dead.HasField("next_attempt_time")) == (len(receiver.received), False)


async def test_one_event_that_a_receiver_never_takes_does_not_disable_it(
    installation: Installation, receiver: Receiver
) -> None:
    made = (await create(installation, receiver.url)).webhook
    await append(installation, n="poison")
    receiver.answer(*[500, 204] * 40)
    for _ in range(DAY // HOUR + 2):
        await step(installation)
        if len(receiver.received) % 2:
            await append(installation, n="good")
            await step(installation)
        installation.clock.ahead += 2 * HOUR
    assert not (await hooks(installation))[made.webhook_id].disabled
    (dead,) = await deliveries(installation, made, dead_only=True)
    assert json.loads(dead.data_json) == {"n": "poison"}


async def test_what_is_enabled_again_is_sent_what_comes_then(
    installation: Installation, receiver: Receiver
) -> None:
    made = (await create(installation, receiver.url)).webhook
    receiver.answer(410)
    await append(installation)
    await step(installation)
    request = EnableWebhookRequest(webhook_id=made.webhook_id)
    answer = await installation.partner.EnableWebhook(request, **bearer(installation.operator))
    assert (answer.webhook.disabled, answer.webhook.disable_reason) == (False, "")
    await append(installation, n=2)
    await step(installation)
    assert [request.json["data"] for request in receiver.received] == [{}, {"n": 2}]


async def test_events_of_a_device_come_in_order(installation: Installation, receiver: Receiver) -> None:
    await create(installation, receiver.url)
    receiver.answer(204, 500)
    for n in range(6):
        await append(installation, device_id="a", n=n)
    for _ in range(3):
        await step(installation)
        installation.clock.ahead += 60
    assert [request.json["data"]["n"] for request in receiver.received] == [0, 1, 1, 2, 3, 4, 5]


async def test_many_events_go_several_at_a_time(installation: Installation, receiver: Receiver) -> None:
    await create(installation, receiver.url)
    receiver.gate.clear()
    for n in range(10):
        await append(installation, n=n)
    await installation.deliverer.step()
    await until(lambda: len(receiver.received) == delivery._MAX_EVENTS)
    await installation.deliverer.step()
    receiver.gate.set()
    await installation.deliverer.idle()
    assert sorted(request.json["data"]["n"] for request in receiver.received) == list(range(10))


async def test_a_server_that_stops_lets_go_of_what_it_has_not_delivered(
    installation: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await create(installation, receiver.url)).webhook
    receiver.gate.clear()
    await append(installation)
    stopping = Deliverer(installation.database, installation.sender)
    await stopping.step()
    await until(lambda: receiver.received)
    monkeypatch.setattr(delivery, "_CLOSE_SECONDS", 0.01)
    await stopping.close()
    receiver.gate.set()
    await step(installation)
    assert len(receiver.received) == 2
    assert receiver.received[0].id == receiver.received[1].id
    assert await deliveries(installation, made) == []


async def test_what_was_claimed_by_a_server_that_died_is_taken_over(
    installation: Installation, receiver: Receiver
) -> None:
    await create(installation, receiver.url)
    await append(installation)
    (name,) = await installation.database.read(lambda c: outbox.due(c, 2**62, 9))
    now = installation.clock.nanos()
    await installation.database.write(lambda c: outbox.claim(c, *name, now, now + 10**12, 9))
    await step(installation)
    assert receiver.received == []
    await installation.deliverer.take_over()
    await step(installation)
    assert len(receiver.received) == 1


async def test_it_goes_on_by_itself(installation: Installation, receiver: Receiver) -> None:
    await create(installation, receiver.url)
    running = asyncio.create_task(installation.deliverer.run())
    await append(installation)
    await until(lambda: receiver.received)
    running.cancel()


async def test_a_target_that_has_become_private_is_refused_at_delivery(
    installation: Installation, receiver: Receiver
) -> None:
    """The name is looked up for each attempt."""
    made = (await create(installation, f"https://localhost:{receiver.port}/")).webhook
    installation.targets._allow_private = False
    await append(installation)
    await step(installation)
    (failed,) = await deliveries(installation, made)
    assert (failed.status_code, failed.error) == (0, "the host resolves to an address that is not public")
    assert receiver.received == []
