"""TLS on both sides of the bridge."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.certificates import LOOPBACK, Authority, Identity
from tests.conftest import start_server
from tests.gateway_rest.bridges import start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue(*LOOPBACK)


@pytest.fixture(scope="module")
def protected_server(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, identity: Identity
) -> Iterator[ServerProcess]:
    """Give a server that speaks TLS and asks callers for a certificate."""
    tls = ("--tls-cert", str(identity.cert), "--tls-key", str(identity.key))
    server = start_server(tmp_path_factory.mktemp("server"), *tls, "--tls-client-ca", str(authority.cert))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def protected_bridge(
    tmp_path_factory: pytest.TempPathFactory,
    protected_server: ServerProcess,
    authority: Authority,
    identity: Identity,
) -> Iterator[BridgeProcess]:
    """Give a bridge that shows a certificate both ways, and asks for one."""
    own = authority.issue()
    listen = ("--tls-cert", str(identity.cert), "--tls-key", str(identity.key))
    upstream = ("--server-tls-cert", str(own.cert), "--server-tls-key", str(own.key))
    bridge = start_bridge(
        tmp_path_factory.mktemp("bridge"),
        protected_server.address,
        protected_server.admin_address,
        *(*listen, "--tls-client-ca", str(authority.cert)),
        *(*upstream, "--server-tls-ca", str(authority.cert)),
    )
    yield bridge
    bridge.kill()


def trusting(authority: Authority, identity: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert)
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    return context


def get(bridge: BridgeProcess, address: str, path: str, token: str, context: ssl.SSLContext) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        return client.get(f"https://{address}{path}", headers=headers).status_code


def test_requests_go_through_both(
    protected_bridge: BridgeProcess, protected_server: ServerProcess, authority: Authority
) -> None:
    context = trusting(authority, authority.issue())
    token = protected_server.token
    for path in ("/readyz", "/v1/telemetry/latest"):
        assert get(protected_bridge, protected_bridge.address, path, token, context) == 200
    for path in ("/readyz", "/api/v1/audit"):
        assert get(protected_bridge, protected_bridge.admin_address, path, token, context) == 200


def test_callers_must_show_a_certificate(protected_bridge: BridgeProcess, authority: Authority) -> None:
    # With TLS 1.3 the refusal follows on the handshake.
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
        get(protected_bridge, protected_bridge.address, "/healthz", "any", trusting(authority))


def test_plain_http_is_not_answered(protected_bridge: BridgeProcess) -> None:
    with protected_bridge.client() as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")
