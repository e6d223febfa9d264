"""The telemetry commands against a real server."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from spacelink import METRICS, SpaceLinkClient, TelemetryColumns
from spacelink.cli import main
from tests.client.cli.conftest import DEADLINE_SECONDS, SPACELINK, Run, terminal
from tests.conftest import ServerProcess, StartServer

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def stored(server: ServerProcess, device_id: str) -> TelemetryColumns:
    """Store samples of a device with all there can be."""
    rng = np.random.default_rng(1)
    metrics = {name: rng.random(300, np.float32) for name in (*METRICS, "azimuth_deg")}
    metrics["latency_ms"][3] = np.nan
    samples = TelemetryColumns.from_arrays(
        device_id, NOON + np.arange(300) * 1_000_000_007, status=rng.integers(0, 5, 300), **metrics
    )
    with SpaceLinkClient(server.address, token=server.token) as client:
        client.ingest_columns([samples])
    return samples


def test_a_sample_that_is_sent_is_stored(run: Run, device_id: str) -> None:
    result = run(
        *("telemetry", "send", "--device-id", device_id, "--time", "2026-01-31T12:00:00.123456789Z"),
        *("--latency-ms", "0.1", "--metric", "azimuth_deg=212.5", "--status", "active"),
    )
    assert (result.exit_code, result.stdout) == (0, f"1 sample of {device_id} committed\n")
    assert json_lines(run("telemetry", "latest", "--device-id", device_id).stdout) == [
        {
            "device_id": device_id,
            "time": "2026-01-31T12:00:00.123456789Z",
            "latency_ms": 0.1,
            "azimuth_deg": 212.5,
            "status": "ACTIVE",
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["send", "--device-id", "d"], 2, "nothing to send"),
        (["send", "--device-id", "a b", "--power-w", "1"], 2, "device_id 'a b': expected"),
        (["send", "--device-id", "d", "--metric", "azimuth"], 2, "--metric azimuth: expected NAME=X"),
        (["send", "--device-id", "d", "--metric", "Azimuth=1"], 2, "--metric Azimuth: expected"),
        (["send", "--device-id", "d", "--power-w", "1", "--time", "noon"], 2, "'--time': 'noon': expected"),
        (
            ["send", "--device-id", "d", "--packet-loss-percent", "101"],
            2,
            "--packet-loss-percent: 101.0 is out of range",
        ),
        (
            ["send", "--device-id", "d", "--latency-ms", "nan"],
            2,
            "--latency-ms: nan is no value; expected finite values from 0",
        ),
        (
            ["send", "--device-id", "d", "--latency-ms=-1"],
            2,
            "--latency-ms: -1.0 is out of range; expected finite values from 0",
        ),
        (
            ["send", "--device-id", "d", "--metric", "az=inf"],
            2,
            "--metric az: inf is out of range; expected finite values",
        ),
        (
            ["send", "--device-id", "d", "--power-w", "1", "--time", "1980-01-01T00:00:00Z"],
            2,
            "--time: expected",
        ),
        (["query", "--start", "now", "--end", "-1h"], 1, "--end: expected a time not before --start"),
        (["query", "--device-id", "a b"], 1, "--device-id: expected"),
        (["query", "--metric", "Latency"], 2, "did you mean latency_ms? Known are latency_ms, jitter_ms,"),
        (["query", "--limit", "0"], 2, "--limit"),
        (["query", "--server", "nowhere"], 2, "'nowhere': expected HOST:PORT"),
        (["latest", "--server", "127.0.0.1:1"], 1, "cannot reach the server at 127.0.0.1:1"),
        (["watch", "--output", "table"], 2, "needs a terminal"),
        (["import", "no-such-file.csv"], 2, "no-such-file.csv"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, arguments: list[str], status: int, said: str) -> None:
    result = run("telemetry", *arguments)
    assert result.exit_code == status
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert said in lines[-1]
    assert len(lines) == (1 if status == 1 else 4)


@pytest.mark.parametrize("output", ["csv", "json"])
def test_what_query_writes_import_stores_bit_for_bit(
    run: Run, servers: StartServer, stored: TelemetryColumns, tmp_path: Path, output: str
) -> None:
    file = tmp_path / f"samples.{output}"
    query = ("telemetry", "query", "--device-id", stored.device_id, "--output")
    file.write_text(run(*query, output).stdout)
    other = servers(tmp_path / "other")
    result = run("telemetry", "import", *other.flags, str(file))
    assert (result.exit_code, result.stdout) == (0, "300 samples committed\n")
    with SpaceLinkClient(other.address, token=other.token) as client:
        copy = client.query_telemetry(stored.device_id, as_columns=True)[stored.device_id]
    assert np.array_equal(copy.time_unix_nano, stored.time_unix_nano)
    assert set(copy.metrics) == set(stored.metrics)
    for name, values in stored.metrics.items():
        assert copy.metrics[name].tobytes() == values.tobytes(), name
    assert np.array_equal(copy.status, stored.status)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_what_query_and_export_write_import_stores_bit_for_bit(
    server: ServerProcess,
    servers: StartServer,
    stored: TelemetryColumns,
    tmp_path: Path,
    kind: str,
) -> None:
    path = tmp_path / "samples"
    which = [*server.flags, "--device-id", stored.device_id]
    if kind == "arrow":
        query = [*SPACELINK, "telemetry", "query", *which, "--output", "arrow"]
        path.write_bytes(subprocess.run(query, stdout=subprocess.PIPE, check=True).stdout)
    else:
        subprocess.run([*SPACELINK, "telemetry", "export", str(path), *which], check=True)
    other = servers(tmp_path / "other")
    result = CliRunner().invoke(main, ["telemetry", "import", *other.flags, str(path)])
    assert (result.exit_code, result.stdout) == (0, "300 samples committed\n")
    with SpaceLinkClient(other.address, token=other.token) as client:
        copy = client.query_telemetry(stored.device_id, as_columns=True)[stored.device_id]
    assert np.array_equal(copy.time_unix_nano, stored.time_unix_nano)
    for name, values in stored.metrics.items():
        assert copy.metrics[name].tobytes() == values.tobytes(), name
    assert np.array_equal(copy.status, stored.status)  # type: ignore[arg-type]


def test_an_import_stores_the_good_rows_and_names_the_others(
    run: Run, device_id: str, tmp_path: Path
) -> None:
    file, report = tmp_path / "samples.csv", tmp_path / "bad.csv"
    bad = "".join(f"2026-01-31T12:01:{n:02}Z,-1\n" for n in range(12))
    file.write_text(f"time,latency_ms\n2026-01-31T12:00:00Z,1\n{bad}2026-01-31T12:02:00Z,3\n")
    result = run("telemetry", "import", "--device-id", device_id, str(file))
    assert (result.exit_code, result.stdout) == (1, "2 samples committed\n")
    first, *_, more, last = result.stderr.splitlines()
    assert first == f"{file}:3: column latency_ms: -1 is out of range; expected finite values from 0"
    assert more == "… and 2 more"
    assert last == "Error: rows that are no samples and were left out: 12; --rejected FILE.csv names all"
    stored = json_lines(run("telemetry", "query", "--device-id", device_id).stdout)
    assert [record["latency_ms"] for record in stored] == [1.0, 3.0]

    result = run("telemetry", "import", "--device-id", device_id, "--rejected", str(report), str(file))
    assert result.stderr.endswith(f"left out: 12; {report} has all of them\n")
    rows = list(csv.DictReader(report.read_text(encoding="utf-8").splitlines()))
    assert [row["row"] for row in rows] == [str(number) for number in range(3, 15)]
    assert {(row["file"], row["column"], row["value"]) for row in rows} == {(str(file), "latency_ms", "-1")}
    # The good ones are there once, although they were imported again.
    assert len(json_lines(run("telemetry", "query", "--device-id", device_id).stdout)) == 2


def test_an_import_stores_what_comes_before_a_file_that_cannot_be_read(
    run: Run, device_id: str, tmp_path: Path
) -> None:
    good, wrong = tmp_path / "good.csv", tmp_path / "wrong.parquet"
    good.write_text(f"device_id,time,power_w\n{device_id},2026-01-31T12:00:00Z,1\n")
    wrong.write_bytes(b"PAR1 and no more")
    result = run("telemetry", "import", str(good), str(wrong))
    assert (result.exit_code, result.stdout) == (1, "1 samples committed\n")
    assert f"Error: {wrong}: not readable as Parquet" in result.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no Parquet files in this directory" in run("telemetry", "import", str(empty)).stderr


def test_a_metric_that_nothing_has_is_named(run: Run, stored: TelemetryColumns) -> None:
    for command in ("query", "summary"):
        asked = ("telemetry", command, "--device-id", stored.device_id, "--metric")
        result = run(*asked, "latency")
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith(
            "unknown metric latency: no sample in the range has it; did you mean latency_ms? Known are "
        )
        for known in ("azimuth_deg", "latency_ms", "status"):
            assert run(*asked, known).stderr == "", known
        # A usual one needs no word where it was not measured.
        assert run(*asked, "power_w", "--end", "2020-01-01").stderr == ""


def test_a_device_without_any_sample_is_named(run: Run, stored: TelemetryColumns, device_id: str) -> None:
    ids = ("--device-id", stored.device_id, "--device-id", f"{device_id}-none")
    for command in ("query", "latest", "summary"):
        result = run("telemetry", command, *ids)
        assert result.exit_code == 1
        assert result.stderr == f"unknown device {device_id}-none: the server has no sample of it\n"
        assert result.stdout, "the others are shown"
    quiet = run("telemetry", "query", "--device-id", stored.device_id, "--end", "2020-01-01")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_csv_has_a_header_that_fits_all_devices(run: Run, stored: TelemetryColumns) -> None:
    text = run("telemetry", "query", "--device-id", stored.device_id, "--output", "csv").stdout
    header, *rows = csv.reader(text.splitlines())
    assert header == ["device_id", "time", *METRICS, "status", "extra"]
    assert len(rows) == 300
    first = dict(zip(header, rows[0], strict=True))
    assert first["time"] == "2026-01-31T12:00:00.000000000Z"
    assert np.float32(first["latency_ms"]) == stored.metrics["latency_ms"][0]
    assert list(json.loads(first["extra"])) == ["azimuth_deg"]
    assert rows[3][header.index("latency_ms")] == ""


def test_json_writes_missing_values_as_null(run: Run, stored: TelemetryColumns) -> None:
    records = json_lines(run("telemetry", "query", "--device-id", stored.device_id, "--limit", "4").stdout)
    assert [record["latency_ms"] is None for record in records] == [False, False, False, True]


def test_query_takes_a_range_metrics_and_a_limit(run: Run, stored: TelemetryColumns) -> None:
    arguments = ["--start", "2026-01-31T12:00:10Z", "--end", "2026-01-31T12:00:20Z", "--metric", "power_w"]
    records = json_lines(run("telemetry", "query", "--device-id", stored.device_id, *arguments).stdout)
    assert len(records) == 10
    assert all(set(record) == {"device_id", "time", "power_w"} for record in records)
    limited = run("telemetry", "query", "--device-id", stored.device_id, *arguments, "--limit", "7")
    assert json_lines(limited.stdout) == records[:7]


def test_arrow_is_a_stream_of_typed_columns(server: ServerProcess, stored: TelemetryColumns) -> None:
    query = ["telemetry", "query", *server.flags, "--device-id", stored.device_id]
    data = subprocess.run(
        [*SPACELINK, *query, "--output", "arrow"], stdout=subprocess.PIPE, check=True
    ).stdout
    table = pa.ipc.open_stream(data).read_all()
    table.validate(full=True)
    assert table.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert table["time"].cast(pa.int64()).to_pylist() == stored.time_unix_nano.tolist()
    assert table["latency_ms"].null_count == 1
    assert table["power_w"].to_numpy().tobytes() == stored.metrics["power_w"].tobytes()
    assert stored.status is not None
    assert table["status"].null_count == np.count_nonzero(stored.status == 0)
    extra = table["extra"].to_pylist()
    assert [dict(row)["azimuth_deg"] for row in extra] == stored.metrics["azimuth_deg"].tolist()

    named = [*query, "--output", "arrow", "--metric", "azimuth_deg"]
    data = subprocess.run([*SPACELINK, *named], stdout=subprocess.PIPE, check=True).stdout
    table = pa.ipc.open_stream(data).read_all()
    assert table.column_names == ["device_id", "time", "azimuth_deg"]
    assert table["azimuth_deg"].to_numpy().tobytes() == stored.metrics["azimuth_deg"].tobytes()


def test_summary_gives_one_record_for_each_metric(run: Run, stored: TelemetryColumns) -> None:
    records = json_lines(run("telemetry", "summary", "--device-id", stored.device_id).stdout)
    assert {record["metric"] for record in records} == set(stored.metrics)
    (latency,) = (record for record in records if record["metric"] == "latency_ms")
    assert latency["count"] == 299
    assert latency["max"] == float(np.nanmax(stored.metrics["latency_ms"]))
    per_device = run(
        "telemetry", "summary", "--device-id", stored.device_id, "--per-device", "--output", "csv"
    ).stdout
    header, *rows = csv.reader(per_device.splitlines())
    assert header == ["device_id", "metric", "count", "mean", "min", "p50", "p95", "p99", "max"]
    assert {row[0] for row in rows} == {stored.device_id}


def test_no_samples_in_the_range_are_no_error(run: Run, stored: TelemetryColumns) -> None:
    asked = ("telemetry", "summary", "--device-id", stored.device_id, "--end", "2020-01-01")
    for output, stdout in (("json", ""), ("csv", ""), ("table", "")):
        result = run(*asked, "--output", output)
        assert (result.exit_code, result.stdout) == (0, stdout)


def test_a_reader_that_goes_away_leaves_no_noise(server: ServerProcess, device_id: str) -> None:
    with SpaceLinkClient(server.address, token=server.token) as client:
        client.ingest(device_id, NOON + np.arange(20_000), latency_ms=np.zeros(20_000))
    query = ["telemetry", "query", *server.flags, "--device-id", device_id]
    for output in ("json", "csv", "arrow"):
        process = subprocess.Popen(
            [*SPACELINK, *query, "--output", output],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(DEADLINE_SECONDS) == 1


def test_watch_writes_samples_as_they_are_committed(server: ServerProcess, device_id: str) -> None:
    process = subprocess.Popen(
        [*SPACELINK, "telemetry", "watch", *server.flags, "--device-id", device_id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = threading.Event()

    def send() -> None:
        number = 0
        with SpaceLinkClient(server.address, token=server.token) as client:
            while not seen.wait(0.2):
                client.ingest(device_id, [NOON + number], power_w=[number])
                number += 1

    sender = threading.Thread(target=send)
    sender.start()
    assert process.stdout is not None
    line = process.stdout.readline()
    seen.set()
    sender.join()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert json.loads(line)["device_id"] == device_id
    assert (process.returncode, stderr) == (0, "")


def test_on_a_terminal_results_are_tables(server: ServerProcess, stored: TelemetryColumns) -> None:
    options = [*server.flags, "--device-id", stored.device_id]
    with terminal("telemetry", "query", *options, "--limit", "5") as screen:
        assert screen.wait() == 0
    assert "2026-01-31 12:00:00.000" in screen.text
    assert screen.text.count(stored.device_id) == 5
    with terminal("telemetry", "summary", *options) as screen:
        assert screen.wait() == 0
    assert "300 samples\r\nfrom 2026-01-31T12:00:00.000000000Z" in screen.text
    with terminal("telemetry", "query", *options, "--output", "arrow") as screen:
        assert screen.wait() == 2
    assert "arrow is binary" in screen.text


def test_on_a_terminal_watch_is_a_live_table(server: ServerProcess, stored: TelemetryColumns) -> None:
    metrics = ("--metric", "latency_ms", "--metric", "no_such")
    with terminal("telemetry", "watch", *server.flags, *metrics) as screen:
        screen.read_until("unknown metric no_such: it is shown once a device sends it", "no_such")
        screen.read_until(stored.device_id, "devices, 0.0 samples/s")
        with SpaceLinkClient(server.address, token=server.token) as client:
            client.ingest(stored.device_id, [NOON + 10**12], latency_ms=[123.25])
            screen.read_until("123.25")
        screen.process.send_signal(signal.SIGINT)
        assert screen.wait() == 0
    assert "Traceback" not in screen.text
