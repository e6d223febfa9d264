"""`spacelink telemetry export` against a real server."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spacelink import METRICS, SpaceLinkClient, TelemetryColumns
from tests.client.cli.conftest import DEADLINE_SECONDS, SPACELINK, Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess

MIDNIGHT = 1_769_817_600_000_000_000  # 2026-01-31T00:00:00Z
HOUR = 3600 * 1_000_000_000


@pytest.fixture
def stored(server: ServerProcess, device_id: str) -> TelemetryColumns:
    """Store three days of a device whose name is no name for a file."""
    random = np.random.default_rng(1)
    count = 300
    metrics = {name: random.random(count, np.float32) for name in (*METRICS, "azimuth_deg")}
    metrics["latency_ms"][3] = np.nan
    times = MIDNIGHT + 30 * HOUR + np.arange(count) * (HOUR // 10 + 7)
    samples = TelemetryColumns.from_arrays(f"{device_id}/a:b", times, status="ACTIVE", **metrics)
    with SpaceLinkClient(server.address, token=server.token) as client:
        client.ingest_columns([samples])
    return samples


def read(directory: Path) -> pa.Table:
    files = sorted(directory.glob("*/*.parquet"))
    return pa.concat_tables([pq.ParquetFile(file).read() for file in files])


def check(directory: Path, samples: TelemetryColumns) -> None:
    table = read(directory)
    assert set(table["device_id"].to_pylist()) == {samples.device_id}
    times = table["time"].to_numpy().view("i8")
    np.testing.assert_array_equal(times, samples.time_unix_nano)
    for name in METRICS:
        found = table[name].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(found, samples.metrics[name])
    extra = np.array([dict(row)["azimuth_deg"] for row in table["extra"].to_pylist()], np.float32)
    np.testing.assert_array_equal(extra, samples.metrics["azimuth_deg"])
    assert set(table["status"].to_pylist()) == {"ACTIVE"}


def test_samples_are_written_by_device_and_day(run: Run, stored: TelemetryColumns, tmp_path: Path) -> None:
    directory = tmp_path / "out"
    done = run("telemetry", "export", str(directory), "--device-id", stored.device_id)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"300 samples of 1 devices in {directory}\n"
    check(directory, stored)
    days = sorted(file.stem for file in directory.glob("*/*.parquet"))
    assert days == ["2026-02-01", "2026-02-02"]
    (name,) = {file.parent.name for file in directory.glob("*/*.parquet")}
    assert name == stored.device_id.replace("/", "%2F").replace(":", "%3A")
    assert pq.read_table(directory, columns=["latency_ms"]).num_rows == 300


def test_a_range_and_metrics(run: Run, stored: TelemetryColumns, tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    chosen = ["--start", "2026-02-01T12:00:00Z", "--end", "2026-02-02T01:00:00Z", "--metric", "power_w"]
    done = run("telemetry", "export", directory, "--device-id", stored.device_id, *chosen)
    assert done.exit_code == 0, done.output
    table = read(tmp_path / "out")
    times = stored.time_unix_nano
    kept = (times >= MIDNIGHT + 36 * HOUR) & (times < MIDNIGHT + 49 * HOUR)
    np.testing.assert_array_equal(table["time"].to_numpy().view("i8"), times[kept])
    np.testing.assert_array_equal(table["power_w"].to_numpy(), stored.metrics["power_w"][kept])
    assert table.column_names == ["device_id", "time", "power_w"]


def test_nothing_to_export(run: Run, device_id: str, tmp_path: Path) -> None:
    done = run("telemetry", "export", str(tmp_path / "out"), "--device-id", device_id)
    assert (done.exit_code, done.stdout) == (0, f"0 samples of 0 devices in {tmp_path / 'out'}\n")


def test_an_export_goes_on_where_it_was(run: Run, stored: TelemetryColumns, tmp_path: Path) -> None:
    directory = tmp_path / "out"
    run("telemetry", "export", str(directory), "--device-id", stored.device_id)
    first, second = sorted(directory.glob("*/*.parquet"))
    kept = first.stat()
    second.unlink()
    second.with_name(f"{second.name}.unfinished").write_bytes(b"half a file")
    done = run("telemetry", "export", str(directory))
    assert done.stdout == f"300 samples of 1 devices in {directory}\n"
    assert first.stat().st_mtime_ns == kept.st_mtime_ns
    check(directory, stored)
    assert {file.suffix for file in directory.glob("*/*")} == {".parquet"}


def test_an_export_that_was_killed(
    run: Run, server: ServerProcess, stored: TelemetryColumns, tmp_path: Path
) -> None:
    directory = tmp_path / "out"
    command = [*SPACELINK, "telemetry", "export", str(directory), "--device-id", stored.device_id]
    command += ["--server", server.address, "--token-file", str(server.token_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (directory / "_export.json").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert run("telemetry", "export", str(directory)).exit_code == 0
    check(directory, stored)


def test_another_export_in_the_same_directory(run: Run, stored: TelemetryColumns, tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    run("telemetry", "export", directory, "--device-id", stored.device_id)
    done = run("telemetry", "export", directory, "--metric", "power_w")
    assert done.exit_code == 2
    assert "holds another export" in done.stderr


def test_a_directory_with_something_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    done = run("telemetry", "export", str(tmp_path))
    assert done.exit_code == 2
    assert "is not empty, and holds no export" in done.stderr
