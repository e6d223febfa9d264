"""Logging in."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from spacelink import AdminClient
from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    import httpx

    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess

PASSWORD = "correct horse battery staple"


@pytest.fixture
def user(server: ServerProcess) -> str:
    """Create a user who may read telemetry, and give the name."""
    name = f"user-{uuid.uuid4()}"
    with AdminClient(server.admin_address, token=server.token) as client:
        client.create_user(name, PASSWORD, "read_only")
    return name


def test_a_password_gives_a_token(bridge: BridgeProcess, user: str) -> None:
    with bridge.client() as client:
        form = {"username": user, "password": PASSWORD, "grant_type": "password"}
        response = client.post("/v1/auth/token", data=form)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        session = response.json()
        assert session["token_type"] == "bearer"
        assert session["role"] == "read_only"
        assert 0 < session["expires_in"] <= 1800
        headers = {"Authorization": f"Bearer {session['access_token']}"}
        assert client.get("/v1/telemetry/latest", headers=headers).status_code == 200
        refused = client.post("/v1/telemetry/send", headers=headers, json={"device_id": "d"})
        assert problem(refused, 403)["reason"] == "SCOPE_DENIED"


@pytest.mark.parametrize(
    "change", [{"password": "wrong"}, {"username": "nobody"}, {"tenant_id": "elsewhere"}]
)
def test_wrong_credentials(bridge: BridgeProcess, user: str, change: dict[str, str]) -> None:
    with bridge.client() as client:
        response = client.post("/v1/auth/token", data={"username": user, "password": PASSWORD, **change})
    assert problem(response, 401)["reason"] == "INVALID_LOGIN"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_password_is_neither_told_nor_logged(bridge: BridgeProcess) -> None:
    with bridge.client() as client:
        form = {"username": "u", "password": PASSWORD, "grant_type": "implicit"}
        response = client.post("/v1/auth/token", data=form)
    assert problem(response, 422)["errors"][0]["field"] == "grant_type"
    assert PASSWORD not in response.text
    assert PASSWORD not in bridge.log


def test_a_form_is_needed(http: httpx.Client) -> None:
    response = http.post("/v1/auth/token", json={"username": "u", "password": "p"})
    assert {error["field"] for error in problem(response, 422)["errors"]} == {"username", "password"}
