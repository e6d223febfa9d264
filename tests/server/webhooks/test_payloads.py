from __future__ import annotations

import json
from typing import Any

import pytest

from spacelink.v1.partner_pb2 import (
    WEBHOOK_PAYLOAD_ALERTMANAGER,
    WEBHOOK_PAYLOAD_CLOUDEVENTS,
    WEBHOOK_PAYLOAD_SPACELINK,
    WebhookPayload,
)
from spacelink_server.storage.outbox import EVENT_TYPES
from spacelink_server.webhooks import payloads
from spacelink_server.webhooks.payloads import Message, encode

TIME = 1_767_528_000_000_000_000
DATA = {"device_id": "site-7/dish", "incident_id": "i1", "cause": "latency", "measured": 88.5, "note": 'ö"x'}
MESSAGE = Message("acme", "e" * 32, "incident.opened", TIME, DATA)


def body(message: Message, payload: WebhookPayload.ValueType) -> tuple[str, Any]:
    content_type, data = encode(message, payload)
    assert encode(message, payload) == (content_type, data)
    return content_type, json.loads(data)


def test_our_own_form() -> None:
    assert body(MESSAGE, WEBHOOK_PAYLOAD_SPACELINK) == (
        "application/json",
        {
            "id": "e" * 32,
            "type": "incident.opened",
            "timestamp": "2026-01-04T12:00:00.000000000Z",
            "tenant_id": "acme",
            "data": DATA,
        },
    )


def test_cloudevents() -> None:
    assert body(MESSAGE, WEBHOOK_PAYLOAD_CLOUDEVENTS) == (
        "application/cloudevents+json",
        {
            "specversion": "1.0",
            "id": "e" * 32,
            "source": "/spacelink/tenants/acme",
            "type": "spacelink.incident.opened",
            "subject": "site-7/dish",
            "time": "2026-01-04T12:00:00.000000000Z",
            "datacontenttype": "application/json",
            "data": DATA,
        },
    )
    _, event = body(MESSAGE._replace(data={}), WEBHOOK_PAYLOAD_CLOUDEVENTS)
    assert "subject" not in event


def test_alertmanager() -> None:
    _, sent = body(MESSAGE, WEBHOOK_PAYLOAD_ALERTMANAGER)
    labels = {
        "alertname": "SpaceLinkIncident",
        "tenant_id": "acme",
        "device_id": "site-7/dish",
        "incident_id": "i1",
        "cause": "latency",
    }
    assert (sent["version"], sent["status"], sent["commonLabels"]) == ("4", "firing", labels)
    (alert,) = sent["alerts"]
    assert alert["labels"] == labels
    assert alert["annotations"] == {"measured": "88.5", "note": 'ö"x'}
    assert alert["startsAt"] == "2026-01-04T12:00:00.000000000Z"
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert len(alert["fingerprint"]) == 16


@pytest.mark.parametrize(
    ("begin", "end"), [("incident.opened", "incident.closed"), ("device.silent", "device.back")]
)
def test_an_alert_is_resolved_by_its_fingerprint(begin: str, end: str) -> None:
    _, firing = body(MESSAGE._replace(event_type=begin), WEBHOOK_PAYLOAD_ALERTMANAGER)
    later = {**DATA, "measured": 20.0, "start_time": "2026-01-04T12:00:00Z"}
    resolved_message = MESSAGE._replace(event_type=end, event_time=TIME + 10**9, data=later)
    _, resolved = body(resolved_message, WEBHOOK_PAYLOAD_ALERTMANAGER)
    assert resolved["status"] == resolved["alerts"][0]["status"] == "resolved"
    assert resolved["groupKey"] == firing["groupKey"]
    assert resolved["alerts"][0]["fingerprint"] == firing["alerts"][0]["fingerprint"]
    assert resolved["alerts"][0]["startsAt"] == "2026-01-04T12:00:00Z"
    assert resolved["alerts"][0]["endsAt"] == "2026-01-04T12:00:01.000000000Z"


@pytest.mark.parametrize("event_type", sorted({*EVENT_TYPES, payloads.TEST}))
def test_every_event_has_every_form(event_type: str) -> None:
    for payload in (
        WEBHOOK_PAYLOAD_SPACELINK,
        WEBHOOK_PAYLOAD_CLOUDEVENTS,
        WEBHOOK_PAYLOAD_ALERTMANAGER,
    ):
        assert body(MESSAGE._replace(event_type=event_type), payload)[1]
