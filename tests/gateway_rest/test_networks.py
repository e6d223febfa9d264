"""Networks through the bridge."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink import SpaceLinkClient
from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    import httpx

    from tests.conftest import ServerProcess

# A day in the past, so that what is asked about it does not change.
T0 = np.datetime64("2026-01-04T12:00:00", "ns")
HOUR = {"start": "2026-01-04T12:00:00Z", "end": "2026-01-04T13:00:00Z"}


@pytest.fixture
def network(http: httpx.Client, server: ServerProcess) -> dict[str, Any]:
    """Create a network with a device that was well for an hour, and give it."""
    device_id = f"dish-{uuid.uuid4()}"
    with SpaceLinkClient(server.address, token=server.token) as client:
        times = T0 + np.arange(3600) * np.timedelta64(1, "s")
        client.ingest(
            device_id,
            times,
            latency_ms=np.full(3600, 30),
            packet_loss_percent=np.zeros(3600),
            status="ACTIVE",
        )
    body = {
        "network": {
            "network_id": f"north/{uuid.uuid4()}",
            "display_name": "Northern sites",
            "sla": {"availability_target_percent": 99.5, "period": "month", "min_outage": "60s"},
        },
        "device_ids": [device_id],
    }
    response = http.post("/v1/networks/", json=body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()["network"]
    return made


def path(network: dict[str, Any], part: str) -> str:
    return f"/v1/networks/{network['network_id']}/{part}"


def test_what_is_created_is_listed(http: httpx.Client, network: dict[str, Any]) -> None:
    assert network["device_count"] == 1
    assert network["sla"]["period"] == "month"
    assert network["sla"]["min_outage"] == "60s"
    listed = http.get("/v1/networks/", params={"network_id": network["network_id"]}).json()
    assert listed == {"networks": [network], "next_cursor": None}


def test_a_repeated_request_creates_one(http: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"network": {"display_name": "twice"}}
    first, second = (http.post("/v1/networks/", json=body, headers=key).json() for _ in range(2))
    assert first == second
    again = {"network": {"network_id": first["network"]["network_id"]}}
    problem(http.post("/v1/networks/", json=again), 409)


def test_health(http: httpx.Client, network: dict[str, Any]) -> None:
    health = http.get(path(network, "health"), params=HOUR).json()
    assert health["network_id"] == network["network_id"]
    assert health["window"]["score"] == 100
    assert health["devices"][0]["window"]["sample_count"] == 3600
    assert health["scheme"] == "worst_device"
    assert health["next_cursor"] is None


def test_health_of_some_hours(http: httpx.Client, network: dict[str, Any]) -> None:
    by_hours = http.get(path(network, "health"), params={"hours": 1, "end": HOUR["end"]}).json()
    assert by_hours == http.get(path(network, "health"), params=HOUR).json()
    until_now = http.get(path(network, "health"), params={"hours": 0.5}).json()
    assert until_now["window"]["silent_device_count"] == 1


def test_sla(http: httpx.Client, network: dict[str, Any]) -> None:
    sla = http.get(path(network, "sla"), params=HOUR).json()
    assert sla["network"]["compliant"] is True
    assert sla["devices"][0]["availability_percent"] == 100
    period = http.get(path(network, "sla"), params={"period": "2026-01-15T00:00:00Z"}).json()
    assert (period["start_time"], period["end_time"]) == ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")


def test_trend(http: httpx.Client, network: dict[str, Any]) -> None:
    parameters = {**HOUR, "metric": "latency_ms", "step_minutes": 30}
    trend = http.get(path(network, "trend"), params=parameters).json()
    assert trend["step"] == "1800s"
    assert [point["count"] for point in trend["points"]] == [1800, 1800]
    assert trend["current"]["p50"] == pytest.approx(30, rel=0.01)
    missing = problem(http.get(path(network, "trend")), 422)
    assert missing["errors"][0]["field"] == "metric"


def test_incidents(http: httpx.Client, network: dict[str, Any]) -> None:
    assert http.get(path(network, "incidents"), params=HOUR).json()["next_cursor"] is None


@pytest.mark.parametrize("part", ["health", "sla", "trend?metric=latency_ms", "incidents"])
def test_networks_there_are_not(http: httpx.Client, part: str) -> None:
    problem(http.get(f"/v1/networks/nowhere/{part}"), 404)
