from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink import columns as module
from spacelink.columns import METRICS, TelemetryColumns, concatenate, merge
from spacelink.v1.telemetry_pb2 import DeviceStatus, MetricColumn, TelemetryBatch
from tests import encodings
from tests.properties import UNTIMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NAMES = ("latency_ms", "power_w", "snr", "temperature.core")
# Quiet and signalling NaN with payloads, both zeros, denormals, infinities and
# the largest values: equality of floats tells none of them apart as bits do.
BITS = (
    0x7FC00000,
    0xFFC00000,
    0x7FC00001,
    0x7F800001,
    0xFFFFFFFF,
    0x00000000,
    0x80000000,
    0x00000001,
    0x80000001,
    0x7F800000,
    0xFF800000,
    0x7F7FFFFF,
    0xFF7FFFFF,
    0x3F800000,
)
bits = st.one_of(st.sampled_from(BITS), st.integers(0, 2**32 - 1))


def values_of(some_bits: Sequence[int]) -> NDArray[np.float32]:
    return np.array(some_bits, np.uint32).view(np.float32)


@st.composite
def telemetry(draw: st.DrawFn, max_size: int = 5, few: bool = False) -> TelemetryColumns:
    """Columns with any bits; where few, with many samples that are equal."""
    size = draw(st.integers(0, max_size))
    time = st.integers(0, 3) if few else st.integers(-(2**63), 2**63 - 1)
    value = st.sampled_from(BITS[:2] + BITS[5:7]) if few else bits
    column = st.lists(value, min_size=size, max_size=size).map(values_of)
    times = draw(st.lists(time, min_size=size, max_size=size))
    metrics = draw(st.dictionaries(st.sampled_from(NAMES), column))
    statuses = st.lists(st.integers(0, 4), min_size=size, max_size=size)
    status = draw(st.none() | statuses.map(lambda numbers: np.array(numbers, np.uint8)))
    return TelemetryColumns("dish-1", np.array(times, np.int64), metrics, status)


@dataclass(frozen=True)
class Row:
    """A sample as plain data: its time, status and bits by metric."""

    time: int
    status: int
    values: tuple[tuple[str, int], ...]

    def filled(self, names: Sequence[str]) -> Row:
        """Write what was not measured as the NaN that stands for it."""
        missing = dict.fromkeys(names, BITS[0])
        return Row(self.time, self.status, tuple(sorted((missing | dict(self.values)).items())))


def rows_of(columns: TelemetryColumns) -> list[Row]:
    statuses = [0] * len(columns) if columns.status is None else columns.status.tolist()
    named = {name: values.view(np.uint32).tolist() for name, values in columns.metrics.items()}
    return [
        Row(time, status, tuple(sorted((name, data[row]) for name, data in named.items())))
        for row, (time, status) in enumerate(zip(columns.time_unix_nano.tolist(), statuses, strict=True))
    ]


def identical(one: TelemetryColumns, other: TelemetryColumns) -> bool:
    same_status = (one.status is None) == (other.status is None)
    return one.device_id == other.device_id and same_status and rows_of(one) == rows_of(other)


# Encoding


@UNTIMED
@given(telemetry(), st.integers(0, 2**63 - 1))
def test_round_trip(columns: TelemetryColumns, sequence: int) -> None:
    data = columns.encode(sequence)
    assert TelemetryBatch.FromString(data).sequence == sequence
    decoded = TelemetryColumns.decode(data)
    assert rows_of(decoded) == rows_of(columns) or not len(columns)
    assert decoded.device_id == "dish-1"


@UNTIMED
@given(telemetry())
def test_public_message_has_the_same_values(columns: TelemetryColumns) -> None:
    message = TelemetryBatch.FromString(columns.encode())
    assert list(message.time_unix_nano) == columns.time_unix_nano.tolist()
    extra = {column.name: column.values for column in message.extra}
    for name, values in columns.metrics.items():
        written = np.asarray(extra.get(name, ()) if name not in METRICS else getattr(message, name))
        assert np.array_equal(written.astype(np.float32), values, equal_nan=True)
    statuses = [] if columns.status is None else columns.status.tolist()
    assert [int(status) for status in message.status] == statuses


@UNTIMED
@given(telemetry(), st.sampled_from(encodings.VARIANTS))
def test_every_encoding_is_read_bit_by_bit(columns: TelemetryColumns, variant: Any) -> None:
    decoded = TelemetryColumns.decode(variant(columns.encode()))
    assert rows_of(decoded) == rows_of(columns) or not len(columns)


def test_written_by_the_public_message() -> None:
    message = TelemetryBatch(
        device_id="d", time_unix_nano=[5], power_w=[2.5], extra=[MetricColumn(name="snr", values=[9])]
    )
    columns = TelemetryColumns.decode(message.SerializeToString())
    assert (columns.device_id, columns.time_unix_nano.tolist()) == ("d", [5])
    assert {name: values.tolist() for name, values in columns.metrics.items()} == {
        "power_w": [2.5],
        "snr": [9],
    }
    assert columns.status is None


