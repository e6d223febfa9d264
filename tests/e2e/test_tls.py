"""TLS and mTLS between real processes: whom clients trust, and whom the server asks for a certificate."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from spacelink import SpaceLinkClient
from spacelink._channel import Security, open_channel
from spacelink.errors import UnavailableError, UntrustedServerError
from tests.certificates import LOOPBACK, Authority, Identity
from tests.conftest import ServerProcess, StartServer, start_server
from tests.e2e.agents import StartAgent, make_recording
from tests.e2e.calls import DEADLINE, SERVING

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give an authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def tls_flags(identity: Identity) -> tuple[str, ...]:
    return ("--tls-cert", str(identity.cert), "--tls-key", str(identity.key))


@pytest.fixture(scope="module")
def tls_server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = start_server(tmp_path_factory.mktemp("tls"), *tls_flags(authority.issue(*LOOPBACK)))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def mtls_server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    flags = (*tls_flags(authority.issue(*LOOPBACK)), "--tls-client-ca", str(authority.cert))
    server = start_server(tmp_path_factory.mktemp("mtls"), *flags)
    yield server
    server.kill()


def exchange(server: ServerProcess, device_id: str, *, address: str = "", **options: Any) -> None:
    """Store a sample and read it back, on streams and in single calls."""
    with SpaceLinkClient(address or server.address, token=server.token, **options) as client:
        assert client.ingest(device_id, [NOON], latency_ms=[30]) == 1
        (batch,) = client.query_telemetry(device_id)
        (summary,) = client.summarize_telemetry(device_id)
    assert batch.time_unix_nano.tolist() == [NOON]
    assert summary.sample_count == 1


def refusal(address: str, **options: Any) -> UnavailableError:
    with SpaceLinkClient(address, **options) as client, pytest.raises(UnavailableError) as caught:
        client.summarize_telemetry()
    return caught.value


async def admin_health(server: ServerProcess, **options: Any) -> int:
    async with open_channel(server.admin_address, Security.from_files(**options)) as channel:
        request = health_pb2.HealthCheckRequest()
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE)
    return int(answer.status)


async def test_both_planes_speak_tls(tls_server: ServerProcess, authority: Authority, device_id: str) -> None:
    exchange(tls_server, device_id, tls_ca=authority.cert)
    assert await admin_health(tls_server, tls_ca=authority.cert) == SERVING


def test_names_of_the_certificate_are_good_too(
    tls_server: ServerProcess, authority: Authority, device_id: str
) -> None:
    localhost = tls_server.address.replace("127.0.0.1", "localhost")
    exchange(tls_server, device_id, address=localhost, tls_ca=authority.cert)


def test_a_certificate_of_another_authority_is_not_trusted(
    tls_server: ServerProcess, stranger: Authority
) -> None:
    error = refusal(tls_server.address, tls_ca=stranger.cert, retry_for=DEADLINE, timeout=DEADLINE)
    # At once: waiting does not make it good.
    assert isinstance(error, UntrustedServerError)
    assert error.message.startswith("the server's certificate is not trusted: unable to get local issuer")


def test_a_certificate_for_another_host_is_not_trusted(
    servers: StartServer, authority: Authority, tmp_path: Path
) -> None:
    server = servers(tmp_path, *tls_flags(authority.issue("gateway.example", "192.0.2.1")))
    error = refusal(server.address, tls_ca=authority.cert)
    assert isinstance(error, UntrustedServerError)
    assert error.message == "the server's certificate is for another address"


def test_a_certificate_that_is_over_is_not_trusted(
    servers: StartServer, authority: Authority, tmp_path: Path
) -> None:
    server = servers(tmp_path, *tls_flags(authority.issue(*LOOPBACK, lifetime=timedelta(hours=-1))))
    error = refusal(server.address, tls_ca=authority.cert)
    assert isinstance(error, UntrustedServerError)
    assert "certificate has expired" in error.message


def test_a_server_without_tls_is_not_trusted(server: ServerProcess, authority: Authority) -> None:
    error = refusal(server.address, tls_ca=authority.cert)
    assert isinstance(error, UntrustedServerError)
    assert error.message == "the server speaks no TLS"


def test_plain_text_is_not_answered(tls_server: ServerProcess) -> None:
    error = refusal(tls_server.address, retry_for=0.0)
    assert "failed to connect" in error.message


async def test_mtls_lets_in_who_shows_a_certificate(
    mtls_server: ServerProcess, authority: Authority, device_id: str
) -> None:
    own = authority.issue()
    shown: dict[str, Any] = {"tls_ca": authority.cert, "tls_cert": own.cert, "tls_key": own.key}
    exchange(mtls_server, device_id, **shown)
    assert await admin_health(mtls_server, **shown) == SERVING


@pytest.mark.parametrize("plane", ["data", "admin"])
def test_mtls_keeps_everybody_else_out(
    mtls_server: ServerProcess, authority: Authority, stranger: Authority, plane: str
) -> None:
    address = mtls_server.address if plane == "data" else mtls_server.admin_address
    foreign = stranger.issue()
    refusal(address, tls_ca=authority.cert, retry_for=0.0)
    refusal(address, tls_ca=authority.cert, tls_cert=foreign.cert, tls_key=foreign.key, retry_for=0.0)


def command(server: ServerProcess, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spacelink", *args],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "SPACELINK_TOKEN": server.token, **variables},
    )


def test_commands_speak_tls(mtls_server: ServerProcess, authority: Authority, device_id: str) -> None:
    own = authority.issue()
    flags = ("--server", mtls_server.address, "--tls-ca", str(authority.cert), *tls_flags(own))
    sent = command(mtls_server, "telemetry", "send", "--device-id", device_id, "--latency-ms", "30", *flags)
    assert (sent.returncode, sent.stderr) == (0, "")
    latest = command(mtls_server, "telemetry", "latest", "--device-id", device_id, *flags)
    assert f'"{device_id}"' in latest.stdout


def test_settings_for_tls_may_be_variables(
    mtls_server: ServerProcess, authority: Authority, device_id: str
) -> None:
    own = authority.issue()
    sent = command(
        mtls_server,
        *("telemetry", "send", "--device-id", device_id, "--latency-ms", "30"),
        SPACELINK_SERVER=mtls_server.address,
        SPACELINK_TLS_CA=str(authority.cert),
        SPACELINK_TLS_CERT=str(own.cert),
        SPACELINK_TLS_KEY=str(own.key),
    )
    assert (sent.returncode, sent.stderr) == (0, "")


def only_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    return line


def test_commands_say_what_is_wrong_in_a_line(
    tls_server: ServerProcess, mtls_server: ServerProcess, authority: Authority, stranger: Authority
) -> None:
    latest = ("telemetry", "latest", "--server")
    untrusted = only_error(command(tls_server, *latest, tls_server.address, "--tls-ca", str(stranger.cert)))
    assert f"cannot speak with the server at {tls_server.address}: the server's certificate" in untrusted
    assert "tls_ca" in untrusted
    nobody = only_error(command(mtls_server, *latest, mtls_server.address, "--tls-ca", str(authority.cert)))
    assert f"cannot reach the server at {mtls_server.address}: " in nobody
    plain = only_error(command(tls_server, *latest, tls_server.address))
    assert f"cannot reach the server at {tls_server.address}: " in plain


def test_a_proxy_does_not_get_what_is_for_this_machine(server: ServerProcess) -> None:
    proxy = "http://127.0.0.1:1"
    done = command(
        server, "telemetry", "latest", "--server", server.address, http_proxy=proxy, grpc_proxy=proxy
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_agent_delivers_over_mtls_once_it_trusts_the_server(
    mtls_server: ServerProcess,
    authority: Authority,
    stranger: Authority,
    agents: StartAgent,
    tmp_path: Path,
    device_id: str,
) -> None:
    own = authority.issue()
    recording = make_recording(tmp_path, device_id, 200, seed=7)
    wary = agents(mtls_server, recording, "--tls-ca", str(stranger.cert), *tls_flags(own))
    assert wary.process.wait(DEADLINE) == 1
    assert "the server's certificate is not trusted" in wary.log
    agents(mtls_server, recording, "--tls-ca", str(authority.cert), *tls_flags(own)).finish()
    options = {"tls_ca": authority.cert, "tls_cert": own.cert, "tls_key": own.key}
    with SpaceLinkClient(mtls_server.address, token=mtls_server.token, **options) as client:  # type: ignore[arg-type]
        (summary,) = client.summarize_telemetry(device_id)
    assert summary.sample_count == 200
