"""Partners: how they come in, where they call from, and their sandboxes."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    import httpx

    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess
    from tests.gateway_rest.conftest import StartBridge

PASSWORD = "correct horse 9"


def organization(**fields: Any) -> dict[str, Any]:
    """Describe a partner that no other test describes."""
    return {
        "tenant_id": f"acme-{uuid.uuid4()}",
        "display_name": "ACME",
        "contact_email": "ops@acme.example",
        "user_name": "anna",
        "password": PASSWORD,
        **fields,
    }


def log_in(bridge: BridgeProcess, tenant_id: str) -> httpx.Response:
    form = {"username": "anna", "password": PASSWORD, "tenant_id": tenant_id}
    with bridge.client() as anonymous:
        return anonymous.post("/v1/auth/token", data=form)


def test_from_a_registration_to_a_login(
    http: httpx.Client, bridges: StartBridge, server: ServerProcess
) -> None:
    """Comes from an address of its own: from each, few are taken."""
    bridge = bridges(server, "--trusted-proxy", "127.0.0.1/32")
    asked = organization()
    tenant_id = asked["tenant_id"]
    with bridge.client(headers={"X-Forwarded-For": "192.0.2.1"}) as anonymous:
        registered = anonymous.post("/v1/partners/register", json=asked)
        assert registered.status_code == 201
        partner_id = registered.json()["partner_id"]
        for _ in range(4):
            anonymous.post("/v1/partners/register", json=organization())
        refused = anonymous.post("/v1/partners/register", json=organization())
        assert problem(refused, 429)["reason"] == "RATE_LIMITED"
        assert int(refused.headers["Retry-After"]) > 0
    pending = http.get("/v1/partners/", params={"state": "pending"}).json()["partners"]
    (found,) = (each for each in pending if each["partner_id"] == partner_id)
    assert (found["state"], found["tenant_id"]) == ("pending", tenant_id)
    assert problem(log_in(bridge, tenant_id), 401)["reason"] == "INVALID_LOGIN"

    path = f"/v1/partners/{partner_id}/approve"
    approved = http.post(path, json={"samples_per_day": 10}).json()["partner"]
    assert (approved["state"], approved["partner_id"]) == ("approved", partner_id)
    assert problem(http.post(path, json={}), 409)["reason"] == "PARTNER_ALREADY_APPROVED"
    login = log_in(bridge, tenant_id).json()
    assert login["role"] == "partner"
    with bridge.client(login["access_token"]) as partner:
        listed = partner.get("/v1/partners/").json()["partners"]
        assert [each["partner_id"] for each in listed] == [partner_id]


def test_an_administrator_makes_a_partner(http: httpx.Client, bridge: BridgeProcess) -> None:
    asked = organization(samples_per_day=100)
    made = http.post("/v1/partners/", json=asked)
    assert made.status_code == 201
    assert made.json()["partner"]["state"] == "approved"
    assert PASSWORD not in made.text
    assert problem(http.post("/v1/partners/", json=asked), 409)["reason"] == "TENANT_ALREADY_EXISTS"
    token = log_in(bridge, asked["tenant_id"]).json()["access_token"]
    with bridge.client(token) as partner:
        assert problem(partner.post("/v1/partners/", json=organization()), 403)["reason"] == "WRONG_TENANT"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tenant_id": "Acme"}, "tenant_id"),
        ({"tenant_id": "acme-sandbox"}, "tenant_id"),
        ({"contact_email": "nobody"}, "contact_email"),
        ({"password": "short"}, "password"),
        ({"password": 12345678}, "password"),
        ({"state": "approved"}, "state"),
    ],
)
def test_a_registration_that_is_wrong_names_the_field(
    bridge: BridgeProcess, fields: dict[str, Any], field: str
) -> None:
    with bridge.client() as anonymous:
        told = problem(anonymous.post("/v1/partners/register", json=organization(**fields)), 422)
    assert told["errors"][0]["field"] == field


def test_partners_there_are_not(http: httpx.Client) -> None:
    assert problem(http.post("/v1/partners/nobody/approve", json={}), 404)["reason"] == "PARTNER_NOT_FOUND"
    assert problem(http.get("/v1/partners/nobody/ip-allowlist"), 404)["reason"] == "TENANT_NOT_FOUND"
    told = problem(http.get("/v1/partners/", params={"state": "gone"}), 422)
    assert told["errors"][0]["field"] == "state"


def test_the_allow_list_says_where_a_partner_calls_from(
    http: httpx.Client, bridge: BridgeProcess, partner: str
) -> None:
    path = f"/v1/partners/{partner}/ip-allowlist"
    key = http.post(f"/v1/partners/{partner}/api-keys/generate", json={}).json()["secret"]
    with bridge.client(headers={"X-API-Key": key}) as client:
        assert client.get(path).json() == {"cidrs": []}
        own = {"cidrs": ["192.0.2.0/24"]}
        assert problem(client.put(path, json=own), 422)["reason"] == "WOULD_LOCK_OUT"
        assert http.put(path, json=own).json() == own
        assert problem(client.get(path), 403)["reason"] == "ADDRESS_DENIED"
        both = {"cidrs": ["127.0.0.0/8", "192.0.2.0/24"]}
        assert http.put(path, json=both).status_code == 200
        assert client.get(path).json() == both
    told = problem(http.put(path, json={"cidrs": ["192.0.2.1/24"]}), 422)
    assert told["errors"][0]["field"] == "cidrs[0]"


def test_a_sandbox_is_made_tried_and_reset(http: httpx.Client, bridge: BridgeProcess, partner: str) -> None:
    path = f"/v1/partners/{partner}/sandbox"
    assert problem(http.post(f"{path}/reset"), 404)["reason"] == "SANDBOX_NOT_FOUND"
    made = http.post(path)
    assert made.status_code == 201
    assert made.json()["sandbox"]["tenant_id"] == f"{partner}-sandbox"
    assert problem(http.post(path), 409)["reason"] == "TENANT_ALREADY_EXISTS"
    with bridge.client(headers={"X-API-Key": made.json()["secret"]}) as client:
        latest = client.get("/v1/telemetry/latest").json()
        found = {sample["device_id"] for sample in latest["samples"]}
        assert found == set(made.json()["sandbox"]["device_ids"])
        reset = http.post(f"{path}/reset").json()
        assert problem(client.get("/v1/telemetry/latest"), 401)["reason"] == "INVALID_TOKEN"
    with bridge.client(headers={"X-API-Key": reset["secret"]}) as client:
        assert client.get("/v1/telemetry/latest").status_code == 200
