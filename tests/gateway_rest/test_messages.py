"""Messages as JSON: what is written, what is read, and what the models say of it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError

from spacelink.admin.v1 import audit_pb2, governance_pb2
from spacelink.errors import InvalidArgumentError
from spacelink.v1 import network_pb2, partner_pb2
from spacelink_rest.messages import body_of, model_of, to_json

NETWORK = network_pb2.CreateNetworkRequest(
    network=network_pb2.Network(
        network_id="north",
        sla=network_pb2.Sla(
            availability_target_percent=99.5,
            period=network_pb2.SLA_PERIOD_QUARTER,
            min_outage=Duration(seconds=90),
            unknown_time=network_pb2.UNKNOWN_TIME_DOWN,
            maintenance_windows=[
                network_pb2.MaintenanceWindow(start_time=Timestamp(seconds=1, nanos=5), description="swap")
            ],
            objectives=[
                network_pb2.Objective(
                    metric=network_pb2.OBJECTIVE_METRIC_LATENCY_MS, percentile=95, target=100, severe=200
                )
            ],
        ),
    ),
    device_ids=["a", "b"],
)
NETWORK_JSON = {
    "network": {
        "network_id": "north",
        "display_name": "",
        "sla": {
            "availability_target_percent": 99.5,
            "period": "quarter",
            "min_outage": "90s",
            "unknown_time": "down",
            "maintenance_windows": [{"start_time": "1970-01-01T00:00:01.000000005Z", "description": "swap"}],
            "objectives": [{"metric": "latency_ms", "percentile": 95, "target": 100, "severe": 200}],
        },
        "profile_id": "",
        "device_count": 0,
    },
    "device_ids": ["a", "b"],
    "request_id": "",
}


def read(kind: Any, body: dict[str, Any], **options: Any) -> Any:
    """Read a body as its route does."""
    dependency = body_of(kind, {}, **options).dependency
    model = dependency.__annotations__["body"].__origin__
    return dependency(model.model_validate(body))


def test_messages_become_json_and_back() -> None:
    assert to_json(NETWORK) == NETWORK_JSON
    assert read(network_pb2.CreateNetworkRequest, NETWORK_JSON) == NETWORK


def test_what_is_written_fits_its_model() -> None:
    written = to_json(NETWORK)
    assert model_of(network_pb2.CreateNetworkRequest).model_validate(written).model_dump(exclude_none=True)


@pytest.mark.parametrize("kind", [partner_pb2.ListApiKeysResponse, governance_pb2.ListBansResponse])
def test_the_next_page_is_a_cursor(kind: Any) -> None:
    assert to_json(kind())["next_cursor"] is None
    assert to_json(kind(next_page_token="abc"))["next_cursor"] == "abc"
    assert "next_cursor" in model_of(kind).model_fields
    assert "next_page_token" not in model_of(kind).model_fields


def test_integers_are_numbers() -> None:
    assert to_json(audit_pb2.AuditEvent(sequence=2**62))["sequence"] == 2**62


def test_what_json_has_no_word_for_is_null() -> None:
    item = to_json(network_pb2.ScoreItem(measured=float("nan"), score=float("inf")))
    assert (item["measured"], item["score"]) == (None, None)


def test_values_of_newer_servers_are_numbers() -> None:
    assert to_json(network_pb2.Outage(cause=99))["cause"] == "99"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"min_outage": "90"},
        {"min_outage": "1h"},
        {"min_outage": 90},
        {"period": "SLA_PERIOD_DAY"},
        {"period": 1},
        {"availability_target_percent": "99"},
        {"availability_target_percent": True},
        {"objectives": [{"target": float("nan")}]},
        {"objectives": None},
        {"maintenance_windows": [{"start_time": "2026-01-01"}]},
        {"colour": "red"},
    ],
)
def test_values_that_do_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(network_pb2.CreateNetworkRequest, {"network": {"sla": change}})


def test_fields_that_a_body_does_not_have() -> None:
    with pytest.raises(ValidationError):
        read(network_pb2.CreateNetworkRequest, {"request_id": "x"}, leave_out=("request_id",))


def test_one_of_several_fields() -> None:
    assert read(governance_pb2.BanTokenRequest, {"token_id": "x"}).WhichOneof("target") == "token_id"
    with pytest.raises(InvalidArgumentError):
        read(governance_pb2.BanTokenRequest, {"token": "x", "token_id": "y"})
