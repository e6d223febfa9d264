"""API keys."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    import httpx

    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess


def generate(http: httpx.Client, partner: str, *caveats: str) -> dict[str, Any]:
    response = http.post(
        f"/v1/partners/{partner}/api-keys/generate", json={"display_name": "site", "caveats": caveats}
    )
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def send(bridge: BridgeProcess, key: str) -> httpx.Response:
    with bridge.client(headers={"X-API-Key": key}) as client:
        return client.post("/v1/telemetry/send", json={"device_id": "d", "latency_ms": 1})


def test_a_key_from_its_making_to_its_end(http: httpx.Client, bridge: BridgeProcess, partner: str) -> None:
    made = generate(http, partner, "scope = telemetry:write")
    assert send(bridge, made["secret"]).status_code == 200
    keys = http.get(f"/v1/partners/{partner}/api-keys").json()
    assert [key["key_id"] for key in keys["api_keys"]] == [made["api_key"]["key_id"]]
    assert keys["next_cursor"] is None
    assert made["secret"] not in str(keys)

    rotated = http.post(
        f"/v1/partners/{partner}/api-keys/rotate",
        json={"key_id": made["api_key"]["key_id"], "overlap": "0s"},
    )
    assert rotated.status_code == 201
    assert send(bridge, rotated.json()["secret"]).status_code == 200
    assert problem(send(bridge, made["secret"]), 401)["reason"] == "INVALID_TOKEN"

    key_id = rotated.json()["api_key"]["key_id"]
    assert http.delete(f"/v1/partners/{partner}/api-keys/{key_id}").status_code == 204
    assert problem(send(bridge, rotated.json()["secret"]), 401)["reason"] == "INVALID_TOKEN"


def test_a_key_does_what_its_caveats_say(http: httpx.Client, bridge: BridgeProcess, partner: str) -> None:
    made = generate(http, partner, "scope = telemetry:read")
    assert problem(send(bridge, made["secret"]), 403)["reason"] == "SCOPE_DENIED"


def test_keys_are_of_the_partner_in_the_path(
    http: httpx.Client, bridge: BridgeProcess, partner: str, server: ServerProcess
) -> None:
    made = generate(http, partner)
    with bridge.client(headers={"X-API-Key": made["secret"]}) as client:
        response = client.get("/v1/partners/default/api-keys", headers={"X-SpaceLink-Tenant": partner})
        assert problem(response, 403)["reason"] == "WRONG_TENANT"
        assert client.get(f"/v1/partners/{partner}/api-keys").status_code == 200


def test_a_repeated_request_makes_one_key(http: httpx.Client, partner: str) -> None:
    path, key = f"/v1/partners/{partner}/api-keys/generate", {"Idempotency-Key": str(uuid.uuid4())}
    made, again = (http.post(path, json={}, headers=key).json() for _ in range(2))
    assert made["secret"]
    assert again == {"secret": "", "api_key": made["api_key"]}


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("POST", "rotate", {"key_id": "unknown"}, "API_KEY_NOT_FOUND"),
        ("DELETE", "unknown", None, "API_KEY_NOT_FOUND"),
    ],
)
def test_keys_there_are_not(http: httpx.Client, method: str, path: str, body: Any, reason: str) -> None:
    response = http.request(method, f"/v1/partners/default/api-keys/{path}", json=body)
    assert problem(response, 404)["reason"] == reason


def test_partners_there_are_not(http: httpx.Client) -> None:
    assert problem(http.get("/v1/partners/nobody/api-keys"), 404)["reason"] == "TENANT_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"caveats": ["colour = red"]}, "caveats[0]"),
        ({"caveats": "scope = telemetry:read"}, "caveats"),
        ({"display_name": 7}, "display_name"),
        ({"tenant_id": "x"}, "tenant_id"),
        ([], "body"),
    ],
)
def test_wrong_bodies(http: httpx.Client, body: Any, field: str) -> None:
    told = problem(http.post("/v1/partners/default/api-keys/generate", json=body), 422)
    assert told["errors"][0]["field"] == field
