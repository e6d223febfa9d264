"""What holds for every request: ids, sizes, credentials, addresses, health."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.token import Token
from tests.gateway_rest.answers import problem
from tests.gateway_rest.bridges import start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.conftest import ServerProcess, StartServer
    from tests.gateway_rest.bridges import BridgeProcess
    from tests.gateway_rest.conftest import StartBridge

PATHS = ["/healthz", "/v1/telemetry/latest", "/nowhere", "/docs"]


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_has_the_id_of_its_request(http: httpx.Client, bridge: BridgeProcess, path: str) -> None:
    request_id = f"trace/{uuid.uuid4()}"
    response = http.get(path, headers={"X-Request-Id": request_id})
    assert response.headers["X-Request-Id"] == request_id
    bridge.wait_for_log(request_id)
    assert f"GET {path} {response.status_code}" in bridge.log


def test_the_root_names_what_is_there(http: httpx.Client, admin: httpx.Client) -> None:
    for client in (http, admin):
        named = client.get("/").json()
        assert named.pop("service") == "SpaceLink"
        assert set(named) == {"docs", "openapi", "health", "readiness"}
        for path in named.values():
            assert client.get(path).status_code == 200, path


@pytest.mark.parametrize("given", [{}, {"X-Request-Id": "no good"}, {"X-Request-Id": 129 * "x"}])
def test_a_request_without_an_id_gets_one(http: httpx.Client, given: dict[str, str]) -> None:
    first, second = (http.get("/healthz", headers=given).headers["X-Request-Id"] for _ in range(2))
    assert uuid.UUID(first) != uuid.UUID(second)


def test_the_log_holds_neither_credentials_nor_questions(
    bridge: BridgeProcess, server: ServerProcess, device_id: str
) -> None:
    request_id = str(uuid.uuid4())
    with bridge.client(server.token, headers={"X-Request-Id": request_id}) as client:
        client.get("/v1/telemetry/latest", params={"device_id": device_id})
    bridge.wait_for_log(request_id)
    assert server.token not in bridge.log
    assert device_id not in bridge.log


def test_paths_and_methods_there_are_not(http: httpx.Client) -> None:
    assert problem(http.get("/v1/nothing"), 404)["reason"] == "ROUTE_NOT_FOUND"
    response = http.patch("/v1/telemetry/send")
    assert problem(response, 405)["reason"] == "METHOD_NOT_ALLOWED"
    assert response.headers["Allow"] == "POST"
    assert http.delete("/v1/networks/").headers["Allow"] == "GET, POST"
    assert http.get("/v1/partners/default/api-keys/rotate").headers["Allow"] == "POST"
    assert http.post("/docs").headers["Allow"] == "GET"


@pytest.mark.parametrize("is_told", [True, False])
def test_bodies_that_are_too_large(http: httpx.Client, is_told: bool) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(9):
            yield 1024 * 1024 * b" "

    content: Any = b"".join(parts()) if is_told else parts()
    headers = {"Content-Type": "application/json"}
    response = http.post("/v1/telemetry/batch", content=content, headers=headers)
    assert problem(response, 413)["reason"] == "BODY_TOO_LARGE"


def test_credentials_that_are_too_long(bridge: BridgeProcess) -> None:
    with bridge.client(9000 * "x") as client:
        response = client.get("/v1/telemetry/latest")
    assert problem(response, 431)["reason"] == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "CREDENTIAL_REQUIRED"),
        ([("Authorization", "Bearer none")], "INVALID_TOKEN"),
        ([("Authorization", "Basic dTpw")], "INVALID_TOKEN"),
        ([("Authorization", b"Bearer \xff")], "INVALID_TOKEN"),
        ([("X-API-Key", "none")], "INVALID_TOKEN"),
        ([("X-API-Key", "a"), ("Authorization", "Bearer b")], "AMBIGUOUS_CREDENTIAL"),
        ([("X-API-Key", "a"), ("X-API-Key", "b")], "AMBIGUOUS_CREDENTIAL"),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], "AMBIGUOUS_CREDENTIAL"),
    ],
)
def test_credentials_that_are_none(bridge: BridgeProcess, headers: Any, reason: str) -> None:
    with bridge.client() as client:
        response = client.get("/v1/telemetry/latest", headers=headers)
    assert problem(response, 401)["reason"] == reason
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/telemetry/latest", "/readyz", "/v1/telemetry/watch"])
def test_tenants_that_cannot_be_named(http: httpx.Client, path: str) -> None:
    response = http.get(path, headers={"X-SpaceLink-Tenant": b"\xff"})
    assert problem(response, 422)["errors"][0]["field"] == "x-spacelink-tenant"


def test_a_limit_says_when_to_come_back(bridge: BridgeProcess, server: ServerProcess) -> None:
    token = Token.parse(server.token).attenuate(tenant="default", rate_limit="1/day", label=str(uuid.uuid4()))
    with bridge.client(str(token)) as client:
        assert client.get("/v1/telemetry/latest").status_code == 200
        response = client.get("/v1/telemetry/latest")
    problem(response, 429)
    assert 0 < int(response.headers["Retry-After"]) <= 86_400


# Addresses: the caller's goes on to the server, which believes the bridge.


def from_address(server: ServerProcess, address: str) -> str:
    return str(Token.parse(server.token).attenuate(tenant="default", ip=[address]))


def test_the_server_sees_the_callers_address(bridge: BridgeProcess, server: ServerProcess) -> None:
    with bridge.client(from_address(server, "127.0.0.1")) as client:
        assert client.get("/v1/telemetry/latest").status_code == 200
    with bridge.client(from_address(server, "192.0.2.7")) as client:
        assert problem(client.get("/v1/telemetry/latest"), 403)["reason"] == "ADDRESS_DENIED"


def test_anybody_can_write_a_header(bridge: BridgeProcess, server: ServerProcess) -> None:
    headers = {"X-Forwarded-For": "192.0.2.7"}
    with bridge.client(from_address(server, "192.0.2.7"), headers=headers) as client:
        assert problem(client.get("/v1/telemetry/latest"), 403)["reason"] == "ADDRESS_DENIED"


def test_a_trusted_proxy_is_believed(bridges: StartBridge, server: ServerProcess) -> None:
    bridge = bridges(server, "--trusted-proxy", "127.0.0.0/8")
    with bridge.client(from_address(server, "192.0.2.7")) as client:
        for forwarded, status in (
            ("192.0.2.7", 200),
            ("10.0.0.1, 192.0.2.7", 200),
            ("192.0.2.7, 192.0.2.8", 403),
        ):
            headers = {"X-Forwarded-For": forwarded}
            assert client.get("/v1/telemetry/latest", headers=headers).status_code == status


# Health


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(bridge: BridgeProcess, path: str) -> None:
    with bridge.client() as data, bridge.admin_client() as admin:
        for client in (data, admin):
            response = client.get(path)
            assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_without_a_server_the_bridge_lives_but_is_not_ready(
    servers: StartServer, bridges: StartBridge, tmp_path: Path
) -> None:
    server = servers(tmp_path / "server")
    bridge = bridges(server)
    server.kill()
    with bridge.client(server.token) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/readyz", "/v1/telemetry/latest"):
            told = problem(client.get(path), 503)
            assert (told["reason"], told["detail"]) == ("UNAVAILABLE", "the server cannot be reached")
    again = servers(tmp_path / "server", listen=server.address)
    with bridge.client(again.token) as client:
        while client.get("/readyz").status_code != 200:
            pass  # the test's own time-out ends it
        assert client.get("/v1/telemetry/latest").status_code == 200


@pytest.fixture
def swapped(server: ServerProcess, tmp_path: Path) -> Iterator[BridgeProcess]:
    """Start a bridge that was given the server's planes the other way round."""
    bridge = start_bridge(tmp_path, server.admin_address, server.address)
    yield bridge
    bridge.kill()


