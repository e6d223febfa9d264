"""Webhooks: how they are managed. What is delivered when, the server's own tests say."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway_rest.answers import problem
from tests.server.webhooks.receiver import is_signed, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.server.webhooks.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def hooks(partner: str) -> str:
    """Give the path of a partner's webhooks."""
    return f"/v1/partners/{partner}/webhooks"


def create(http: httpx.Client, hooks: str, url: str, **fields: Any) -> dict[str, Any]:
    response = http.post(hooks, json={"url": url, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def test_a_webhook_from_its_making_to_its_end(http: httpx.Client, receiver: Receiver, hooks: str) -> None:
    wanted = {"event_types": ["token.banned"], "payload": "cloudevents", "display_name": "pager"}
    made = create(http, hooks, receiver.url, **wanted)
    webhook = made["webhook"]
    assert {name: webhook[name] for name in wanted} == wanted
    (listed,) = http.get(hooks).json()["webhooks"]
    assert listed == webhook
    path = f"{hooks}/{webhook['webhook_id']}"
    assert http.post(f"{path}/test").json() == {"delivered": True, "status_code": 204, "error": ""}
    assert is_signed(made["secret"], receiver.received[0])

    rotated = http.post(f"{path}/secret/rotate", json={"overlap": "3600s"}).json()
    assert rotated["webhook"]["old_secret_expire_time"]
    assert http.post(f"{path}/test").json()["delivered"]
    assert all(is_signed(each["secret"], receiver.received[1]) for each in (made, rotated))

    assert http.delete(path).status_code == 204
    assert http.get(hooks).json() == {"webhooks": [], "next_cursor": None}
    assert problem(http.delete(path), 404)["reason"] == "WEBHOOK_NOT_FOUND"


def test_a_webhook_that_is_gone_is_disabled_and_enabled(
    http: httpx.Client, receiver: Receiver, partner: str, hooks: str
) -> None:
    made = create(http, hooks, receiver.url)
    path = f"{hooks}/{made['webhook']['webhook_id']}"
    receiver.answer(500)
    told = http.post(f"{path}/test").json()
    assert (told["delivered"], told["status_code"]) == (False, 500)
    assert told["error"]
    assert http.get(f"{path}/deliveries", params={"dead_only": True}).json()["deliveries"] == []
    assert http.post(f"{path}/redeliver", json={}).json() == {"delivery_count": 0}
    assert http.post(f"{path}/enable").json()["webhook"]["disabled"] is False


def test_a_repeated_request_makes_one_webhook(http: httpx.Client, receiver: Receiver, hooks: str) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    made, again = (http.post(hooks, json={"url": receiver.url}, headers=headers).json() for _ in range(2))
    assert made == again
    assert len(http.get(hooks).json()["webhooks"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://hooks.acme.example/"}, "url"),
        ({"url": "https://127.0.0.1/", "event_types": ["rain"]}, "event_types[0]"),
        ({"url": "https://127.0.0.1/", "payload": "xml"}, "payload"),
        ({"url": "https://127.0.0.1/", "request_id": "x"}, "request_id"),
    ],
)
def test_wrong_bodies(http: httpx.Client, hooks: str, body: dict[str, Any], field: str) -> None:
    told = problem(http.post(hooks, json=body), 422)
    assert told["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/enable"),
        ("POST", "/secret/rotate"),
        ("GET", "/deliveries"),
        ("POST", "/redeliver"),
    ],
)
def test_webhooks_there_are_not(http: httpx.Client, method: str, path: str) -> None:
    body = {} if path in ("/secret/rotate", "/redeliver") else None
    response = http.request(method, f"/v1/partners/default/webhooks/unknown{path}", json=body)
    assert problem(response, 404)["reason"] == "WEBHOOK_NOT_FOUND"
