"""Fixtures of the SDK's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import repeat

import grpc.aio
import pytest

from spacelink._channel import open_channel
from tests.client.recorder import Recorder, recording
from tests.client.scripted import ScriptedServer


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(scripted: ScriptedServer) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(scripted.address) as channel:
        yield channel


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacelink.uplink.backoff_delays", lambda: repeat(0.0))


@pytest.fixture
def endless_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a test hang that waits for the uplink's own delays."""
    monkeypatch.setattr("spacelink.uplink.backoff_delays", lambda: repeat(1e6))


@pytest.fixture(scope="module")
def shared_recorder() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture
def recorder(shared_recorder: Recorder) -> Recorder:
    """Give a server of all services that writes down what it is asked."""
    shared_recorder.calls.clear()
    shared_recorder.answers.clear()
    return shared_recorder
