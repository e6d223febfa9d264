from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import grpc
import pytest
from click.testing import CliRunner

from spacelink.cli import main
from spacelink.v1.telemetry_pb2 import SubmitTelemetryRequest
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub
from spacelink_server.storage.sqlite import SqliteStore
from tests.credentials import AuthorizedChannel
from tests.server.samples import batch

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from tests.conftest import StartServer

ANY = "127.0.0.1:0"


def run(*arguments: str) -> Result:
    """Run a command that ends by itself."""
    result = CliRunner().invoke(main, ["server", *arguments])
    # Anything else would be a traceback.
    assert isinstance(result.exception, SystemExit)
    return result


def refused(*arguments: str) -> str:
    """Run a command that is used wrongly, and give what it says."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return result.output


def failed(data_dir: Path, *arguments: str) -> str:
    """Run a server that cannot start, and give what it says."""
    interval = sys.getswitchinterval()
    result = run("--data-dir", str(data_dir), "--listen", ANY, "--admin-listen", ANY, *arguments)
    sys.setswitchinterval(interval)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "nonsense"], "listen 'nonsense': expected HOST:PORT"),
        (["--admin-listen", "h:99999"], "admin_listen 'h:99999': expected HOST:PORT"),
        (["--listen", "0.0.0.0:50051"], "expected a loopback address"),
        (["--metrics-listen", "0.0.0.0:9464"], "metrics_listen 0.0.0.0:9464: expected a loopback address"),
        (["--metrics-listen", "9464"], "metrics_listen '9464': expected HOST:PORT"),
        (["--log-level", "loud"], "loud"),
        (["--log-format", "xml"], "xml"),
        (["--data-dir", __file__], "is a file"),
        (["--unheard-of"], "--unheard-of"),
    ],
)
def test_wrong_use(arguments: list[str], says: str) -> None:
    assert says in refused(*arguments)


def test_help_has_examples() -> None:
    result = CliRunner().invoke(main, ["server", "--help"])
    assert result.exit_code == 0
    for part in ("Examples:", "--data-dir", "--listen", "--admin-listen", "SPACELINK_DATA_DIR"):
        assert part in result.output


def test_settings_of_the_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are wrong, the one that counts is complained of."""
    config = tmp_path / "server.yaml"
    config.write_text("listen: from-the-file\n")
    assert "from-the-file" in refused("--config", str(config))
    monkeypatch.setenv("SPACELINK_LISTEN", "from-the-environment")
    assert "from-the-environment" in refused("--config", str(config))
    assert "from-the-flag" in refused("--config", str(config), "--listen", "from-the-flag")
    config.write_text("listne: 127.0.0.1:1\n")
    assert "listne" in refused("--config", str(config))


def test_a_data_directory_that_is_in_use(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    assert f"{tmp_path} is in use by another server" in failed(tmp_path)
    store.close()


@pytest.mark.parametrize("setting", ["listen", "admin_listen", "metrics_listen"])
def test_an_address_that_is_in_use(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = failed(tmp_path, f"--{setting.replace('_', '-')}", address)
    assert f"{setting} {address}: the address is in use" in said
    # What was opened before is closed again.
    SqliteStore(tmp_path).close()


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "spacelink.db").write_bytes(b"no database" * 1000)
    assert "not a database" in failed(tmp_path)
    assert "Not a directory" in failed(tmp_path / "spacelink.db" / "below")


def test_a_server_that_is_told_to_stop(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    with AuthorizedChannel(grpc.insecure_channel(server.address), server.token) as channel:
        request = SubmitTelemetryRequest(batch=batch(latency_ms=[1]))
        assert TelemetryServiceStub(channel).SubmitTelemetry(request, timeout=30).sample_count == 1
    assert server.terminate() == 0
    assert "Traceback" not in server.log
