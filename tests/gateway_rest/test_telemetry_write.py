"""Samples sent through the bridge are what the server stores."""

from __future__ import annotations

import math
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink import SpaceLinkClient
from spacelink.columns import TelemetryColumns
from spacelink.token import Token
from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    import httpx

    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess

T0 = 1_767_528_000_000_000_000  # 2026-01-04T12:00:00Z
OLDER = {
    "organization": "ACME Corporation",
    "timestamp": "2026-01-04T12:00:00Z",
    "latency_ms": 45.5,
    "packet_loss_percent": 0.2,
    "signal_strength": -68.5,
    "status": "active",
}


def stored(server: ServerProcess, device_id: str) -> TelemetryColumns | None:
    with SpaceLinkClient(server.address, token=server.token) as client:
        return client.query_telemetry(device_id, as_columns=True).get(device_id)


def latencies(server: ServerProcess, device_id: str) -> list[float]:
    samples = stored(server, device_id)
    assert samples is not None
    return [float(value) for value in samples.metrics["latency_ms"]]


def test_a_sample_as_older_callers_send_it(http: httpx.Client, server: ServerProcess, device_id: str) -> None:
    response = http.post("/v1/telemetry/send", json={"device_id": device_id, **OLDER})
    assert (response.status_code, response.json()) == (200, {"sample_count": 1})
    samples = stored(server, device_id)
    assert samples is not None
    assert samples.time_unix_nano.tolist() == [T0]
    assert {name: values.tolist() for name, values in samples.metrics.items()} == {
        "latency_ms": [45.5],
        "packet_loss_percent": [np.float32(0.2)],
        "signal_strength_dbm": [-68.5],
    }
    assert samples.status is not None
    assert samples.status.tolist() == [1]


def test_all_that_a_sample_can_hold(http: httpx.Client, server: ServerProcess, device_id: str) -> None:
    sample = {
        "device_id": device_id,
        "timestamp": "2026-01-04T13:00:00.123456789+01:00",
        "latency_ms": 1,
        "jitter_ms": 2,
        "packet_loss_percent": 3,
        "signal_strength": 4,
        "downlink_mbps": 5,
        "uplink_mbps": 6,
        "obstruction_percent": 7,
        "power_w": 8,
        "status": "maintenance",
        "extra": {"temperature_c": 9, "snr": None},
    }
    assert http.post("/v1/telemetry/send", json=sample).status_code == 200
    samples = stored(server, device_id)
    assert samples is not None
    assert samples.time_unix_nano.tolist() == [T0 + 123_456_789]
    assert [values.tolist() for values in samples.metrics.values()][:8] == [[n] for n in range(1, 9)]
    assert samples.metrics["temperature_c"].tolist() == [9]
    assert math.isnan(samples.metrics["snr"][0])


def test_a_sample_without_a_time_is_of_now(http: httpx.Client, server: ServerProcess, device_id: str) -> None:
    before = time.time_ns()
    assert http.post("/v1/telemetry/send", json={"device_id": device_id, "latency_ms": 1}).is_success
    samples = stored(server, device_id)
    assert samples is not None
    assert before <= samples.time_unix_nano[0] <= time.time_ns()


def test_a_batch_of_several_devices(http: httpx.Client, server: ServerProcess, device_id: str) -> None:
    other = f"{device_id}-other"
    samples = [
        {"device_id": device_id, "timestamp": "2026-01-04T12:00:01Z", "latency_ms": 2},
        {"device_id": other, "timestamp": "2026-01-04T12:00:00Z", "status": "offline"},
        {"device_id": device_id, "timestamp": "2026-01-04T12:00:00Z", "power_w": 3},
    ]
    response = http.post("/v1/telemetry/batch", json=samples)
    assert (response.status_code, response.json()) == (200, {"sample_count": 3})
    of_one, of_other = stored(server, device_id), stored(server, other)
    assert of_one is not None
    assert of_other is not None
    assert of_one.time_unix_nano.tolist() == [T0, T0 + 1_000_000_000]
    assert [str(value) for value in of_one.metrics["latency_ms"]] == ["nan", "2.0"]
    assert [str(value) for value in of_one.metrics["power_w"]] == ["3.0", "nan"]
    assert of_one.status is None
    assert of_other.status is not None
    assert of_other.status.tolist() == [3]


