"""The spacelink command as the tests run it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import pytest
from click.testing import CliRunner, Result

from spacelink.cli import main
from tests.client.recorder import Recorder
from tests.conftest import ServerProcess

SPACELINK = [sys.executable, "-m", "spacelink"]
# Ends a test whose condition never comes true.
DEADLINE_SECONDS = 60.0


class Run(Protocol):
    """Type of the fixture run."""

    def __call__(self, *args: str) -> Result: ...


@pytest.fixture
def run(server: ServerProcess) -> Run:
    """Run a command in a pipe, against the module's server."""

    def run(*args: str) -> Result:
        variables = {"SPACELINK_SERVER": server.address, "SPACELINK_TOKEN_FILE": str(server.token_file)}
        result = CliRunner().invoke(main, args, env=variables)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


class Ask(Protocol):
    """Type of the fixture ask."""

    def __call__(self, *args: str, stdin: str | None = None, **variables: str) -> Result: ...


# Set for somebody else, these would change what a test sees.
_CLEAN = dict.fromkeys(
    (
        "SPACELINK_TOKEN",
        "SPACELINK_TOKEN_FILE",
        "SPACELINK_API_KEY",
        "SPACELINK_API_KEY_FILE",
        "SPACELINK_TENANT",
    )
)


@pytest.fixture
def ask(recorder: Recorder) -> Ask:
    """Run a command in a pipe, against the recorder."""

    def ask(*args: str, stdin: str | None = None, **variables: str) -> Result:
        servers = {"SPACELINK_SERVER": recorder.address, "SPACELINK_ADMIN_SERVER": recorder.address}
        result = CliRunner().invoke(main, args, input=stdin, env={**_CLEAN, **servers, **variables})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return ask


@dataclass
class Terminal:
    """A command that believes to be on a terminal."""

    process: subprocess.Popen[bytes]
    file: int
    text: str = field(default="")

    def read_until(self, *parts: str) -> None:
        """Wait until all parts are on the screen."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(part in self.text for part in parts):
            assert time.monotonic() < deadline, f"{parts} not in {self.text}"
            assert self._read(), f"ended before {parts}: {self.text}"

    def type(self, text: str) -> None:
        """Type what the command reads."""
        os.write(self.file, text.encode())

    def wait(self) -> int:
        """Read to the end and give the exit status."""
        while self._read():
            pass
        return self.process.wait(DEADLINE_SECONDS)

    def _read(self) -> bool:
        assert select.select([self.file], [], [], DEADLINE_SECONDS)[0], self.text
        try:
            data = os.read(self.file, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


@contextmanager
def terminal(
    *args: str, columns: int = 140, lines: int = 40, stdout: int | None = None
) -> Iterator[Terminal]:
    """Run a command on a terminal of its own; it is killed at the end.

    Args:
        args: the command.
        columns: the terminal's width.
        lines: its height.
        stdout: where its standard output goes instead.
    """
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm"}
    process = subprocess.Popen(
        [*SPACELINK, *args],
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env={**os.environ, **size},
        # Passwords are asked for on the controlling terminal, which must not be ours.
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
