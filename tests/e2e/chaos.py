"""Agents on two servers on one database, while everything is killed and moved.

As a program it does so at length: python -m tests.e2e.chaos --agents 20 --rounds 10
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from spacelink import SpaceLinkClient
from spacelink.errors import SpaceLinkError
from spacelink_server.access.first_start import OPERATOR_TOKEN_FILE
from spacelink_server.access.keys import MASTER_KEY_FILE
from tests.conftest import start_server
from tests.e2e.agents import Recording, agent_processes, assert_same_samples, make_recording
from tests.postgres import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conftest import ServerProcess
    from tests.e2e.agents import AgentProcess, StartAgent
    from tests.postgres import Cluster

# Small batches and few of them under way, so that there is always something to lose.
_SLOW = ("--batch-samples", "10", "--window", "2")
# Long enough for a machine that does much else.
_WAIT_SECONDS = 120.0


class Fleet:
    """Two servers, and agents that each replay a recording to one of them."""

    def __init__(
        self, directory: Path, cluster: Cluster, recordings: Sequence[Recording], start: StartAgent
    ) -> None:
        self._cluster = cluster
        self._url = cluster.create_database()
        self._recordings = recordings
        self._start = start
        self._directories = [directory / "one", directory / "two"]
        self.servers = [self._start_server(0)]
        self._directories[1].mkdir()
        for name in (MASTER_KEY_FILE, OPERATOR_TOKEN_FILE):
            shutil.copy(self._directories[0] / name, self._directories[1])
        self.servers.append(self._start_server(1))
        self._agents: list[AgentProcess] = []

    def start_agents(self) -> None:
        """Start all, every other one on the second server."""
        self._agents = [
            self._start(self.servers[number % 2], recording, *_SLOW)
            for number, recording in enumerate(self._recordings)
        ]

    def kill_server(self, number: int) -> None:
        """Kill a server, and start it again at its address."""
        killed = self.servers[number]
        killed.kill()
        self.servers[number] = self._start_server(number, listen=killed.address)

    def move_agents(self, chosen: Sequence[int], to: int) -> None:
        """Kill agents, and start them again on a server."""
        for number in chosen:
            self._agents[number].kill()
            self._agents[number] = self._start(self.servers[to], self._recordings[number], *_SLOW)

    def restart_database(self, *, kill: bool) -> None:
        """Have the database break all connections, or kill it, and start it again."""
        if kill:
            self._cluster.kill()
        else:
            self._cluster.stop()
        self._cluster.start()

    def stored(self) -> dict[str, int]:
        """Count the samples that are stored, by device: what was stored twice shows."""
        query = """
            SELECT device_id, sum(sample_count) FROM (
                SELECT device_id, sample_count FROM telemetry_segments
                UNION ALL SELECT device_id, sample_count FROM compacted_segments
            ) AS stored GROUP BY device_id"""
        with psycopg.connect(self._url) as connection:
            return {device_id: int(count) for device_id, count in connection.execute(query)}

    def wait_until_more_is_stored(self, samples: int) -> None:
        """Wait until so many more samples are stored, or all."""
        wanted = min(sum(self.stored().values()) + samples, self._total)
        deadline = time.monotonic() + _WAIT_SECONDS
        while sum(self.stored().values()) < wanted:
            assert time.monotonic() < deadline, self.stored()
            time.sleep(0.05)

    def finish(self) -> None:
        """Wait until the agents have delivered all, and see that all of it is stored once."""
        for agent in self._agents:
            assert agent.process.wait(_WAIT_SECONDS) == 0, agent.log
        expected = {recording.device_id: len(recording.expected) for recording in self._recordings}
        assert self.stored() == expected
        for number, server in enumerate(self.servers):
            with SpaceLinkClient(server.address, token=server.token) as client:
                for recording in self._recordings[number::2]:
                    ids = [recording.device_id]
                    stored = client.query_telemetry(device_ids=ids, as_columns=True)
                    assert_same_samples(stored[recording.device_id], recording.expected)

    def is_under_load(self) -> bool:
        """Tell whether agents still have something to deliver."""
        return sum(self.stored().values()) < self._total

    def works_again(self) -> float:
        """Wait until both servers answer, and give how many seconds that took."""
        start = time.monotonic()
        for server in self.servers:
            while not _answers(server):
                assert time.monotonic() - start < _WAIT_SECONDS, server.log
        return time.monotonic() - start

    def close(self) -> None:
        """End the servers."""
        for server in self.servers:
            server.kill()
        self._cluster.drop_database(self._url)

    @property
    def _total(self) -> int:
        return sum(len(recording.expected) for recording in self._recordings)

    def _start_server(self, number: int, **options: str) -> ServerProcess:
        return start_server(self._directories[number], "--database", self._url, **options)


def _answers(server: ServerProcess) -> bool:
    try:
        with SpaceLinkClient(server.address, token=server.token, retry_for=0) as client:
            client.summarize_telemetry(device_ids=["nobody"])
    except SpaceLinkError:
        return False
    return True


@contextlib.contextmanager
def fleet(directory: Path, cluster: Cluster, agents: int, rows: int) -> Iterator[Fleet]:
    """Make a fleet with recordings."""
    recordings = [make_recording(directory, f"dish-{n}", rows, seed=n) for n in range(agents)]
    for start in agent_processes(directory):
        made = Fleet(directory, cluster, recordings, start)
        try:
            yield made
        finally:
            made.close()


def harass(fleet: Fleet, agents: int, rounds: int, between: int) -> None:
    """Kill, restart and move everything, once a round each, with so many samples stored between."""
    rng = random.Random(1)
    fleet.start_agents()
    for number in range(rounds):
        fleet.wait_until_more_is_stored(between)
        before = fleet.is_under_load()
        fleet.restart_database(kill=number % 2 == 0)
        seconds = fleet.works_again()
        print(f"round {number + 1}: under load {before}, works again after {seconds:.2f} s", flush=True)
        for server in range(2):
            fleet.wait_until_more_is_stored(between)
            fleet.kill_server(server)
            fleet.wait_until_more_is_stored(between)
            fleet.move_agents(rng.sample(range(agents), max(agents // 4, 1)), to=server)
    print(f"still under load: {fleet.is_under_load()}", flush=True)
    fleet.finish()


def main() -> None:
    """Run it at length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--between", type=int, default=2_000)
    wanted = parser.parse_args()
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="spacelink-chaos-") as directory,
        running_cluster({}) as cluster,
        fleet(Path(directory), cluster, wanted.agents, wanted.rows) as made,
    ):
        harass(made, wanted.agents, wanted.rounds, wanted.between)
        print(f"all {made.stored()} once, after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
