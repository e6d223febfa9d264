"""Starts that cannot work: an exit status, one clear line, no traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from spacelink_server.command import server as server_command
from tests.certificates import Authority
from tests.conftest import ANY_PORT, EXIT_SECONDS, ServerProcess, StartServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ANY_PORTS = ("--listen", ANY_PORT, "--admin-listen", ANY_PORT)


def _failure(data_dir: Path, *flags: str) -> str:
    """Start a server that must not come up, and give its error."""
    return _only_error(_failure_log(data_dir, *flags))


def _failure_log(data_dir: Path, *flags: str) -> str:
    """Start a server that must not come up, and give all that it says."""
    command = [sys.executable, "-m", "spacelink", "server", "--data-dir", str(data_dir), *_ANY_PORTS]
    answer = subprocess.run(
        [*command, *flags], capture_output=True, text=True, timeout=EXIT_SECONDS, check=False
    )
    assert answer.returncode == 1
    assert answer.stdout == ""
    return answer.stderr


def _only_error(text: str) -> str:
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, text
    return errors[0]


def _usage_error(data_dir: Path, *flags: str) -> str:
    """Run a command that is wrong before anything starts, and give what it says."""
    answer = CliRunner().invoke(server_command, ["--data-dir", str(data_dir), *_ANY_PORTS, *flags])
    assert answer.exit_code == 2, answer.exception
    assert not data_dir.is_dir(), "nothing has been made yet"
    return _only_error(answer.stderr)


def test_second_server_on_the_same_directory(server: ServerProcess) -> None:
    assert f"{server.data_dir} is in use by another server" in _failure(server.data_dir)


def test_directory_is_free_again_after_a_kill(tmp_path: Path, servers: StartServer) -> None:
    servers(tmp_path).kill()
    servers(tmp_path)


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen", "--metrics-listen"])
def test_port_in_use(tmp_path: Path, used_port: int, flag: str) -> None:
    address = f"127.0.0.1:{used_port}"
    setting = flag.removeprefix("--").replace("-", "_")
    # The whole of what is said: gRPC adds no line of its own.
    expected = f"Error: {setting} {address}: the address is in use; {flag} takes another one\n"
    assert _failure_log(tmp_path / "data", flag, address) == expected
    assert not (tmp_path / "data").exists()


def test_database_that_is_down(tmp_path: Path) -> None:
    database = ("--database", "postgresql://spacelink:sesame@127.0.0.1:1/spacelink")
    said = _failure_log(tmp_path / "data", *database)
    assert said.startswith("Error: cannot connect to the database: connection to server at")
    assert said.endswith("Connection refused\n")
    assert said.count("\n") == 1
    assert "sesame" not in said
    assert not (tmp_path / "data").exists()


def test_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "data") in _failure(tmp_path / "file" / "data")


def test_store_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "spacelink.db").write_bytes(b"something else altogether" * 1000)
    assert "database" in _failure(tmp_path)


def test_usage_error_of_the_process(tmp_path: Path) -> None:
    """The one that shows that the others, run in this process, are what a user sees."""
    command = [sys.executable, "-m", "spacelink", "server", "--data-dir", str(tmp_path / "data")]
    answer = subprocess.run(
        [*command, "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=EXIT_SECONDS, check=False
    )
    assert answer.returncode == 2
    assert "loopback" in _only_error(answer.stderr)


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "example.org:50051"])
def test_listener_that_others_could_reach(tmp_path: Path, flag: str, address: str) -> None:
    message = _usage_error(tmp_path / "data", flag, address)
    assert address in message
    assert "loopback" in message


def test_tls_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, other = authority.issue("localhost"), authority.issue("localhost")
    cert, key = ("--tls-cert", str(own.cert)), ("--tls-key", str(own.key))
    data_dir = tmp_path / "data"
    assert "both or neither" in _usage_error(data_dir, *cert)
    assert "No such file" in _usage_error(data_dir, *cert, "--tls-key", str(tmp_path / "none"))
    assert "is not the key of" in _usage_error(data_dir, *cert, "--tls-key", str(other.key))
    assert "in PEM form" in _usage_error(data_dir, *cert, *key, "--tls-client-ca", str(own.key))
    assert "tls_client_ca" in _usage_error(data_dir, "--tls-client-ca", str(authority.cert))
    assert "insecure" in _usage_error(data_dir, *cert, *key, "--insecure")


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":50051", "127.0.0.1:²"]
)
def test_address_that_is_none(tmp_path: Path, address: str) -> None:
    assert "HOST:PORT" in _usage_error(tmp_path / "data", "--listen", address)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("listen: [127.0.0.1:0", "not YAML"),
        ("\x00", "not YAML"),
        ("- listen", "mapping"),
        ("lisen: 127.0.0.1:0", "unknown setting lisen"),
        ("5: 6", "unknown setting 5"),
        ("log_level: loud", "loud"),
        ("log_level: {a: b}", "log_level"),
        ("log_level: [info]", "log_level"),
        ("log_level: 5", "5"),
    ],
)
def test_config_file(tmp_path: Path, text: str, hint: str) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(text)
    assert hint in _usage_error(tmp_path / "data", "--config", str(config))


@pytest.mark.parametrize("values", ["data_dir: [1]", "data_dir: {a: b}"])
def test_config_file_with_a_data_directory_that_is_none(tmp_path: Path, values: str) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(values)
    answer = CliRunner().invoke(server_command, ["--config", str(config), *_ANY_PORTS])
    assert answer.exit_code == 2, answer.exception
    assert "data_dir" in _only_error(answer.stderr)


def test_config_file_that_is_missing(tmp_path: Path) -> None:
    assert "none.yaml" in _usage_error(tmp_path / "data", "--config", str(tmp_path / "none.yaml"))


def test_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in _usage_error(tmp_path / "file")


def test_unknown_flag(tmp_path: Path) -> None:
    assert "--lisen" in _usage_error(tmp_path / "data", "--lisen", ANY_PORT)


def test_settings_of_the_config_file_are_used(tmp_path: Path, servers: StartServer) -> None:
    """A flag wins over the file; a number in the file is as good as a text."""
    config = tmp_path / "server.yaml"
    config.write_text("log_level: error\nlisten:\nadmin_listen: 127.0.0.1:1\n")
    server = servers(tmp_path / "data", "--config", str(config))
    assert server.terminate() == 0
    assert server.log == "", "nothing below the level of the file is logged"
