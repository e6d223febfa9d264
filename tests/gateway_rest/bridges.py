"""Real bridge processes for the tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.conftest import ANY_PORT, EXIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

_READY = re.compile(r"ready data=(\S+) admin=(\S+)\n")
# What a request may take on a machine that does much else.
_REQUEST_SECONDS = 30.0


@dataclass(frozen=True)
class BridgeProcess:
    """A running `spacelink rest`."""

    process: subprocess.Popen[str]
    address: str
    admin_address: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for_log(self, text: str) -> None:
        """Wait until a text is in the log: a request's line is written after its answer."""
        deadline = time.monotonic() + EXIT_SECONDS
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.log}"
            time.sleep(0.01)

    def client(self, token: str = "", **options: Any) -> httpx.Client:
        """Give a client of the data routes."""
        return _client(f"http://{self.address}", token, options)

    def admin_client(self, token: str = "", **options: Any) -> httpx.Client:
        """Give a client of the admin routes."""
        return _client(f"http://{self.admin_address}", token, options)

    def terminate(self) -> int:
        """Let it end, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        status = self.process.wait(EXIT_SECONDS)
        if self.process.stdout:
            self.process.stdout.close()
        return status


def _client(base_url: str, token: str, options: dict[str, Any]) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    # What proxies the environment names is not for this machine.
    return httpx.Client(
        base_url=base_url, headers=headers, timeout=_REQUEST_SECONDS, trust_env=False, **options
    )


def start_bridge(directory: Path, server: str, admin_server: str, *flags: str) -> BridgeProcess:
    """Start `spacelink rest` in front of a server's planes and wait until it accepts requests."""
    log_file = directory / "rest.log"
    upstream = ("--server", server, "--admin-server", admin_server)
    listen = ("--listen", ANY_PORT, "--admin-listen", ANY_PORT)
    with log_file.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "spacelink", "rest", *upstream, *listen, *flags],
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
        pytest.fail(f"the bridge did not start: {line}{log_file.read_text()}")
    return BridgeProcess(process, match[1], match[2], log_file)
