"""Files of samples: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spacelink import _rows
from spacelink.cli._samples_file import SamplesFile
from spacelink.columns import METRICS, TelemetryColumns

# All that a server stores: no infinities, times of 64 bits.
VALUES = st.floats(width=32, allow_infinity=False)


@st.composite
def some_samples(draw: st.DrawFn) -> TelemetryColumns:
    count = draw(st.integers(1, 4))
    names = draw(st.sets(st.sampled_from([*METRICS, "azimuth_deg", "cpu.load-1"])))
    times = draw(arrays(np.int64, count, elements=st.integers(-(2**63) + 1, 2**63 - 1)))
    status = draw(st.none() | arrays(np.uint8, count, elements=st.integers(1, 4)))
    metrics = {name: draw(arrays(np.float32, count, elements=VALUES)) for name in sorted(names)}
    return TelemetryColumns("site/dish-01", times, metrics, status)


def read(data: bytes) -> list[TelemetryColumns]:
    return list(SamplesFile(io.BytesIO(data), "file").batches())


def as_csv(samples: TelemetryColumns, metrics: Sequence[str] = ()) -> bytes:
    header = _rows.header(metrics)
    return _rows.csv_lines([header, *_rows.csv_rows(samples, header)]).encode()


def as_json(samples: TelemetryColumns) -> bytes:
    return "".join(f"{line}\n" for line in _rows.json_lines(samples)).encode()


def assert_same(read_back: TelemetryColumns, written: TelemetryColumns) -> None:
    """All is the same to the bit; but a metric without any value has no column in CSV."""
    assert read_back.device_id == written.device_id
    assert read_back.time_unix_nano.tolist() == written.time_unix_nano.tolist()
    for name, values in written.metrics.items():
        found = read_back.metrics.get(name, np.full(len(values), np.nan, np.float32))
        assert np.array_equal(found, values, equal_nan=True), name
        assert np.array_equal(np.signbit(found[~np.isnan(values)]), np.signbit(values[~np.isnan(values)]))
    assert set(read_back.metrics) <= set(written.metrics)
    assert np.array_equal(read_back.status, written.status)  # type: ignore[arg-type]


@given(some_samples())
def test_csv_is_exact(samples: TelemetryColumns) -> None:
    (found,) = read(as_csv(samples))
    assert_same(found, samples)


@given(some_samples())
def test_json_is_exact(samples: TelemetryColumns) -> None:
    (found,) = read(as_json(samples))
    assert_same(found, samples)
    assert set(found.metrics) == set(samples.metrics)


@pytest.mark.parametrize("write", [as_csv, as_json])
def test_gzip_is_told_by_its_content(write: object) -> None:
    samples = TelemetryColumns.from_arrays("dish-01", [1, 2], latency_ms=[1, 2])
    (found,) = read(gzip.compress(write(samples)))  # type: ignore[operator]
    assert_same(found, samples)


def test_named_metrics_have_columns_of_their_own() -> None:
    samples = TelemetryColumns.from_arrays("dish-01", [1], latency_ms=[1], azimuth_deg=[2], power_w=[3])
    data = as_csv(samples, ["azimuth_deg", "latency_ms"])
    assert data.decode().splitlines() == [
        "device_id,time,azimuth_deg,latency_ms",
        "dish-01,1970-01-01T00:00:00.000000001Z,2.0,1.0",
    ]


def test_rows_of_many_devices_are_gathered_by_device() -> None:
    rows = [f"dish-{n % 3},2026-01-31T12:00:{n:02}Z,{n}" for n in range(30)]
    batches = read("\n".join(["device_id,time,latency_ms", *rows]).encode())
    assert [(batch.device_id, len(batch)) for batch in batches] == [
        ("dish-0", 10),
        ("dish-1", 10),
        ("dish-2", 10),
    ]
    assert batches[1].metrics["latency_ms"].tolist() == list(range(1, 30, 3))


def test_large_files_come_in_pieces() -> None:
    rows = [f"dish-{n % 2},2026-01-31T12:00:00Z,{n}" for n in range(25_000)]
    batches = read("\n".join(["device_id,time,latency_ms", *rows]).encode())
    assert [len(batch) for batch in batches] == [10_000, 10_000, 2_500, 2_500]
    assert sum(batch.metrics["latency_ms"].astype(np.int64).sum() for batch in batches) == sum(range(25_000))


def test_times_of_other_zones_and_lines_of_other_systems_are_taken() -> None:
    (found,) = read(b"\xef\xbb\xbftime,device_id,status\r\n2026-01-31T14:00:00+02:00,d,active\r\n")
    assert found.time_unix_nano.tolist() == [1_769_860_800_000_000_000]
    assert found.status is not None
    assert found.status.tolist() == [1]


GOOD = "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"device_id,time,power_w\nd,{GOOD},1\nd,{GOOD},x\n", "file:3: power_w: expected a number, got 'x'"),
        (f"device_id,time,power_w\nd,{GOOD},inf\n", "file:2: power_w: inf does not fit into a float32"),
        (f"device_id,time,power_w\nd,{GOOD},1e39\n", "file:2: power_w: 1e39 does not fit"),
        (f"device_id,time,power_w\nd,{GOOD}\n", "file:2: expected 3 cells as in the header, got 2"),
        (f"device_id,time,Power\nd,{GOOD},1\n", "file:2: metric 'Power': expected 1 to 64 characters"),
        (f"device_id,time,status\nd,{GOOD},LOST\n", "file:2: status 'LOST': expected one of"),
        (f"device_id,time,extra\nd,{GOOD},[1]\n", "file:2: extra: expected a JSON object"),
        ("device_id,time\nd,12:00\n", "file:2: time '12:00': expected RFC 3339"),
        (f"device_id,time\na b,{GOOD}\n", "file:2: device_id: expected 1 to 128 characters"),
        (f"time\n{GOOD}\n", "file:2: device_id: expected"),
        ("device_id\nd\n", "file:2: time: expected RFC 3339"),
        ('{"device_id": "d"', "file:1: not JSON"),
        (f'{{"device_id": "d", "time": "{GOOD}"}}\n\n[1]\n', "file:3: expected a JSON object"),
        (f'{{"device_id": "d", "time": "{GOOD}", "power_w": "x"}}\n', "file:1: power_w: expected a number"),
        (f'{{"device_id": "d", "time": "{GOOD}", "power_w": [1]}}\n', "file:1: power_w: expected a number"),
        ('{"device_id": "d", "time": 5}\n', "file:1: time: expected RFC 3339"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        read(text.encode())
    assert said in caught.value.message


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", gzip.compress(b"device_id,time\n", mtime=0)[:-9]])
def test_what_cannot_be_read_is_said(data: bytes) -> None:
    with pytest.raises(click.ClickException, match="file: not readable"):
        read(data)


def test_an_empty_file_holds_nothing() -> None:
    assert read(b"") == []