def test_planes_given_the_other_way_round_are_named(swapped: BridgeProcess, server: ServerProcess) -> None:
    with swapped.client(server.token) as data, swapped.admin_client(server.token) as admin:
        for client, service, path in (
            (data, "spacelink.v1.TelemetryService", "/v1/telemetry/latest"),
            (admin, "spacelink.admin.v1.TokenService", "/api/v1/governance/bans"),
        ):
            told = problem(client.get("/readyz"), 503)
            assert (told["reason"], service in told["detail"]) == ("OTHER_PLANE", True)
            told = problem(client.get(path), 501)
            assert told["reason"] == "UNIMPLEMENTED"
            assert "--server must name its data plane and --admin-server its admin plane" in told["detail"]


# Pages of other origins


def preflight(client: httpx.Client) -> httpx.Response:
    headers = {
        "Origin": "https://dashboard.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    return client.options("/v1/telemetry/latest", headers=headers)


def test_pages_of_other_origins_may_not_call(http: httpx.Client) -> None:
    assert preflight(http).status_code == 405
    response = http.get("/v1/telemetry/latest", headers={"Origin": "https://dashboard.example"})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_pages_of_allowed_origins_may(bridges: StartBridge, server: ServerProcess) -> None:
    bridge = bridges(server, "--cors-origin", "https://dashboard.example")
    with bridge.client(server.token) as client:
        assert preflight(client).headers["Access-Control-Allow-Origin"] == "https://dashboard.example"
        response = client.get("/v1/telemetry/latest", headers={"Origin": "https://dashboard.example"})
        assert response.headers["Access-Control-Allow-Origin"] == "https://dashboard.example"
        assert "X-Request-Id" in response.headers["Access-Control-Expose-Headers"]
        other = client.get("/v1/telemetry/latest", headers={"Origin": "https://elsewhere.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
    with bridge.admin_client(server.token) as client:
        headers = {"Origin": "https://dashboard.example"}
        assert "Access-Control-Allow-Origin" not in client.get("/api/v1/audit", headers=headers).headers
