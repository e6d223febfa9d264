"""The bridge has no say: each route answers each caller as the gRPC calls behind it do.

Which calls those are, is written down nowhere. The bridge of these tests speaks
to the server through relays that keep what they pass on, and the same calls are
then made without it. The routes, and requests for them, are those of its
documents.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio
import httpx
import pytest

from spacelink import AdminClient, AsyncSpaceLinkClient, SpaceLinkClient
from spacelink.columns import TelemetryColumns
from spacelink.errors import from_rpc_error
from spacelink.token import Token
from spacelink_rest.problems import http_status
from tests.conftest import start_server
from tests.gateway_rest.bridges import start_bridge
from tests.gateway_rest.operations import Operation, operations
from tests.gateway_rest.relay import Call, Relay, running_relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    Commit: TypeAlias = Callable[[], Awaitable[None]]

    from tests.conftest import ServerProcess

PASSWORD = "correct horse battery staple"
ROLES = ("admin", "partner", "customer", "read_only")
OPEN = {"GET /healthz", "GET /readyz"}
# How long the answer to a call may take of which only its beginning is wanted.
ANSWER_SECONDS = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give a server of their own: others make the users whose logins are to fail here."""
    server = start_server(tmp_path_factory.mktemp("decisions"), "--trusted-proxy", "127.0.0.1/32")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def callers(server: ServerProcess) -> dict[str, dict[str, str]]:
    """Give the headers of all kinds of callers."""
    operator = Token.parse(server.token)
    tokens = {"operator": operator, "default": operator.attenuate(tenant="default")}
    tokens["elsewhere"] = operator.attenuate(tenant="elsewhere")
    tokens["one device"] = tokens["default"].attenuate(device=["device-001"])
    tokens["expired"] = tokens["default"].attenuate(expires="2020-01-01T00:00:00Z")
    with (
        AdminClient(server.admin_address, token=server.token) as admin,
        SpaceLinkClient(server.address, token=server.token) as client,
    ):
        admin.create_tenant("elsewhere")
        for role in ROLES:
            admin.create_user(f"a-{role}", PASSWORD, role)
            tokens[role] = client.create_session(f"a-{role}", PASSWORD).token
        tokens["banned"] = admin.mint_token()
        admin.ban_token(token=tokens["banned"])
        key = client.generate_api_key("agents", scope="telemetry:write")
    headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    return headers | {"nobody": {}, "forger": {"X-API-Key": "guess"}, "agent": {"X-API-Key": key.secret}}


async def test_routes_decide_as_their_calls(
    server: ServerProcess, tmp_path: Path, callers: dict[str, dict[str, str]]
) -> None:
    decided: dict[str, dict[str, str]] = {name: {} for name in callers}
    async with (
        running_relay(server.address) as data,
        running_relay(server.admin_address) as admin,
        committing(server) as commit,
    ):
        bridge = start_bridge(tmp_path, data.address, admin.address)
        try:
            for relay, address in ((data, bridge.address), (admin, bridge.admin_address)):
                async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
                    document = (await http.get("/openapi.json")).json()
                    for operation in operations(document):
                        for name, headers in callers.items():
                            decision = await through_bridge(http, operation, headers)
                            calls, relay.calls[:] = list(relay.calls), []
                            assert bool(calls) or str(operation) in OPEN, operation
                            assert decision == await without(relay, calls, commit), f"{operation} by {name}"
                            decided[name][str(operation)] = decision
        finally:
            bridge.kill()
    check_that_decisions_differ(decided)


@asynccontextmanager
async def committing(server: ServerProcess) -> AsyncIterator[Commit]:
    """Give what commits a sample in each tenant, so that whoever may watch sees one."""
    samples = TelemetryColumns.from_arrays("device-001", [1_767_528_000_000_000_000], latency_ms=[1])
    async with (
        AsyncSpaceLinkClient(server.address, token=server.token) as default,
        AsyncSpaceLinkClient(server.address, token=server.token, tenant="elsewhere") as elsewhere,
    ):

        async def commit() -> None:
            await default.submit_telemetry(samples)
            await elsewhere.submit_telemetry(samples)

        yield commit


async def through_bridge(http: httpx.AsyncClient, operation: Operation, headers: dict[str, str]) -> str:
    """Make a request, and give why it was refused; empty where it was not."""
    async with (
        asyncio.timeout(ANSWER_SECONDS),
        http.stream(**operation.example(), headers=headers) as response,
    ):
        if response.status_code not in (401, 403):
            return ""
        await response.aread()
        return f"{response.status_code} {response.json()['reason']}"


async def without(relay: Relay, calls: list[Call], commit: Commit) -> str:
    """Make calls, and give why the first of them was refused that was."""
    for call in calls:
        answer = relay.repeat(call)
        try:
            await answer.initial_metadata()
            if call.method.endswith("/WatchTelemetry"):
                await commit()
            await answer.read()
        except grpc.aio.AioRpcError as rpc_error:
            error = from_rpc_error(rpc_error)
            if http_status(error.code) in (401, 403):
                return f"{http_status(error.code)} {error.reason}"
        finally:
            answer.cancel()
    return ""


def check_that_decisions_differ(decided: dict[str, dict[str, str]]) -> None:
    """Look at some that are known, so that it is not nothing that was compared."""
    closed = {name: route for name, route in decided["nobody"].items() if name not in OPEN}
    login = closed.pop("POST /v1/auth/token")
    assert closed.pop("POST /v1/partners/register") == ""
    assert set(closed.values()) == {"401 CREDENTIAL_REQUIRED"}
    assert login == "401 INVALID_LOGIN"
    assert set(decided["banned"].values()) == {"403 TOKEN_BANNED", login, ""}
    assert decided["agent"]["POST /v1/telemetry/send"] == ""
    assert decided["agent"]["GET /v1/telemetry/"] == "403 SCOPE_DENIED"
    assert decided["read_only"]["GET /v1/telemetry/"] == ""
    assert decided["read_only"]["POST /v1/telemetry/send"] == "403 SCOPE_DENIED"
    assert decided["customer"]["GET /v1/telemetry/stats/summary"] == ""
    assert decided["partner"]["POST /api/v1/governance/ban"] == "403 SCOPE_DENIED"
    assert decided["admin"]["POST /api/v1/governance/ban"] == ""
    assert decided["one device"]["GET /v1/telemetry/watch"] == "403 DEVICE_DENIED"
    assert decided["admin"]["POST /v1/partners/"] == ""
    assert decided["partner"]["POST /v1/partners/"] == "403 SCOPE_DENIED"
    assert decided["partner"]["POST /v1/partners/{tenant_id}/webhooks"] == ""
    assert decided["customer"]["POST /v1/partners/{tenant_id}/webhooks"] == "403 SCOPE_DENIED"
    assert decided["elsewhere"]["GET /v1/partners/{tenant_id}/api-keys"] == "403 WRONG_TENANT"
