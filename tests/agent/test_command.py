from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from spacelink import SpaceLinkClient, TelemetryColumns
from spacelink_agent.command import agent
from spacelink_agent.spool import Rejected, Spool, SpoolSettings
from tests.agent.recording import fjordlink_row, write_recording
from tests.conftest import EXIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess

ROWS = 500


def run(server: ServerProcess, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spacelink", "agent", *server.flags, *flags]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def replay_flags(path: Path, device_id: str) -> list[str]:
    return ["--collector", "replay", "--file", str(path), "--speed", "max", "--device-id", device_id]


def stored(server: ServerProcess, device_id: str) -> TelemetryColumns:
    with SpaceLinkClient(server.address, token=server.token) as client:
        columns: dict[str, TelemetryColumns] = client.query_telemetry(device_id, as_columns=True)
    return columns[device_id]


def recording(path: Path, count: int = ROWS) -> Path:
    rows = [
        fjordlink_row(f"2026-01-01T00:{row // 60:02}:{row % 60:02}.{row:06}Z", latency=20 + row / 7)
        for row in range(count)
    ]
    return write_recording(path, rows)


def test_replay_stores_the_whole_file_once(server: ServerProcess, device_id: str, tmp_path: Path) -> None:
    path = recording(tmp_path / "day.csv")
    flags = [*replay_flags(path, device_id), "--spool", str(tmp_path / "spool")]
    first = run(server, *flags)
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{path}: 500 samples in 9 batches stored, 0 rejected, 0 dropped\n"
    again = run(server, *flags)
    assert again.returncode == 0, again.stderr
    assert again.stdout == (
        f"{path}: 0 samples in 0 batches stored, 0 rejected, 0 dropped; earlier runs read 500 rows\n"
    )
    samples = stored(server, device_id)
    start = 1_767_225_600 * 10**9
    assert samples.time_unix_nano.tolist() == [start + row * 10**9 + row * 1000 for row in range(ROWS)]
    expected = np.array([20 + row / 7 for row in range(ROWS)]).astype(np.float32)
    assert np.array_equal(samples.metrics["latency_ms"], expected)


def test_bad_rows_are_set_aside_alone_and_may_be_corrected(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    path = recording(tmp_path / "day.csv", 70)
    text = path.read_text().replace(f",{20 + 65 / 7},", ",fast,").replace(f",{20 + 3 / 7},", ",-1,")
    path.write_text(text)
    spool = tmp_path / "spool"
    flags = ["--spool", str(spool)]
    result = run(server, *replay_flags(path, device_id), *flags)
    assert result.returncode == 1
    assert result.stdout == f"{path}: 68 samples in 1 batches stored, 2 rejected, 0 dropped\n"
    assert f"{path}:5: column pop_ping_latency_ms: -1 is out of range; expected finite" in result.stderr
    assert f"{path}:67: column pop_ping_latency_ms: expected a number, got 'fast'" in result.stderr
    assert len(stored(server, device_id)) == 68
    # Run again, it does not say that all is well.
    again = run(server, *replay_flags(path, device_id), *flags)
    assert again.returncode == 1
    assert f"earlier runs read 70 rows; set aside earlier: 2 rows in {spool / 'rejected'}\n" in again.stdout
    (set_aside,) = (spool / "rejected").glob("*.csv")
    exported = CliRunner().invoke(agent, ["rejected", "export", *flags])
    assert f"2 bad rows are in {set_aside}: correct them there, replay that file" in exported.stderr
    assert f"are set aside in {set_aside}, each with its line and what is wrong" in again.stderr
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(set_aside.read_text().replace(",-1,", ",21,").replace(",fast,", ",22,"))
    run(server, *replay_flags(corrected, device_id), *flags)
    assert len(stored(server, device_id)) == 70
    discarded = CliRunner().invoke(agent, ["rejected", "discard", set_aside.stem, *flags])
    assert discarded.output == "1 discarded\n"
    assert run(server, *replay_flags(path, device_id), *flags).returncode == 0


def test_what_the_server_rejected_is_listed_exported_and_sent_again(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    opened = Spool(spool, SpoolSettings())
    start = 1_767_225_600 * 10**9
    for number in (1, 2):
        samples = TelemetryColumns.from_arrays(device_id, [start + number], latency_ms=[number])
        opened.rejected.keep(number, samples.encode(), "DEVICE_QUOTA", "at most 1 device")
    opened.close()
    flags = ["--spool", str(spool)]
    listed = CliRunner().invoke(agent, ["rejected", "list", *flags, "--output", "json"])
    entries = [json.loads(line) for line in listed.output.splitlines()]
    assert [(e["name"], e["device_id"], e["samples"], e["reason"], e["message"]) for e in entries] == [
        ("1", device_id, 1, "DEVICE_QUOTA", "at most 1 device"),
        ("2", device_id, 1, "DEVICE_QUOTA", "at most 1 device"),
    ]
    exported = CliRunner().invoke(agent, ["rejected", "export", "2", *flags])
    (row,) = csv.DictReader(exported.output.splitlines())
    assert (row["device_id"], row["latency_ms"]) == (device_id, "2.0")
    # The agent's own flag names the spool, too.
    resent = CliRunner().invoke(agent, [*flags, "rejected", "resend", "1"])
    assert resent.output == f"1 batch is back in {spool}; the next start of the agent sends it\n"
    assert Rejected(spool / "rejected").count() == (1, 0)
    path = recording(tmp_path / "day.csv", 1)
    result = run(server, *replay_flags(path, device_id), *flags)
    assert result.returncode == 0, result.stderr
    assert f"set aside earlier: 1 batch in {spool / 'rejected'}" in result.stdout
    assert sorted(stored(server, device_id).metrics["latency_ms"]) == [1, 20]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("resend 9", "has set aside no 9; list says what there is"),
        ("discard", "expected NAMEs as list gives them, or --all"),
        ("discard --all 1", "expected NAMEs as list gives them, or --all"),
        ("list --spool nowhere", "Directory 'nowhere' does not exist"),
    ],
)
def test_what_is_not_set_aside_is_a_clear_error(tmp_path: Path, arguments: str, problem: str) -> None:
    result = CliRunner().invoke(agent, ["--spool", str(tmp_path), "rejected", *arguments.split()])
    assert result.exit_code == 2
    assert problem in " ".join(result.output.split())


def test_a_running_agents_spool_takes_nothing_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings())
    result = CliRunner().invoke(agent, ["rejected", "resend", "--spool", str(tmp_path)])
    spool.close()
    assert result.exit_code == 1
    assert f"is in use by another agent (process {os.getpid()})" in result.output
    assert "or stop that agent first" in result.output


