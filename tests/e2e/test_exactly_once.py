"""Agents deliver every sample exactly once, whoever is killed."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest

from spacelink import SpaceLinkClient
from tests.e2e.agents import REPLAY_SECONDS, Recording, assert_same_samples, make_recording
from tests.e2e.batches import stored_samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer
    from tests.e2e.agents import AgentProcess, StartAgent

_ROWS = 2000
_DEVICES = ("dish-a", "dish-b", "dish-c")
# Small batches and few of them under way, so that the kills find much to do.
_SLOW = ("--batch-samples", "10", "--window", "2")
# Kills come when this share of all samples is stored.
_SHARES = (0.1, 0.3, 0.5)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    return [make_recording(tmp_path, name, _ROWS, seed) for seed, name in enumerate(_DEVICES)]


def _wait_until_stored(server: ServerProcess, samples: float, running: list[AgentProcess]) -> None:
    """Wait until the server tells that so many samples are stored."""
    deadline = time.monotonic() + REPLAY_SECONDS
    with SpaceLinkClient(server.address, token=server.token) as client:
        while True:
            summaries = client.summarize_telemetry(metrics=["none"])
            if sum(summary.sample_count for summary in summaries) >= samples:
                return
            logs = "\n".join(agent.log for agent in running)
            assert time.monotonic() < deadline, f"{summaries} after {REPLAY_SECONDS} s\n{logs}"
            time.sleep(0.05)


def _assert_all_stored_once(server: ServerProcess, recordings: list[Recording]) -> None:
    assert stored_samples(server.data_dir) == {recording.device_id: _ROWS for recording in recordings}
    with SpaceLinkClient(server.address, token=server.token) as client:
        stored = client.query_telemetry(as_columns=True)
    assert set(stored) == set(_DEVICES)
    for recording in recordings:
        assert_same_samples(stored[recording.device_id], recording.expected)


def test_replay_at_full_speed(
    tmp_path: Path, servers: StartServer, agents: StartAgent, recordings: list[Recording]
) -> None:
    server = servers(tmp_path / "data")
    running = [agents(server, recording) for recording in recordings]
    for agent in running:
        agent.finish()
    _assert_all_stored_once(server, recordings)


def test_server_is_killed(
    tmp_path: Path, servers: StartServer, agents: StartAgent, recordings: list[Recording]
) -> None:
    total = _ROWS * len(recordings)
    server = servers(tmp_path / "data")
    running = [agents(server, recording, *_SLOW) for recording in recordings]
    for share in _SHARES:
        _wait_until_stored(server, share * total, running)
        server.kill()
        # Looks at a copy, so that it is the server that finds the log as the
        # kill left it.
        left = shutil.copytree(tmp_path / "data", tmp_path / f"left-{share}")
        assert share * total <= sum(stored_samples(left).values()) < total
        server = servers(tmp_path / "data", listen=server.address)
    for agent in running:
        agent.finish()
    _assert_all_stored_once(server, recordings)


def test_agents_are_killed(
    tmp_path: Path, servers: StartServer, agents: StartAgent, recordings: list[Recording]
) -> None:
    total = _ROWS * len(recordings)
    server = servers(tmp_path / "data")
    running = [agents(server, recording, *_SLOW) for recording in recordings]
    for share in _SHARES:
        _wait_until_stored(server, share * total, running)
        for agent in running:
            agent.kill()
        assert share * total <= sum(stored_samples(tmp_path / "data").values()) < total
        running = [agents(server, recording, *_SLOW) for recording in recordings]
    for agent in running:
        agent.finish()
    _assert_all_stored_once(server, recordings)
