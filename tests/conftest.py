"""Real server processes for the tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio
import pytest

from spacelink import AsyncAdminClient
from tests.credentials import AuthorizedChannel
from tests.leaks import WATCH
from tests.postgres import Cluster, running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY_PORT = "127.0.0.1:0"
# Long enough for a machine that does much else; a server that hangs fails the test.
EXIT_SECONDS = 30.0

_READY = re.compile(r"ready data=(\S+) admin=(\S+)\n")


@dataclass(frozen=True)
class ServerProcess:
    """A running `spacelink server`."""

    process: subprocess.Popen[str]
    data_dir: Path
    address: str
    admin_address: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def token(self) -> str:
        """The operator's token."""
        return self.token_file.read_text().strip()

    @property
    def token_file(self) -> Path:
        return self.data_dir / "operator.token"

    @property
    def flags(self) -> tuple[str, ...]:
        """What commands of the data plane take to speak to it with the operator's token."""
        return ("--server", self.address, "--token-file", str(self.token_file))

    def channel(self, *options: tuple[str, int]) -> Any:
        """Give a channel of asyncio to the data plane that presents the operator's token."""
        return AuthorizedChannel(grpc.aio.insecure_channel(self.address, options), self.token)

    def admin_channel(self) -> Any:
        """Give one to the admin plane."""
        return AuthorizedChannel(grpc.aio.insecure_channel(self.admin_address), self.token)

    def admin(self) -> AsyncAdminClient:
        """Give the operator's client of the admin plane."""
        return AsyncAdminClient(self.admin_address, token=self.token)

    def kill(self) -> None:
        """End it without warning, as kill -9 does."""
        self.process.kill()
        self._wait()

    def terminate(self) -> int:
        """Let it drain, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        status = self.process.wait(EXIT_SECONDS)
        if self.process.stdout:
            self.process.stdout.close()
        return status


def start_server(data_dir: Path, *flags: str, listen: str = ANY_PORT) -> ServerProcess:
    """Start `spacelink server` and wait until it accepts calls."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log_file = data_dir / "server.log"
    command = [sys.executable, "-m", "spacelink", "server", "--data-dir", str(data_dir)]
    # All that a server can log is searched for secrets. A configuration file may
    # have a level of its own, over which the flag would win.
    level = () if "--config" in flags else ("--log-level", "debug")
    WATCH.data_dir(data_dir)
    WATCH.log(log_file)
    with log_file.open("a") as log:
        process = subprocess.Popen(
            [*command, *level, "--listen", listen, "--admin-listen", ANY_PORT, *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = _READY.fullmatch(line)
    if match is None:
        process.kill()
        process.wait()
        process.stdout.close()
        pytest.fail(f"the server did not start: {line}{log_file.read_text()}")
    return ServerProcess(process, data_dir, match[1], match[2], log_file)


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_any_log() -> Iterator[None]:
    """See at the end of the run that no process has logged a secret."""
    yield
    assert WATCH.leaks() == []


class StartServer(Protocol):
    """Type of the fixture servers."""

    def __call__(self, data_dir: Path, *flags: str, listen: str = ANY_PORT) -> ServerProcess: ...


@pytest.fixture
def servers() -> Iterator[StartServer]:
    """Give start_server; what it started is killed when the test ends."""
    started: list[ServerProcess] = []

    def start(data_dir: Path, *flags: str, listen: str = ANY_PORT) -> ServerProcess:
        started.append(start_server(data_dir, *flags, listen=listen))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give a server that a module's tests share; each takes devices of its own."""
    server = start_server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a PostgreSQL server; it must go on running."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """Give the URL of a database with the tables, of its own for each test."""
    url = cluster.create_database()
    yield url
    cluster.drop_database(url)


@pytest.fixture
def device_id() -> str:
    """Give a device that no other test uses."""
    return f"dish-{uuid.uuid4()}"