@pytest.mark.parametrize(("path", "count"), [("send", 1), ("batch", 2)])
def test_a_repeated_request_is_served_once(
    http: httpx.Client, server: ServerProcess, device_id: str, path: str, count: int
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    sample = {"device_id": device_id, **OLDER, "latency_ms": 1}
    body: Any = sample if path == "send" else [sample, {"device_id": f"{device_id}-b", "latency_ms": None}]
    for _ in range(2):
        response = http.post(f"/v1/telemetry/{path}", json=body, headers=key)
        assert (response.status_code, response.json()) == (200, {"sample_count": count})
    assert latencies(server, device_id) == [1]


@pytest.mark.parametrize("path", ["send", "batch"])
def test_a_key_is_not_for_another_request(
    http: httpx.Client, server: ServerProcess, device_id: str, path: str
) -> None:
    """Its caller must not take for stored what is not."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    for latency, status in ((1, 200), (2, 409)):
        sample = {"device_id": device_id, **OLDER, "latency_ms": latency}
        body: Any = sample if path == "send" else [sample]
        response = http.post(f"/v1/telemetry/{path}", json=body, headers=key)
        assert response.status_code == status
    other = {"device_id": f"{device_id}-b", **OLDER}
    assert http.post("/v1/telemetry/send", json=other, headers=key).status_code == 409
    assert stored(server, f"{device_id}-b") is None
    assert "Idempotency-Key" in response.text
    assert "REQUEST_ID_REUSED" in response.text
    assert latencies(server, device_id) == [1]


@pytest.mark.parametrize("path", ["send", "batch"])
def test_samples_without_times_are_stored_once_for_a_key(
    http: httpx.Client, server: ServerProcess, device_id: str, path: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    for latency in (1, 1, 2):
        sample = {"device_id": device_id, "latency_ms": latency}
        body: Any = sample if path == "send" else [sample]
        response = http.post(f"/v1/telemetry/{path}", json=body, headers=key)
        assert (response.status_code, response.json()) == (200, {"sample_count": 1})
    assert latencies(server, device_id) == [1, 2]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"device_id": "no good"}, "device_id"),
        ({"timestamp": "1980-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": "2026-01-04T12:00:00"}, "timestamp"),
        ({"timestamp": 1767528000}, "timestamp"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"latency_ms": 1e300}, "latency_ms"),
        ({"latency_ms": "1"}, "latency_ms"),
        ({"packet_loss_percent": 101}, "packet_loss_percent"),
        ({"status": "asleep"}, "status"),
        ({"extra": {"No Name": 1}}, "extra.name"),
        ({"speed": 1}, "speed"),
    ],
)
def test_what_is_wrong_with_a_sample_is_told(
    http: httpx.Client, device_id: str, change: dict[str, Any], field: str
) -> None:
    told = problem(http.post("/v1/telemetry/send", json={"device_id": device_id, **OLDER, **change}), 422)
    assert [error["field"] for error in told["errors"]] == [field]
    assert "batch" not in told["detail"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"device_id": "d", "latency_ms": NaN}', "\ud800"])
def test_bodies_that_are_no_sample(http: httpx.Client, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    response = http.post("/v1/telemetry/send", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert problem(response, response.status_code)["reason"] in ("MALFORMED_MESSAGE", "INVALID_ARGUMENT")


def test_devices_of_a_batch_fail_apart(bridge: BridgeProcess, server: ServerProcess, device_id: str) -> None:
    token = Token.parse(server.token).attenuate(tenant="default", device=[device_id])
    samples = [{"device_id": device_id, **OLDER}, {"device_id": f"{device_id}-foreign", **OLDER}]
    with bridge.client(str(token)) as client:
        told = problem(client.post("/v1/telemetry/batch", json=samples), 403)
    assert told["reason"] == "DEVICE_DENIED"
    assert told["committed_sample_count"] == 1
    assert [failure["device_id"] for failure in told["failures"]] == [f"{device_id}-foreign"]
    assert stored(server, device_id) is not None
    assert stored(server, f"{device_id}-foreign") is None
