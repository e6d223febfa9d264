from __future__ import annotations

import gzip
import math
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.columns import METRICS
from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_agent.collectors import CollectorError
from spacelink_agent.collectors.column_map import Rule
from spacelink_agent.collectors.replay import Replay
from tests.agent.recording import FJORDLINK_HEADER, fjordlink_row, write_recording

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink.columns import TelemetryColumns
    from spacelink_agent.collectors import Chunk


def replay(path: Path, *rules: str, chunk_rows: int = 60, speed: float = math.inf) -> Replay:
    return Replay(path, "dish", [Rule.parse(rule) for rule in rules], chunk_rows=chunk_rows, speed=speed)


async def chunks(collector: Replay, position: Any = None) -> list[Chunk]:
    return [chunk async for chunk in collector.collect(position)]


async def only(collector: Replay) -> TelemetryColumns:
    (chunk,) = await chunks(collector)
    return chunk.samples


def float32(value: float) -> float:
    """Round to float32 without numpy."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


async def test_fjordlink_columns_map_by_themselves(tmp_path: Path) -> None:
    rows = [
        fjordlink_row("2024-12-12T08:06:37.738616Z", 26.132265090942383, 0.05, 895458.75, 16106.126953125),
        fjordlink_row("2024-12-12T08:06:38.740911Z", 25.1, 1.0, 0.1, 0.3, state="SEARCHING"),
    ]
    samples = await only(replay(write_recording(tmp_path / "day.csv", rows)))
    assert samples.time_unix_nano.tolist() == [1733990797738616000, 1733990798740911000]
    assert samples.status is not None
    assert samples.status.tolist() == [
        DeviceStatus.DEVICE_STATUS_ACTIVE,
        DeviceStatus.DEVICE_STATUS_OFFLINE,
    ]
    expected = {
        "latency_ms": [26.132265090942383, 25.1],
        "packet_loss_percent": [0.05 * 100, 1.0 * 100],
        "downlink_mbps": [895458.75 / 1e6, 0.1 / 1e6],
        "uplink_mbps": [16106.126953125 / 1e6, 0.3 / 1e6],
        "obstruction_percent": [0.0008888888987712562 * 100] * 2,
        "azimuth_deg": [59.95289993286133] * 2,
        "elevation_deg": [81.74749755859375] * 2,
    }
    assert {name: values.tolist() for name, values in samples.metrics.items()} == {
        name: [float32(value) for value in values] for name, values in expected.items()
    }


async def test_gzip_is_read_alike(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "day.csv", [fjordlink_row() for _ in range(3)])
    packed = tmp_path / "day.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, unpacked = replay(path), replay(packed)
    assert (await only(plain)).encode() == (await only(unpacked)).encode()
    assert plain.source == unpacked.source


async def test_empty_cells_are_missing_values(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "day.csv", [fjordlink_row(latency="", state="")])
    samples = await only(replay(path))
    assert math.isnan(samples.metrics["latency_ms"][0])
    assert samples.status is not None
    assert samples.status.tolist() == [0]


async def test_columns_named_like_metrics_map_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    header = ",".join(["time", *METRICS, "status", "unknown"])
    path.write_text(header + "\n2026-01-01T00:00:00.000000001Z,1,2,3,4,5,6,7,8,degraded,x\n")
    samples = await only(replay(path))
    assert samples.time_unix_nano.tolist() == [1767225600000000001]
    assert {name: values[0] for name, values in samples.metrics.items()} == {
        name: number for number, name in enumerate(METRICS, 1)
    }
    assert samples.status is not None
    assert samples.status.tolist() == [DeviceStatus.DEVICE_STATUS_DEGRADED]


async def test_rules_scale_and_override(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("when,rtt_s,latency_ms,bits/s,state\n1767225600000000000,0.025,9,3000000,ACTIVE\n")
    rules = ["time=when", "latency_ms=rtt_s*1e3", "downlink_mbps=bits/s/1e6", "status=state"]
    samples = await only(replay(path, *rules))
    assert samples.time_unix_nano.tolist() == [1767225600000000000]
    assert samples.metrics["latency_ms"].tolist() == [25]
    assert samples.metrics["downlink_mbps"].tolist() == [3]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("latency_ms", "expected METRIC=CSV_COLUMN"),
        ("Latency=rtt", "metric 'Latency': expected time, status or"),
        ("latency_ms=rtt*0", "'0' is no factor"),
        ("latency_ms=rtt/1e999", "'1e999' is no factor"),
        ("latency_ms=rtt*1.2.3", "'1.2.3' is no factor"),
        ("time=ts*1000", "time takes no factor; the unit of a time is known by its size"),
    ],
)
def test_wrong_rule_is_a_clear_error(rule: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        Rule.parse(rule)


@pytest.mark.parametrize(
    ("header", "rules", "problem"),
    [
        ("time,latency_ms", ["jitter_ms=jit"], "column 'jit' is not in the header: time, latency_ms"),
        (
            "when,latency_ms",
            [],
            r"log\.csv: no column for the time; .* --column time=NAME with a name out of when, latency_ms",
        ),
        ("time,rtt", [], r"log\.csv: no column for any metric; .* --column METRIC=NAME .* out of time, rtt"),
        ("", [], "no column for the time"),
    ],
)
def test_header_without_a_column_is_a_clear_error(
    tmp_path: Path, header: str, rules: list[str], problem: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(header + "\n1,2\n")
    with pytest.raises(CollectorError, match=problem):
        replay(path, *rules)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("2026-01-01T00:00:01Z,3,1,ACTIVE,9", "expected 4 cells as in the header, got 5"),
        ("2026-01-01T00:00:01Z", "expected 4 cells as in the header, got 1"),
        ("yesterday,3,1,ACTIVE", "column time: time 'yesterday': expected RFC 3339"),
        ("2026-01-01T00:00:01,3,1,ACTIVE", "column time: .* expected RFC 3339"),
        ("1989-12-31T23:59:59Z,3,1,ACTIVE", "column time: 1989-12-31T23:59:59Z: expected a time from 1990"),
        ("2199-12-31T23:59:59Z,3,1,ACTIVE", "column time: 2199-12-31T23:59:59Z: expected a time from 1990"),
        (
            "20000,3,1,ACTIVE",
            "column time: 20000: expected seconds, ms, µs or ns since 1970, from 1990",
        ),
        ("2026-01-01T00:00:01Z,fast,1,ACTIVE", "column latency_ms: expected a number, got 'fast'"),
        ("2026-01-01T00:00:01Z,1e39,1,ACTIVE", "column latency_ms: 1e39 does not fit"),
        ("2026-01-01T00:00:01Z,inf,1,ACTIVE", "column latency_ms: inf does not fit into a float32"),
        ("2026-01-01T00:00:01Z,-1,1,ACTIVE", "column latency_ms: -1 is out of range; expected .* from 0"),
        (
            "2026-01-01T00:00:01Z,3,1.5,ACTIVE",
            "column lost: 1.5 makes packet_loss_percent 150, which is out of range; expected values from 0",
        ),
        ("2026-01-01T00:00:01Z,3,1,FINE", "column status: status 'FINE': expected one of"),
    ],
)
@pytest.mark.parametrize("chunk_rows", [1, 60])
async def test_a_bad_row_is_told_of_and_the_others_go_on(
    tmp_path: Path, row: str, problem: str, chunk_rows: int
) -> None:
    path = tmp_path / "log.csv"
    before, after = "2026-01-01T00:00:00Z,1,0,ACTIVE", "2026-01-01T00:00:02Z,2,0,ACTIVE"
    path.write_text(f"time,latency_ms,lost,status\n{before}\n\n{row}\n{after}\n")
    seen = await chunks(replay(path, "packet_loss_percent=lost*100", chunk_rows=chunk_rows))
    assert [value for chunk in seen for value in chunk.samples.metrics["latency_ms"]] == [1, 2]
    ((bad,),) = [chunk.bad for chunk in seen if chunk.bad]
    assert (bad.device_id, bad.place) == ("dish", f"{path}:4")
    if "cells as in the header" in problem:
        # Cells of which none knows where they belong must not look like good ones.
        assert bad.cells == dict.fromkeys(("time", "latency_ms", "lost", "status"), "")
        assert bad.problem.endswith(f": {row}")
    else:
        assert bad.cells["time"] == row.partition(",")[0]
    assert re.fullmatch(f"{problem}.*", bad.problem)
    # A run that goes on behind it does not find it again.
    rest = await chunks(replay(path, "packet_loss_percent=lost*100"), seen[-1].position)
    assert rest == []


@pytest.mark.parametrize("count", [1, 150])
async def test_a_file_of_bad_rows_alone_is_an_error(tmp_path: Path, count: int) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,latency_ms\n" + "2026-01-01T00:00:00Z,fast\n" * count)
    problem = rf"none of the first {min(count, 100)} rows of .*log\.csv can be stored: .*log\.csv:2: column"
    with pytest.raises(CollectorError, match=problem):
        await chunks(replay(path))


@pytest.mark.parametrize(
    ("cell", "nanos"),
    [
        ("1767225600", 1767225600 * 10**9),
        ("1767225600.25", 1767225600_250000000),
        ("1767225600.123456789", 1767225600_123456789),
        ("1767225600250", 1767225600_250000000),
        ("1767225600250001", 1767225600_250001000),
        ("1767225600250001002", 1767225600_250001002),
        ("631152000", 631152000 * 10**9),
    ],
)
async def test_the_unit_of_a_time_is_known_by_its_size(tmp_path: Path, cell: str, nanos: int) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"timestamp,latency_ms\n{cell},1\n")
    assert (await only(replay(path))).time_unix_nano.tolist() == [nanos]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", r"log\.csv is empty; expected a line with the columns' names, and rows"),
        ("\n\n", r"log\.csv is empty; expected a line"),
        ("time,latency_ms\n", r"log\.csv has the columns' names, but no rows below them; expected some"),
    ],
)
def test_a_file_without_rows_is_a_clear_error(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(content)
    with pytest.raises(CollectorError, match=problem):
        replay(path)


async def test_text_that_is_not_utf8_ends_the_replay_after_what_was_before(tmp_path: Path) -> None:
    rows = "".join(f"2026-01-01T00:00:00Z,{row}\n" for row in range(3000))
    path = tmp_path / "log.csv"
    path.write_bytes(f"time,latency_ms\n{rows}".encode() + b"2026-01-01T00:00:00Z,\xff\n")
    seen, error = await _until_failure(replay(path))
    assert 0 < seen <= 3000
    assert "can't decode byte 0xff" in error


async def test_truncated_gzip_ends_after_what_was_before(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "day.csv", [fjordlink_row(latency=row) for row in range(3000)])
    packed = gzip.compress(path.read_bytes())
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    seen, error = await _until_failure(replay(tmp_path / "cut.gz"))
    assert 0 < seen < 3000
    assert "cannot be read on: Compressed file ended" in error


async def _until_failure(collector: Replay) -> tuple[int, str]:
    """Tell how many samples came before the failure, and what it says."""
    seen = 0
    try:
        async for chunk in collector.collect(None):
            seen += len(chunk.samples)
    except CollectorError as error:
        return seen, str(error)
    pytest.fail("the replay did not fail")


def test_file_that_is_no_text_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)))
    with pytest.raises(CollectorError, match=r"noise\.csv: cannot be read on"):
        replay(tmp_path / "noise.csv")


async def test_every_position_goes_on_with_the_row_after_it(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "day.csv", [fjordlink_row(latency=row) for row in range(10)])
    whole = await chunks(replay(path, chunk_rows=3))
    assert [len(chunk.samples) for chunk in whole] == [3, 3, 3, 1]
    for done in range(1, 5):
        collector = replay(path, chunk_rows=3)
        rest = await chunks(collector, whole[done - 1].position)
        assert [chunk.samples.encode() for chunk in rest] == [
            chunk.samples.encode() for chunk in whole[done:]
        ]
        assert collector.skipped_rows == min(3 * done, 10)
        assert collector.progress == 1


async def test_position_in_another_file_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "day.csv", [fjordlink_row(latency=row) for row in range(10)])
    position = (await chunks(replay(path, chunk_rows=4)))[1].position
    for content in ([fjordlink_row(latency=row + 1) for row in range(10)], [fjordlink_row()] * 3):
        write_recording(path, content)
        with pytest.raises(CollectorError, match="is not the file that was replayed up to row 8"):
            await chunks(replay(path), position)


async def test_source_names_the_content_and_the_device(tmp_path: Path) -> None:
    rows = [fjordlink_row(latency=row) for row in range(100)]
    path = write_recording(tmp_path / "day.csv", rows)
    longer = write_recording(tmp_path / "longer.csv", [*rows, fjordlink_row()])
    other = write_recording(tmp_path / "other.csv", rows[1:])
    assert replay(path).source == replay(longer).source
    assert replay(path).source != replay(other).source
    assert Replay(path, "dish-2", [], chunk_rows=1, speed=1).source != replay(path).source


async def test_recorded_pace_is_kept_and_divided_by_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = ["00:00:00", "00:00:01", "00:00:01.001", "00:01:41.001"]
    rows = [fjordlink_row(f"2026-01-01T{moment}Z") for moment in times]
    path = write_recording(tmp_path / "day.csv", rows)
    now = [1000.0]
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("asyncio.sleep", sleep)
    seen = await chunks(replay(path, speed=2))
    # A millisecond is not worth a timer.
    assert waits == [0.5, 50.0005]
    assert [len(chunk.samples) for chunk in seen] == [1, 2, 1]


def test_recordings_of_the_tests_have_fjordlinks_header() -> None:
    assert FJORDLINK_HEADER.startswith("timestamp,state,uptime_s,pop_ping_latency_ms,pop_ping_drop_rate,")
