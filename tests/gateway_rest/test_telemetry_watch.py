"""Live telemetry as server-sent events."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink import SpaceLinkClient
from spacelink.token import Token
from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.conftest import ServerProcess, StartServer
    from tests.gateway_rest.bridges import BridgeProcess
    from tests.gateway_rest.conftest import StartBridge

T0 = np.datetime64("2026-01-04T12:00:00", "ns")


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Read events as a browser does: comments are left out."""
    name, data = "", ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data += line.removeprefix("data: ")
        elif not line and data:
            yield name, json.loads(data)
            name, data = "", ""


def test_batches_come_as_they_are_committed(
    http: httpx.Client, server: ServerProcess, device_id: str
) -> None:
    parameters = {"device_id": device_id, "metric": ["signal_strength", "status"]}
    with (
        http.stream("GET", "/v1/telemetry/watch", params=parameters) as response,
        SpaceLinkClient(server.address, token=server.token) as client,
    ):
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Accel-Buffering"] == "no"
        for number in range(3):
            client.ingest(device_id, [T0], signal_strength_dbm=[-number], latency_ms=[1], status="OFFLINE")
        client.ingest(f"{device_id}-other", [T0], signal_strength_dbm=[1])
        client.ingest(device_id, [T0], signal_strength_dbm=[-3])
        found = events(response)
        batches = [next(found) for _ in range(4)]
    assert [name for name, _ in batches] == ["telemetry"] * 4
    assert [batch["samples"][0]["signal_strength"] for _, batch in batches] == [0, -1, -2, -3]
    assert batches[0][1] == {
        "device_id": device_id,
        "lost_batches": 0,
        "samples": [
            {
                "device_id": device_id,
                "timestamp": "2026-01-04T12:00:00.000000000Z",
                "signal_strength": 0,
                "status": "offline",
            }
        ],
    }


@pytest.mark.parametrize("device_ids", [[], ["another"]])
def test_a_refusal_is_no_stream(
    bridge: BridgeProcess, server: ServerProcess, device_id: str, device_ids: list[str]
) -> None:
    token = Token.parse(server.token).attenuate(tenant="default", device=[device_id])
    with bridge.client(str(token)) as client:
        response = client.get("/v1/telemetry/watch", params={"device_id": device_ids})
    assert problem(response, 403)["reason"] == "DEVICE_DENIED"


def test_a_ban_ends_a_watch_with_an_event(
    bridge: BridgeProcess, admin: httpx.Client, server: ServerProcess
) -> None:
    minted = admin.post("/api/v1/tokens", json={"caveats": ["scope = telemetry:read"]}).json()
    with bridge.client(minted["token"]) as client, client.stream("GET", "/v1/telemetry/watch") as response:
        assert admin.post("/api/v1/governance/ban", json={"token": minted["token"]}).is_success
        ((name, told),) = events(response)
    assert name == "error"
    assert (told["status"], told["reason"]) == (403, "TOKEN_BANNED")


def test_a_watcher_that_leaves_ends_its_call(bridge: BridgeProcess, server: ServerProcess) -> None:
    request_id = str(uuid.uuid4())
    with (
        bridge.client(server.token, headers={"X-Request-Id": request_id}) as client,
        client.stream("GET", "/v1/telemetry/watch"),
    ):
        assert request_id not in bridge.log
    # Its line is written when the call is over.
    bridge.wait_for_log(request_id)


def test_the_server_going_away_is_an_event(servers: StartServer, bridges: StartBridge, tmp_path: Any) -> None:
    server = servers(tmp_path / "server")
    bridge = bridges(server)
    with (
        bridge.client(server.token) as client,
        client.stream("GET", "/v1/telemetry/watch") as response,
    ):
        assert server.terminate() == 0
        ((name, told),) = events(response)
    assert (name, told["status"]) == ("error", 503)


def test_the_bridge_stopping_ends_watches(server: ServerProcess, bridges: StartBridge) -> None:
    bridge = bridges(server)
    with (
        bridge.client(server.token) as client,
        client.stream("GET", "/v1/telemetry/watch") as response,
    ):
        bridge.process.terminate()
        assert list(events(response)) == []
    assert bridge.terminate() == 0
    assert "rror" not in bridge.log