def test_settings_come_from_a_file_and_sigterm_delivers(
    server: ServerProcess, device_id: str, tmp_path: Path
) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"server: {server.address}\ntoken_file: {server.token_file}\n"
        f"collector: simulator\nspool: {tmp_path / 'spool'}\n"
        f"device_id: [{device_id}, {device_id}-b]\ninterval: 0.1\nbatch_age: 1000\n"
    )
    command = [sys.executable, "-m", "spacelink", "agent", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "is open after batch 0" in line:
            break
    # A batch would be cut after six seconds or later; what is there is open.
    log = tmp_path / "spool" / "log" / f"{1:020d}.log"
    while log.stat().st_size < 2000:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(EXIT_SECONDS) == 0
    process.stderr.close()
    counts = re.search(r"samples: (\d+) collected, (\d+) acked, 0 rejected, 0 dropped; .* 0 spooled", rest)
    assert counts is not None, rest
    collected, acked = map(int, counts.groups())
    assert collected == acked > 2
    assert len(stored(server, device_id)) + len(stored(server, f"{device_id}-b")) == acked


def test_second_agent_on_a_spool_is_told_so(server: ServerProcess, tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings())
    result = run(server, "--collector", "simulator", "--spool", str(tmp_path))
    spool.close()
    assert result.returncode == 1
    problem = f"the spool {tmp_path} is in use by another agent (process {os.getpid()})"
    assert f"{problem}; give each agent a --spool of its own" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("", "Missing option '--collector'"),
        ("--collector gps", "'gps' is not one of 'simulator', 'host', 'replay'"),
        ("--collector replay", "--file: the collector replay needs a CSV file"),
        ("--collector replay --file nowhere.csv", "File 'nowhere.csv' does not exist"),
        ("--collector replay --file {file} --speed 0", "'0': expected a number above 0, or max"),
        ("--collector replay --file {file} --speed fast", "'fast': expected a number above 0, or max"),
        ("--collector replay --file {file} --column latency_ms", "--column 'latency_ms': expected METRIC="),
        ("--collector replay --file {file} --column latency_ms=rtt", "column 'rtt' is not in the header"),
        ("--collector replay --file {empty}", "empty.csv is empty; expected a line with the columns' names"),
        (
            "--collector replay --file {file} --device-id a --device-id b",
            "--device-id: the collector replay",
        ),
        ("--collector simulator --file {file}", "--file is for the collector replay"),
        ("--collector simulator --target a:1", "--target is for the collector host"),
        ("--collector simulator --device-id a --device-id a", "--device-id: expected each device once"),
        ("--collector simulator --device-id b*d", "--device-id 'b*d': expected 1 to 128 characters"),
        ("--collector simulator --interval 0", "Invalid value for '--interval'"),
        ("--collector simulator --batch-samples 0", "Invalid value for '--batch-samples'"),
        ("--collector simulator --spool-bytes 1000", "Invalid value for '--spool-bytes'"),
        ("--collector host", "--target: the collector host needs at least one HOST:PORT"),
        ("--collector host --target example.org", "--target 'example.org': expected HOST:PORT"),
        ("--collector host --target a:1 --interface dish9", "interface 'dish9' is unknown"),
        ("--collector simulator --token-file none", "none: cannot be read: No such file"),
        (
            "--collector simulator --token-file {file}",
            "day.csv: not a token (slk_...): does not start with slk_",
        ),
        ("--collector simulator --api-key-file {file}", "day.csv: not an API key (slak_...): expected"),
        ("--collector simulator --token-file a --api-key-file b", "not --token-file and --api-key-file"),
        ("--collector simulator --tls-cert {file}", "tls_cert and tls_key: expected both or neither"),
        ("--collector simulator --tls-ca {file}", "day.csv: expected certificates in PEM form"),
    ],
)
def test_wrong_usage_is_told_in_time(tmp_path: Path, flags: str, problem: str) -> None:
    path = recording(tmp_path / "day.csv", 1)
    (tmp_path / "empty.csv").touch()
    arguments = [part.format(file=path, empty=tmp_path / "empty.csv") for part in flags.split()]
    result = CliRunner().invoke(agent, [*arguments, "--spool", str(tmp_path / "spool")])
    assert result.exit_code == 2, result.output
    assert problem in " ".join(result.output.split())
    assert not (tmp_path / "spool").exists()


def test_help_has_examples() -> None:
    result = CliRunner().invoke(agent, ["--help"])
    assert result.exit_code == 0
    assert "spacelink agent --collector replay --file recording.csv.gz --speed max" in result.output
