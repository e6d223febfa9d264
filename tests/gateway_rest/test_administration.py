"""The admin routes: minting, bans, lineage and audit."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.audit import verify
from spacelink.token import Token
from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    import httpx

    from tests.gateway_rest.bridges import BridgeProcess


def mint(admin: httpx.Client, *caveats: str, **fields: str) -> dict[str, str]:
    response = admin.post("/api/v1/tokens", json={"caveats": caveats, **fields})
    assert response.status_code == 201, response.text
    minted: dict[str, str] = response.json()
    return minted


def latest(bridge: BridgeProcess, token: str) -> httpx.Response:
    with bridge.client(token) as client:
        return client.get("/v1/telemetry/latest")


def test_a_minted_token_is_good_until_it_is_banned(bridge: BridgeProcess, admin: httpx.Client) -> None:
    minted = mint(admin, "scope = telemetry:read", tenant_id="default")
    token = Token.parse(minted["token"])
    assert minted["token_id"] == token.identifier.token_id
    child = str(token.attenuate(label="child"))
    assert latest(bridge, child).status_code == 200

    banned = admin.post("/api/v1/governance/ban", json={"token": minted["token"], "reason": "leaked"})
    assert banned.status_code == 200
    ban = banned.json()["ban"]
    assert ban["digest"] == hashlib.sha256(token.macaroon.signature).hexdigest()
    assert ban["reason"] == "leaked"
    assert problem(latest(bridge, child), 403)["reason"] == "TOKEN_BANNED"
    listed = admin.get("/api/v1/governance/bans", params={"tenant_id": "default"}).json()
    assert ban in listed["bans"]

    assert admin.post("/api/v1/governance/unban", json={"ban_id": ban["ban_id"]}).json() == {}
    assert latest(bridge, child).status_code == 200


def test_a_token_is_banned_by_its_signature(bridge: BridgeProcess, admin: httpx.Client) -> None:
    token = Token.parse(mint(admin, "scope = telemetry:read")["token"])
    signature = {"signature": token.macaroon.signature.hex()}
    assert admin.post("/api/v1/governance/ban", json=signature).status_code == 200
    assert problem(latest(bridge, str(token)), 403)["reason"] == "TOKEN_BANNED"
    assert admin.post("/api/v1/governance/unban", json=signature).status_code == 200
    assert latest(bridge, str(token)).status_code == 200


def test_the_graph_shows_tokens_and_what_they_became(bridge: BridgeProcess, admin: httpx.Client) -> None:
    minted = mint(admin, "scope = telemetry:read")
    child = Token.parse(minted["token"]).attenuate(label="child")
    assert latest(bridge, str(child)).status_code == 200
    graph = admin.get("/api/v1/governance/graph", params={"token_id": minted["token_id"]}).json()
    caveats = [node["caveat"] for node in graph["nodes"]]
    assert caveats[-2:] == ["scope = telemetry:read", "label = child"]
    assert graph["nodes"][-1]["use_count"] == 1
    assert graph["nodes"][-1]["parent_digest"] == graph["nodes"][-2]["digest"]


def test_a_repeated_request_mints_one_token(admin: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"caveats": ["label = once"]}
    first, second = (admin.post("/api/v1/tokens", json=body, headers=key).json() for _ in range(2))
    assert first["token_id"] == second["token_id"]
    changed = admin.post("/api/v1/tokens", json={"caveats": []}, headers=key)
    assert problem(changed, 409)["reason"] == "REQUEST_ID_REUSED"


def test_audit_is_listed_in_pages(admin: httpx.Client) -> None:
    token_ids = [mint(admin)["token_id"] for _ in range(3)]
    parameters: dict[str, Any] = {"action": "token.mint", "limit": 2}
    first = admin.get("/api/v1/audit", params=parameters).json()
    second = admin.get("/api/v1/audit", params={**parameters, "cursor": first["next_cursor"]}).json()
    events = first["events"] + second["events"]
    assert [event["resource"].rpartition(":")[2] for event in events[:3]] == token_ids[::-1]
    assert all(isinstance(event["sequence"], int) for event in events)


def test_an_exported_chain_is_intact(admin: httpx.Client) -> None:
    mint(admin)
    response = admin.get("/api/v1/audit/export", params={"tenant_id": "default"})
    assert response.headers["Content-Type"] == "application/x-ndjson"
    lines = response.text.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert verify(response.content.splitlines()).event_count == len(lines)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token": "x"},
        {"signature": "00"},
        {"token": "x", "signature": 64 * "0"},
        {"minted_before": "yesterday"},
        {"colour": "red"},
    ],
)
def test_bans_of_nothing_in_particular(admin: httpx.Client, body: dict[str, str]) -> None:
    problem(admin.post("/api/v1/governance/ban", json=body), 422)


def test_bans_there_are_not(admin: httpx.Client) -> None:
    problem(admin.post("/api/v1/governance/unban", json={"ban_id": "unknown"}), 404)


def test_admin_routes_are_on_their_own_listener(http: httpx.Client, admin: httpx.Client) -> None:
    assert problem(http.get("/api/v1/audit"), 404)["reason"] == "ROUTE_NOT_FOUND"
    assert problem(admin.get("/v1/telemetry/latest"), 404)["reason"] == "ROUTE_NOT_FOUND"