def test_decoded_arrays_have_the_documented_types() -> None:
    columns = TelemetryColumns.decode(TelemetryColumns.from_arrays("d", [1], status=1, power_w=[1]).encode())
    assert columns.time_unix_nano.dtype == np.int64
    assert columns.metrics["power_w"].dtype == np.float32
    assert columns.status is not None
    assert columns.status.dtype == np.uint8


def test_metrics_are_the_contracts() -> None:
    assert METRICS == (
        "latency_ms",
        "jitter_ms",
        "packet_loss_percent",
        "signal_strength_dbm",
        "downlink_mbps",
        "uplink_mbps",
        "obstruction_percent",
        "power_w",
    )


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"\xff", "TelemetryBatch"),
        (b"\x0a\x05dish", "TelemetryBatch"),
        (encodings.delimited(3, b"1234567"), "time_unix_nano"),
        (encodings.delimited(3, bytes(8)) + encodings.delimited(4, b"123"), "latency_ms"),
        (encodings.delimited(3, bytes(8)) + encodings.delimited(4, bytes(8)), "latency_ms"),
        (encodings.delimited(4, bytes(4)), "latency_ms"),
        (encodings.delimited(3, bytes(16)) + encodings.delimited(12, b"\x01"), "status"),
        (encodings.delimited(3, bytes(8)) + encodings.delimited(13, b"\x0a\x01x\x12\x08" + bytes(8)), "x"),
    ],
)
def test_decode_refuses(data: bytes, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        TelemetryColumns.decode(data)


@UNTIMED
@given(st.binary(max_size=60))
def test_decode_takes_or_refuses_anything(data: bytes) -> None:
    try:
        columns = TelemetryColumns.decode(data)
    except ValueError:
        return
    assert all(len(values) == len(columns) for values in columns.metrics.values())


def test_statuses_past_one_byte_are_no_status() -> None:
    data = encodings.unpacked(encodings.delimited(3, bytes(8 * 3)))
    for number in (200, 128, 2**64 - 1):
        data += encodings.varint(12 << 3) + encodings.varint(number)
    status = TelemetryColumns.decode(data).status
    assert status is not None
    assert status.tolist() == [127, 127, 127]
    assert 127 not in DeviceStatus.values()


def test_not_contiguous_arrays_are_written_in_order() -> None:
    columns = TelemetryColumns(
        "d",
        np.arange(6, dtype=np.int64)[::-2],
        {"power_w": np.arange(6, dtype=np.float32)[::2]},
        np.array([4, 3, 2, 1, 0, 1], np.uint8)[1::2],
    )
    decoded = TelemetryColumns.decode(columns.encode())
    assert decoded.time_unix_nano.tolist() == [5, 3, 1]
    assert decoded.metrics["power_w"].tolist() == [0, 2, 4]
    assert decoded.status is not None
    assert decoded.status.tolist() == [3, 1, 1]


# Selecting


@UNTIMED
@given(telemetry(), st.data())
def test_take(columns: TelemetryColumns, data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(columns), max_size=len(columns)))
    taken = columns.take(np.array(mask, np.bool_))
    assert rows_of(taken) == [row for row, wanted in zip(rows_of(columns), mask, strict=True) if wanted]
    assert rows_of(columns.take(slice(1, 3))) == rows_of(columns)[1:3]
    assert (taken.status is None) == (columns.status is None)


def test_select() -> None:
    columns = TelemetryColumns.from_arrays("d", [1, 2], status=1, power_w=[1, 2], latency_ms=[3, 4])
    power = columns.select(["power_w", "unknown"])
    assert list(power.metrics) == ["power_w"]
    assert power.status is None
    assert power.time_unix_nano.tolist() == [1, 2]
    status = columns.select(["status"])
    assert not status.metrics
    assert status.status is not None


# Joining


@UNTIMED
@given(st.lists(telemetry(), min_size=1, max_size=4))
def test_concatenate(parts: list[TelemetryColumns]) -> None:
    joined = concatenate(parts)
    names = sorted({name for part in parts for name in part.metrics})
    assert rows_of(joined) == [row.filled(names) for part in parts for row in rows_of(part)]
    assert sorted(joined.metrics) == names
    assert (joined.status is None) == all(part.status is None for part in parts)


@UNTIMED
@given(st.lists(st.one_of(telemetry(8, few=True), telemetry(few=False)), min_size=1, max_size=4))
def test_merge(parts: list[TelemetryColumns]) -> None:
    names = sorted({name for part in parts for name in part.metrics})
    rows = [row.filled(names) for part in parts for row in rows_of(part)]
    expected = list(dict.fromkeys(sorted(rows, key=lambda row: row.time)))
    assert rows_of(merge(parts)) == expected


@UNTIMED
@given(telemetry(8, few=True))
def test_merge_twice_changes_nothing(columns: TelemetryColumns) -> None:
    once = merge([columns])
    assert identical(merge([once, once]), once)
    assert identical(merge([once]), once)


