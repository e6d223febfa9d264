"""Fixtures of the tests with real processes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from tests.conftest import ServerProcess
from tests.e2e.agents import StartAgent, agent_processes


@pytest.fixture
async def channel(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    """Give a channel to the data plane of the module's server."""
    async with server.channel() as channel:
        yield channel


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """Give the path of grpcurl."""
    if found := shutil.which("grpcurl"):
        return found
    if go := shutil.which("go"):
        answer = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True)
        path = Path(answer.stdout.strip()) / "bin" / "grpcurl"
        if path.exists():
            return str(path)
    pytest.skip("grpcurl is neither on PATH nor in GOPATH/bin")


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[StartAgent]:
    """Give a function that starts agents; what it started is killed when the test ends."""
    yield from agent_processes(tmp_path)
