"""What is sent: an event in the form that a webhook asks for."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from spacelink._times import rfc3339_of
from spacelink.v1.partner_pb2 import (
    WEBHOOK_PAYLOAD_ALERTMANAGER,
    WEBHOOK_PAYLOAD_CLOUDEVENTS,
    WEBHOOK_PAYLOAD_SPACELINK,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spacelink.v1.partner_pb2 import WebhookPayload

# The event that TestWebhook sends; nobody can ask for it.
TEST = "webhook.test"

# Events that end what another event began, by the name of the alert.
_ALERTS = {
    "incident.opened": ("SpaceLinkIncident", "firing"),
    "incident.closed": ("SpaceLinkIncident", "resolved"),
    "device.silent": ("SpaceLinkDeviceSilent", "firing"),
    "device.back": ("SpaceLinkDeviceSilent", "resolved"),
    "sla.at_risk": ("SpaceLinkSlaAtRisk", "firing"),
    "sla.breached": ("SpaceLinkSlaBreached", "firing"),
    "token.banned": ("SpaceLinkTokenBanned", "firing"),
    "quota.warning": ("SpaceLinkQuotaWarning", "firing"),
    "quota.exhausted": ("SpaceLinkQuotaExhausted", "firing"),
    "webhook.disabled": ("SpaceLinkWebhookDisabled", "firing"),
    TEST: ("SpaceLinkWebhookTest", "firing"),
}

# What tells one alert from another; the rest of an event's data describes it.
_IDENTITY = ("device_id", "network_id", "incident_id", "cause", "token_id", "digest", "webhook_id")

# How Alertmanager writes a time that is not known.
_NO_TIME = "0001-01-01T00:00:00Z"


class Message(NamedTuple):
    """An event to be sent.

    Attributes:
        tenant_id: whose it is.
        event_id: names it.
        event_type: what it is, such as "incident.opened".
        event_time: when it happened, nanoseconds since 1970 UTC.
        data: its data.
    """

    tenant_id: str
    event_id: str
    event_type: str
    event_time: int
    data: Mapping[str, Any]


def encode(message: Message, payload: WebhookPayload.ValueType) -> tuple[str, bytes]:
    """Give the content type and the body of a message; the same each time."""
    content_type, build = _FORMS[payload]
    body = json.dumps(build(message), separators=(",", ":"), ensure_ascii=False)
    return content_type, body.encode()


def _spacelink(message: Message) -> dict[str, Any]:
    return {
        "id": message.event_id,
        "type": message.event_type,
        "timestamp": rfc3339_of(message.event_time),
        "tenant_id": message.tenant_id,
        "data": message.data,
    }


def _cloudevents(message: Message) -> dict[str, Any]:
    """Build an event of CloudEvents 1.0, JSON format, structured mode."""
    event = {
        "specversion": "1.0",
        "id": message.event_id,
        "source": f"/spacelink/tenants/{message.tenant_id}",
        "type": f"spacelink.{message.event_type}",
        "time": rfc3339_of(message.event_time),
        "datacontenttype": "application/json",
        "data": message.data,
    }
    if subject := message.data.get("device_id") or message.data.get("network_id"):
        event["subject"] = subject
    return event


def _alertmanager(message: Message) -> dict[str, Any]:
    """Build what Alertmanager sends, version 4, with one alert."""
    name, status = _ALERTS[message.event_type]
    values = {key: _label(value) for key, value in message.data.items()}
    labels = {"alertname": name, "tenant_id": message.tenant_id}
    labels |= {key: values[key] for key in _IDENTITY if key in values}
    annotations = {key: value for key, value in values.items() if key not in labels}
    time = rfc3339_of(message.event_time)
    alert = {
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": message.data.get("start_time", time),
        "endsAt": time if status == "resolved" else _NO_TIME,
        "generatorURL": "",
        "fingerprint": hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16],
    }
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f"{key}={json.dumps(labels[key])}" for key in sorted(labels)) + "}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "spacelink",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [alert],
    }


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_FORMS: dict[int, tuple[str, Callable[[Message], dict[str, Any]]]] = {
    WEBHOOK_PAYLOAD_SPACELINK: ("application/json", _spacelink),
    WEBHOOK_PAYLOAD_CLOUDEVENTS: ("application/cloudevents+json", _cloudevents),
    WEBHOOK_PAYLOAD_ALERTMANAGER: ("application/json", _alertmanager),
}