def test_merge_keeps_zeros_of_both_signs_and_every_nan() -> None:
    values = values_of(BITS)
    columns = TelemetryColumns("d", np.zeros(len(BITS), np.int64), {"power_w": values})
    assert identical(merge([columns, columns]), columns)


def test_merge_keeps_samples_that_differ_in_status_only() -> None:
    parts = [TelemetryColumns.from_arrays("d", [1], status=status, power_w=[1]) for status in (1, 2, 1)]
    merged = merge(parts)
    assert merged.status is not None
    assert merged.status.tolist() == [1, 2]


def test_merge_takes_a_column_that_is_missing_for_one_of_nan() -> None:
    without = TelemetryColumns.from_arrays("d", [1], power_w=[1])
    with_nan = TelemetryColumns.from_arrays("d", [1], power_w=[1], latency_ms=[np.nan], status=0)
    assert len(merge([without, with_nan])) == 1


def test_a_single_part_is_not_copied() -> None:
    columns = TelemetryColumns.from_arrays("d", [1, 2], power_w=[1, 2])
    assert concatenate([columns]) is columns
    assert merge([columns]) is columns


# From arrays


def test_from_arrays() -> None:
    columns = TelemetryColumns.from_arrays(
        "dish-1", [1, 2], status=["active", "OFFLINE"], latency_ms=[30, 40.5], snr=(9, np.nan)
    )
    assert columns.device_id == "dish-1"
    assert len(columns) == 2
    assert columns.time_unix_nano.tolist() == [1, 2]
    assert columns.metrics["latency_ms"].tolist() == [30, 40.5]
    assert columns.metrics["snr"].dtype == np.float32
    assert np.isnan(columns.metrics["snr"][1])
    assert columns.status is not None
    assert columns.status.tolist() == [1, 3]


@pytest.mark.parametrize(
    "time",
    [
        [1_767_225_600_123_456_000],
        np.array([1_767_225_600_123_456_000]),
        np.array(["2026-01-01T00:00:00.123456"], "datetime64[us]"),
        [datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)],
        (datetime(2026, 1, 1, 2, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2))),),
        ["2026-01-01T00:00:00.123456Z"],
    ],
)
def test_times_come_in_many_forms(time: Any) -> None:
    assert TelemetryColumns.from_arrays("d", time).time_unix_nano.tolist() == [1_767_225_600_123_456_000]


@pytest.mark.parametrize("status", [2, "DEGRADED", "degraded", [2, "Degraded"], np.array([2, 2], np.uint8)])
def test_statuses_come_in_many_forms(status: Any) -> None:
    columns = TelemetryColumns.from_arrays("d", [1, 2], status=status)
    assert columns.status is not None
    assert columns.status.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"device_id": ""}, "device_id ''"),
        ({"device_id": "a b"}, "device_id 'a b'.*characters"),
        ({"device_id": "x" * 129}, "128 characters"),
        ({"time": [1.5, 2.5]}, "time"),
        ({"time": [[1, 2]]}, "time.*dimension"),
        ({"time": [datetime(2026, 1, 1), datetime(2026, 1, 2)]}, "time zone"),
        ({"latency_ms": [1]}, "latency_ms: expected 2 values"),
        ({"latency_ms": 1}, "latency_ms: expected 2 values"),
        ({"latency_ms": [[1, 2]]}, r"latency_ms: .*\(1, 2\)"),
        ({"latency_ms": ["fast", 1]}, "latency_ms"),
        ({"latency_ms": [[1], [1, 2]]}, "latency_ms"),
        ({"latency_ms": [1j, 1]}, "latency_ms"),
        ({"latency_ms": [1e39, 1]}, "latency_ms.*float32"),
        ({"Snr": [1, 2]}, "metric 'Snr'.*lower-case"),
        ({"status": "broken"}, "status 'broken'.*ACTIVE"),
        ({"status": 5}, "status 5.*ACTIVE"),
        ({"status": [1]}, "status: expected 2 values"),
        ({"status": [1, 9]}, "status 9"),
        ({"status": [1, -1]}, "status -1"),
        ({"status": [1, 1.5]}, "status 1.5"),
        ({"status": [1, float("nan")]}, "status nan"),
        ({"status": [1, None]}, "status None"),
    ],
)
def test_from_arrays_names_what_is_wrong(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TelemetryColumns.from_arrays(**{"device_id": "d", "time": [1, 2], **arguments})


def test_infinities_are_left_for_the_server_to_refuse() -> None:
    columns = TelemetryColumns.from_arrays("d", [1, 2], latency_ms=[np.inf, -np.inf])
    assert columns.metrics["latency_ms"].tolist() == [np.inf, -np.inf]


def test_status_names() -> None:
    names = module.status_names()
    assert names == ["UNSPECIFIED", "ACTIVE", "DEGRADED", "OFFLINE", "MAINTENANCE"]
    assert [module.status_number(name) for name in names] == DeviceStatus.values()
    assert [module.status_name(number) for number in DeviceStatus.values()] == names
