"""Files of samples: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spacelink import _rows
from spacelink._sample_rules import NOT_NEGATIVE, PERCENTS
from spacelink.cli._arrow import SampleBatches
from spacelink.cli._samples_file import BadRow, SamplesFile
from spacelink.columns import METRICS, TelemetryColumns

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z

# All that a server stores: no infinities, no times of clocks that were never set.
VALUES = st.floats(width=32, allow_infinity=False)
NOT_NEGATIVE_VALUES = st.floats(0, width=32, allow_infinity=False) | st.just(np.nan)
PERCENT_VALUES = st.floats(0, 100, width=32) | st.just(np.nan)
TIMES = st.integers(631_152_000_000_000_000, 1_769_860_800_000_000_000)


def values_of(name: str) -> st.SearchStrategy[float]:
    if name in PERCENTS:
        return PERCENT_VALUES
    return NOT_NEGATIVE_VALUES if name in NOT_NEGATIVE else VALUES


@st.composite
def some_samples(draw: st.DrawFn) -> TelemetryColumns:
    count = draw(st.integers(1, 4))
    names = draw(st.sets(st.sampled_from([*METRICS, "azimuth_deg", "cpu.load-1"])))
    times = draw(arrays(np.int64, count, elements=TIMES))
    status = draw(st.none() | arrays(np.uint8, count, elements=st.integers(1, 4)))
    metrics = {name: draw(arrays(np.float32, count, elements=values_of(name))) for name in sorted(names)}
    return TelemetryColumns("site/dish-01", times, metrics, status)


def read(data: bytes, device_id: str = "") -> list[TelemetryColumns]:
    """Read a file all of whose rows are samples."""
    batches, bad = read_all(data, device_id)
    assert bad == []
    return batches


def read_all(data: bytes, device_id: str = "") -> tuple[list[TelemetryColumns], list[BadRow]]:
    bad: list[BadRow] = []
    return list(SamplesFile(io.BytesIO(data), "file", device_id, bad.append).batches()), bad


def as_csv(samples: TelemetryColumns, metrics: Sequence[str] = ()) -> bytes:
    header = _rows.header(metrics)
    return _rows.csv_lines([header, *_rows.csv_rows(samples, header)]).encode()


def as_json(samples: TelemetryColumns) -> bytes:
    return "".join(f"{line}\n" for line in _rows.json_lines(samples)).encode()


def as_arrow(samples: TelemetryColumns) -> pa.Table:
    batches = SampleBatches(())
    return pa.Table.from_batches([batches.batch(samples)])


def as_parquet(samples: TelemetryColumns) -> bytes:
    sink = io.BytesIO()
    pq.write_table(as_arrow(samples), sink)
    return sink.getvalue()


def as_arrow_stream(samples: TelemetryColumns) -> bytes:
    sink = io.BytesIO()
    table = as_arrow(samples)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_arrow_file(samples: TelemetryColumns) -> bytes:
    sink = io.BytesIO()
    table = as_arrow(samples)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


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


@pytest.mark.parametrize("write", [as_parquet, as_arrow_stream, as_arrow_file])
@given(samples=some_samples())
def test_parquet_and_arrow_are_exact(
    write: Callable[[TelemetryColumns], bytes], samples: TelemetryColumns
) -> None:
    (found,) = read(write(samples))
    assert_same(found, samples)


@pytest.mark.parametrize("write", [as_csv, as_json])
def test_gzip_is_told_by_its_content(write: Callable[[TelemetryColumns], bytes]) -> None:
    samples = TelemetryColumns.from_arrays("dish-01", [NOON, NOON + 1], latency_ms=[1, 2])
    (found,) = read(gzip.compress(write(samples)))
    assert_same(found, samples)


def test_named_metrics_have_columns_of_their_own() -> None:
    samples = TelemetryColumns.from_arrays("dish-01", [1], latency_ms=[1], azimuth_deg=[2], power_w=[3])
    data = as_csv(samples, ["azimuth_deg", "latency_ms"])
    assert data.decode().splitlines() == [
        "device_id,time,azimuth_deg,latency_ms",
        "dish-01,1970-01-01T00:00:00.000000001Z,2.0,1.0",
    ]


def test_a_sample_without_other_metrics_has_an_empty_cell_for_them() -> None:
    samples = TelemetryColumns.from_arrays(
        "d", [NOON, NOON + 1, NOON + 2], azimuth_deg=[1, np.nan, np.nan], tilt_deg=[np.nan, np.nan, 2]
    )
    rows = list(csv.reader(io.StringIO(as_csv(samples).decode())))
    assert [row[-1] for row in rows] == ["extra", '{"azimuth_deg": 1.0}', "", '{"tilt_deg": 2.0}']
    (found,) = read(as_csv(samples))
    assert_same(found, samples)


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
        (
            f"device_id,time,power_w\nd,{GOOD},1\nd,{GOOD},x\n",
            "3: column power_w: expected a number, got 'x'",
        ),
        (
            f"device_id,time,power_w\nd,{GOOD},inf\n",
            "2: column power_w: inf is out of range; expected finite values",
        ),
        (
            f"device_id,time,power_w\nd,{GOOD},1e39\n",
            "2: column power_w: 1e39 is out of range; expected finite values",
        ),
        (
            f"device_id,time,latency_ms\nd,{GOOD},-1\n",
            "2: column latency_ms: -1 is out of range; expected finite values from 0",
        ),
        (
            f"device_id,time,obstruction_percent\nd,{GOOD},100.1\n",
            "2: column obstruction_percent: 100.1 is out of range; expected values from 0 to 100",
        ),
        (f"device_id,time,power_w\nd,{GOOD}\n", "2: expected 3 cells as in the header, got 2"),
        (f"device_id,time,status\nd,{GOOD},LOST\n", "2: column status: expected one of ACTIVE, DEGRADED, "),
        (f"device_id,time,extra\nd,{GOOD},[1]\n", "2: column extra: expected a JSON object, got '[1]'"),
        ("device_id,time\nd,12:00\n", "2: column time: expected RFC 3339 such as 2026-01-31T12:00:00Z"),
        (
            "device_id,time\nd,1989-12-31T00:00:00Z\n",
            "from 1990 up to one day from now, got '1989-12-31T00:00:00Z'",
        ),
        ("device_id,time\nd,2189-12-31T00:00:00Z\n", "from 1990 up to one day from now"),
        (f"device_id,time\na b,{GOOD}\n", "2: column device_id: expected 1 to 128 characters"),
        (f"device_id,time\n,{GOOD}\n", "2: column device_id: expected 1 to 128 characters"),
        (f'device_id,time\nd,{GOOD}\n"' + "x" * 200_000 + f'",{GOOD}\n', "3: not CSV: field larger than"),
        ('{"device_id": "d"', "1: not JSON"),
        (f'{{"device_id": "d", "time": "{GOOD}"}}\n\n[1]\n', "3: expected a JSON object"),
        (
            f'{{"device_id": "d", "time": "{GOOD}", "power_w": "x"}}\n',
            "1: column power_w: expected a number, got",
        ),
        (
            f'{{"device_id": "d", "time": "{GOOD}", "power_w": [1]}}\n',
            "1: column power_w: expected a number, got",
        ),
        (
            f'{{"device_id": "d", "time": "{GOOD}", "Power": 1}}\n',
            "1: column Power: expected 1 to 64 characters",
        ),
        (
            f'{{"device_id": "d", "time": "{GOOD}", "sequence": 1}}\n',
            "1: column sequence: expected another name",
        ),
        ('{"device_id": "d", "time": 5}\n', "1: column time: expected RFC 3339"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(text: str, said: str) -> None:
    good = f"d,{GOOD}" if text.startswith("device_id") else f'{{"device_id": "d", "time": "{GOOD}"}}'
    good += "," * (text.partition("\n")[0].count(",") - good.count(",")) if good[0] == "d" else ""
    before, (bad,) = read_all(text.encode())
    after, (_,) = read_all(f"{text.rstrip()}\n{good}\n".encode())
    assert str(bad).startswith("file:")
    assert said in str(bad)
    assert sum(map(len, after)) == sum(map(len, before)) + 1


def test_values_that_are_rounded_to_a_bound_are_within_it() -> None:
    (found,) = read(f"device_id,time,packet_loss_percent\nd,{GOOD},100.000001\n".encode())
    assert found.metrics["packet_loss_percent"].tolist() == [100.0]


def test_bad_rows_of_parquet_are_named_by_their_number() -> None:
    samples = TelemetryColumns.from_arrays("d", NOON + np.arange(30_000), latency_ms=np.arange(30_000))
    samples.metrics["latency_ms"][20_001] = -1  # type: ignore[index]
    batches, (bad,) = read_all(as_parquet(samples))
    assert str(bad) == "file:20002: column latency_ms: -1.0 is out of range; expected finite values from 0"
    assert sum(map(len, batches)) == 29_999


def test_parquet_of_others_is_taken() -> None:
    """Times of other units and zones, wider numbers, and columns for metrics of any name."""
    table = pa.table(
        {
            "time": pa.array([NOON // 1_000_000], pa.timestamp("ms", "Europe/Oslo")),
            "latency_ms": pa.array([31.5], pa.float64()),
            "azimuth_deg": pa.array([212], pa.int16()),
            "device_id": pa.array(["d"]).dictionary_encode(),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    (found,) = read(sink.getvalue())
    assert (found.device_id, found.time_unix_nano.tolist()) == ("d", [NOON])
    assert {name: values.tolist() for name, values in found.metrics.items()} == {
        "latency_ms": [31.5],
        "azimuth_deg": [212],
    }


def test_rows_without_a_device_get_the_one_that_is_given() -> None:
    (found,) = read(f"time,power_w\n{GOOD},1\n".encode(), "dish-01")
    assert found.device_id == "dish-01"
    (named,) = read(f"time,device_id\n{GOOD},d\n".encode(), "dish-01")
    assert named.device_id == "d"


PARQUET = as_parquet(TelemetryColumns.from_arrays("d", [NOON], latency_ms=[1]))
ARROW = as_arrow_stream(TelemetryColumns.from_arrays("d", [NOON], latency_ms=[1]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(
            b"\xff\xfe\x00",
            "not readable: expected text in UTF-8, gzip, Parquet or Arrow",
            id="no UTF-8",
        ),
        pytest.param(gzip.compress(b"device_id,time\n")[:-9], "not readable", id="cut gzip"),
        pytest.param(
            PARQUET[:-20],
            "not readable as Parquet: Parquet magic bytes not found",
            id="cut Parquet",
        ),
        pytest.param(ARROW[:-300], "not readable", id="cut Arrow"),
        pytest.param(
            b"",
            "the file is empty; expected CSV with a header such as device_id,time,latency_ms",
            id="empty",
        ),
        pytest.param(gzip.compress(b""), "the file is empty", id="empty in gzip"),
        pytest.param(
            b"time,power_w\n",
            "no column device_id; --device-id ID says whose samples they are; its columns are time, power_w",
            id="no device",
        ),
        pytest.param(b"device_id,latency_ms\n", "no column time; expected one with RFC 3339", id="no time"),
        pytest.param(
            b"device_id,time,Power\n",
            "column 'Power': expected 1 to 64 characters",
            id="capital letter",
        ),
        pytest.param(b"device_id,time,sequence\n", "column 'sequence': expected another name", id="sequence"),
        pytest.param(b"device_id,time,power_w,power_w\n", "column 'power_w' is there 2 times", id="twice"),
        pytest.param(
            b"device_id,time," + b",".join(b"m%d" % n for n in range(65)),
            "65 metrics besides the usual ones; expected at most 64",
            id="65 metrics",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_said(data: bytes, said: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        read(data)
    assert caught.value.message.startswith("file: ")
    assert said in caught.value.message


def test_what_comes_before_a_damage_is_read() -> None:
    rows = "".join(f"d,2026-01-31T12:00:{n % 60:02}Z,{n}\n" for n in range(10_000))
    packed = gzip.compress(f"device_id,time,power_w\n{rows}".encode(), mtime=0)
    found: list[TelemetryColumns] = []
    file = SamplesFile(io.BytesIO(packed[:-2000]), "file", "", pytest.fail)
    with pytest.raises(click.ClickException, match="file: not readable"):
        found.extend(file.batches())
    assert 0 < sum(map(len, found)) < 10_000


def test_a_header_alone_holds_nothing() -> None:
    assert read(b"device_id,time\n") == []
