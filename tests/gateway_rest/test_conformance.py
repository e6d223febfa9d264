"""The bridge does what its documents say, whatever it is sent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spacelink import SpaceLinkClient
from tests.conftest import start_server
from tests.gateway_rest.bridges import start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServerProcess

CONFIG = Path(__file__).parent / "schemathesis.toml"
# Some times what it takes on a busy machine; a bridge that hangs fails the test.
RUN_SECONDS = 300


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give a server of its own: among what it is sent are bans."""
    flags = ("--trusted-proxy", "127.0.0.1/32", "--webhook-allow-private")
    server = start_server(tmp_path_factory.mktemp("server"), *flags)
    yield server
    server.kill()


def conformance(document: str, token: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run schemathesis on a document."""
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}"]
    return subprocess.run(
        [*command, "run", document, "--no-color", "--header", f"Authorization: Bearer {token}"],
        cwd=directory,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def committing(server: ServerProcess) -> Iterator[None]:
    """Commit samples now and then, so that whoever watches sees one."""
    done = threading.Event()

    def commit() -> None:
        with SpaceLinkClient(server.address, token=server.token) as client:
            while not done.wait(0.2):
                client.send_telemetry("device-001", latency_ms=45.5)

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.timeout(2 * RUN_SECONDS)
@pytest.mark.parametrize("plane", ["data", "admin"])
def test_documents_hold(own_server: ServerProcess, tmp_path: Path, plane: str) -> None:
    bridge = start_bridge(tmp_path, own_server.address, own_server.admin_address)
    address = bridge.address if plane == "data" else bridge.admin_address
    try:
        with committing(own_server) if plane == "data" else contextlib.nullcontext():
            result = conformance(f"http://{address}/openapi.json", own_server.token, tmp_path)
    finally:
        bridge.kill()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in bridge.log
