"""Agents that replay recordings which the tests make up."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spacelink import TelemetryColumns
from tests.e2e.batches import START
from tests.e2e.calls import DEADLINE
from tests.leaks import WATCH

if TYPE_CHECKING:
    from tests.conftest import ServerProcess

# Long enough for a machine that does much else.
REPLAY_SECONDS = 40.0

_HEADER = (
    "timestamp",
    "state",
    "uptime_s",
    "pop_ping_latency_ms",
    "pop_ping_drop_rate",
    "downlink_throughput_bps",
    "uplink_throughput_bps",
    "fraction_obstructed",
    "currently_obstructed",
    "is_snr_above_noise_floor",
    "alerts_bitmask",
    "boresight_azimuth_deg",
    "boresight_elevation_deg",
    "hardware_version",
    "software_version",
    "end_counter",
    "latitude",
    "longitude",
)

# States of a dish and the DeviceStatus that each stands for.
_STATES = {"CONNECTED": 1, "SEARCHING": 3, "STOWED": 4}


@dataclass(frozen=True)
class Recording:
    """A recording of one dish at about 1 Hz, as a CSV file.

    Attributes:
        expected: the samples that it is to be stored as.
    """

    path: Path
    device_id: str
    expected: TelemetryColumns


def make_recording(directory: Path, device_id: str, rows: int, seed: int) -> Recording:
    """Make a recording with the columns of FjordLink's; some cells are empty."""
    rng = np.random.default_rng(seed)
    micros = START // 1000 + np.arange(rows) * 1_002_000 + rng.integers(0, 1000, rows)
    cells = {
        "pop_ping_latency_ms": rng.lognormal(3.4, 0.3, rows),
        "pop_ping_drop_rate": np.where(rng.random(rows) < 0.9, 0.0, rng.random(rows)),
        "downlink_throughput_bps": rng.exponential(2e7, rows),
        "uplink_throughput_bps": rng.exponential(2e6, rows),
        "fraction_obstructed": rng.random(rows) / 50,
        "boresight_azimuth_deg": rng.normal(60, 1, rows),
        "boresight_elevation_deg": rng.normal(81, 1, rows),
    }
    for values in cells.values():
        values[rng.random(rows) < 0.02] = np.nan
    states = rng.choice(list(_STATES), rows, p=[0.9, 0.08, 0.02])
    path = directory / f"{device_id}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _HEADER, restval="0")
        writer.writeheader()
        for row in range(rows):
            texts = {name: _cell(values[row]) for name, values in cells.items()}
            writer.writerow({"timestamp": _timestamp(micros[row]), "state": states[row], **texts})
    expected = TelemetryColumns.from_arrays(
        device_id,
        micros * 1000,
        status=[_STATES[state] for state in states],
        latency_ms=cells["pop_ping_latency_ms"],
        packet_loss_percent=cells["pop_ping_drop_rate"] * 100,
        downlink_mbps=cells["downlink_throughput_bps"] / 1e6,
        uplink_mbps=cells["uplink_throughput_bps"] / 1e6,
        obstruction_percent=cells["fraction_obstructed"] * 100,
        azimuth_deg=cells["boresight_azimuth_deg"],
        elevation_deg=cells["boresight_elevation_deg"],
    )
    return Recording(path, device_id, expected)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def _timestamp(micros: int) -> str:
    return f"{np.datetime64(int(micros), 'us')}Z"


def assert_same_samples(stored: TelemetryColumns, expected: TelemetryColumns) -> None:
    """See that samples are the same to the last bit, none missing and none twice."""
    np.testing.assert_array_equal(stored.time_unix_nano, expected.time_unix_nano)
    np.testing.assert_array_equal(stored.status, expected.status)
    assert set(stored.metrics) == set(expected.metrics)
    for name, values in expected.metrics.items():
        assert stored.metrics[name].dtype == np.float32
        np.testing.assert_array_equal(stored.metrics[name], values, err_msg=name)


@dataclass(frozen=True)
class AgentProcess:
    """A running `spacelink agent`."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def __post_init__(self) -> None:
        WATCH.log(self.log_file)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def kill(self) -> None:
        """End it without warning, as kill -9 does."""
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        """Wait until it has delivered everything."""
        status = self.process.wait(REPLAY_SECONDS)
        assert status == 0, self.log


class StartAgent(Protocol):
    """Type of the fixture agents."""

    def __call__(self, server: ServerProcess, recording: Recording, *flags: str) -> AgentProcess: ...


def agent_processes(directory: Path) -> Iterator[StartAgent]:
    """Give a function that starts replays; what it started is killed in the end."""
    started: list[AgentProcess] = []

    def start(server: ServerProcess, recording: Recording, *flags: str) -> AgentProcess:
        spool = directory / f"spool-{recording.device_id}"
        log_file = directory / f"agent-{recording.device_id}.log"
        command = [sys.executable, "-m", "spacelink", "agent", "--collector", "replay", "--speed", "max"]
        names = ["--server", server.address, "--device-id", recording.device_id]
        if "--api-key-file" not in flags:
            names += ["--token-file", str(server.token_file)]
        files = ["--file", str(recording.path), "--spool", str(spool)]
        with log_file.open("ab") as log:
            process = subprocess.Popen([*command, *names, *files, *flags], stdout=log, stderr=log)
        started.append(AgentProcess(process, log_file))
        return started[-1]

    yield start
    for agent in started:
        agent.kill()


@contextmanager
def simulating(server: ServerProcess, directory: Path, *flags: str) -> Iterator[AgentProcess]:
    """Run an agent that sends a few batches a second until it is told to stop."""
    command = [sys.executable, "-m", "spacelink", "agent", "--server", server.address]
    command += ["--collector", "simulator", "--interval", "0.1", "--batch-age", "0.1"]
    command += ["--spool", str(directory / "spool"), *flags]
    log_file = directory / "agent.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    agent = AgentProcess(process, log_file)
    try:
        yield agent
    finally:
        agent.kill()


def put_secret(path: Path, secret: object) -> Path:
    """Write a file that holds a credential, in one step."""
    new = path.with_suffix(".new")
    new.write_text(f"{secret}\n")
    return new.replace(path)


def wait_until(condition: Callable[[], bool], agent: AgentProcess) -> None:
    """Wait for something that an agent brings about."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert agent.process.poll() is None, agent.log
        assert time.monotonic() < deadline, agent.log
        time.sleep(0.05)
