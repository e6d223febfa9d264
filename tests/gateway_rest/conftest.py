"""A server with a bridge in front of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Protocol

import pytest

from spacelink import AdminClient
from tests.conftest import start_server
from tests.gateway_rest.bridges import BridgeProcess, start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.conftest import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give a server that believes the bridge about addresses; each test takes names of its own."""
    flags = ("--trusted-proxy", "127.0.0.1/32", "--webhook-allow-private")
    server = start_server(tmp_path_factory.mktemp("server"), *flags)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory, server: ServerProcess) -> Iterator[BridgeProcess]:
    bridge = start_bridge(tmp_path_factory.mktemp("bridge"), server.address, server.admin_address)
    yield bridge
    bridge.kill()


@pytest.fixture
def partner(server: ServerProcess) -> str:
    """Create a tenant, and give its id."""
    tenant_id = f"partner-{uuid.uuid4()}"
    with AdminClient(server.admin_address, token=server.token) as client:
        client.create_tenant(tenant_id)
    return tenant_id


@pytest.fixture
def http(bridge: BridgeProcess, server: ServerProcess) -> Iterator[httpx.Client]:
    """Give a client of the data routes with the operator's token."""
    with bridge.client(server.token) as client:
        yield client


@pytest.fixture
def admin(bridge: BridgeProcess, server: ServerProcess) -> Iterator[httpx.Client]:
    """Give a client of the admin routes with the operator's token."""
    with bridge.admin_client(server.token) as client:
        yield client


class StartBridge(Protocol):
    """Type of the fixture bridges."""

    def __call__(self, server: ServerProcess, *flags: str) -> BridgeProcess: ...


@pytest.fixture
def bridges(tmp_path: Path) -> Iterator[StartBridge]:
    """Give start_bridge; what it started is killed when the test ends."""
    started: list[BridgeProcess] = []

    def start(server: ServerProcess, *flags: str) -> BridgeProcess:
        started.append(start_bridge(tmp_path, server.address, server.admin_address, *flags))
        return started[-1]

    yield start
    for bridge in started:
        bridge.kill()
