"""The bridge does what its documents say, whatever it is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
    server = start_server(tmp_path_factory.mktemp("server"), "--trusted-proxy", "127.0.0.1/32")
    yield server
    server.kill()


@pytest.mark.timeout(2 * RUN_SECONDS)
@pytest.mark.parametrize("plane", ["data", "admin"])
def test_documents_hold(own_server: ServerProcess, tmp_path: Path, plane: str) -> None:
    bridge = start_bridge(tmp_path, own_server.address, own_server.admin_address)
    address = bridge.address if plane == "data" else bridge.admin_address
    try:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}"),
                *("run", f"http://{address}/openapi.json", "--no-color"),
                *("--header", f"Authorization: Bearer {own_server.token}"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": ""},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    finally:
        bridge.kill()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in bridge.log
