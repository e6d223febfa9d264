"""Batches that can never be stored: refused clearly, and never in the way of the next one."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import grpc
import grpc.aio
import pytest

from spacelink.v1.telemetry_pb2 import MetricColumn, SubmitTelemetryRequest, TelemetryBatch
from tests.e2e.batches import HOUR, SECOND, START, make_batch, stored_samples, times_of
from tests.e2e.calls import SERVICE, assert_clean, call_unary, failure, query, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ServerProcess

_DAY = 24 * HOUR
_1990 = 631_152_000 * SECOND


class _Bad(NamedTuple):
    """A batch that is wrong in one way."""

    name: str
    spoil: Callable[[TelemetryBatch], object]
    reason: str
    field: str


def _replace(field: str, values: list[float]) -> Callable[[TelemetryBatch], object]:
    def spoil(batch: TelemetryBatch) -> None:
        batch.ClearField(field)  # type: ignore[arg-type]
        getattr(batch, field).extend(values)

    return spoil


def _rename(name: str) -> Callable[[TelemetryBatch], object]:
    return lambda batch: setattr(batch, "device_id", name)


def _first_time(nanos: int) -> Callable[[TelemetryBatch], object]:
    return lambda batch: batch.time_unix_nano.__setitem__(0, nanos)


def _extra(*names: str, values: int = 3) -> Callable[[TelemetryBatch], object]:
    columns = [MetricColumn(name=name, values=[1.0] * values) for name in names]
    return lambda batch: batch.extra.extend(columns)


def _too_many_samples(batch: TelemetryBatch) -> None:
    batch.CopyFrom(make_batch(batch.device_id, count=100_001, step=1000))


def _too_many_bytes(batch: TelemetryBatch) -> None:
    times = range(START, START + 60_000)
    batch.CopyFrom(TelemetryBatch(device_id=batch.device_id, time_unix_nano=times))
    batch.extra.extend(MetricColumn(name=f"m{index}", values=[0.5] * 60_000) for index in range(15))


_RANGE = "VALUE_OUT_OF_RANGE"
_LENGTH = "COLUMN_LENGTH_MISMATCH"

_BAD = [
    _Bad("short column", _replace("latency_ms", [1.0, 2.0]), _LENGTH, "latency_ms"),
    _Bad("long column", _replace("power_w", [1.0] * 4), _LENGTH, "power_w"),
    _Bad("short status", _replace("status", [1]), _LENGTH, "status"),
    _Bad("short extra", _extra("snr_db", values=2), _LENGTH, "snr_db"),
    _Bad("empty extra", _extra("snr_db", values=0), _LENGTH, "snr_db"),
    _Bad("columns without times", _replace("time_unix_nano", []), "NO_SAMPLES", "time_unix_nano"),
    _Bad("infinity", _replace("jitter_ms", [1.0, math.inf, 1.0]), _RANGE, "jitter_ms"),
    _Bad("minus infinity", _replace("power_w", [-math.inf, 1.0, 1.0]), _RANGE, "power_w"),
    _Bad(
        "infinity beside a missing value",
        _replace("signal_strength_dbm", [math.nan, math.nan, math.inf]),
        _RANGE,
        "signal_strength_dbm",
    ),
    _Bad("infinite extra", lambda b: b.extra.add(name="snr_db", values=[1, 1, math.inf]), _RANGE, "snr_db"),
    _Bad("negative latency", _replace("latency_ms", [1.0, -0.1, 1.0]), _RANGE, "latency_ms"),
    _Bad("negative downlink", _replace("downlink_mbps", [-1.0, 1.0, 1.0]), _RANGE, "downlink_mbps"),
    _Bad("loss above 100", _replace("packet_loss_percent", [0.0, 100.1, 0.0]), _RANGE, "packet_loss_percent"),
    _Bad("loss below 0", _replace("packet_loss_percent", [0.0, -0.1, 0.0]), _RANGE, "packet_loss_percent"),
    _Bad(
        "obstruction above 100", _replace("obstruction_percent", [1e9, 0, 0]), _RANGE, "obstruction_percent"
    ),
    _Bad("unknown status", _replace("status", [1, 9, 1]), "INVALID_STATUS", "status"),
    _Bad("huge status", _replace("status", [1, 2**31 - 1, 1]), "INVALID_STATUS", "status"),
    _Bad("negative status", _replace("status", [1, -1, 1]), "INVALID_STATUS", "status"),
    _Bad(
        "no times",
        lambda batch: batch.CopyFrom(TelemetryBatch(device_id=batch.device_id)),
        "NO_SAMPLES",
        "time_unix_nano",
    ),
    _Bad("before 1990", _first_time(_1990 - 1), "TIME_OUT_OF_RANGE", "time_unix_nano"),
    _Bad("before 1970", _first_time(-(2**63)), "TIME_OUT_OF_RANGE", "time_unix_nano"),
    _Bad("too far ahead", _first_time(time.time_ns() + _DAY + HOUR), "TIME_OUT_OF_RANGE", "time_unix_nano"),
    _Bad("end of time", _first_time(2**63 - 1), "TIME_OUT_OF_RANGE", "time_unix_nano"),
    _Bad("no device", _rename(""), "INVALID_DEVICE_ID", "device_id"),
    _Bad("long device", _rename("x" * 129), "INVALID_DEVICE_ID", "device_id"),
    _Bad("blank in device", _rename("a b"), "INVALID_DEVICE_ID", "device_id"),
    _Bad("device not ASCII", _rename("schüssel"), "INVALID_DEVICE_ID", "device_id"),
    _Bad("wildcard device", _rename("site/*"), "INVALID_DEVICE_ID", "device_id"),
    _Bad("unnamed metric", _extra(""), "INVALID_METRIC_NAME", "extra.name"),
    _Bad("metric in capitals", _extra("SNR"), "INVALID_METRIC_NAME", "extra.name"),
    _Bad("long metric", _extra("m" * 65), "INVALID_METRIC_NAME", "extra.name"),
    _Bad("metric twice", _extra("snr_db", "snr_db"), "DUPLICATE_METRIC", "extra.name"),
    _Bad("metric named like a column", _extra("latency_ms"), "DUPLICATE_METRIC", "extra.name"),
    _Bad("metric named status", _extra("status"), "DUPLICATE_METRIC", "extra.name"),
    _Bad("too many metrics", _extra(*[f"m{index}" for index in range(65)]), "TOO_MANY_METRICS", "extra"),
    _Bad("too many samples", _too_many_samples, "TOO_MANY_SAMPLES", "time_unix_nano"),
    _Bad("too many bytes", _too_many_bytes, "BATCH_TOO_LARGE", "batch"),
]
_each_bad = pytest.mark.parametrize("bad", _BAD, ids=[bad.name for bad in _BAD])


def _bad_batch(bad: _Bad, device_id: str) -> TelemetryBatch:
    batch = make_batch(device_id)
    bad.spoil(batch)
    return batch


@_each_bad
async def test_ingest_rejects_it_and_goes_on(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str, bad: _Bad
) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id))
    await producer.send(2, _bad_batch(bad, device_id))
    await producer.send(3, make_batch(device_id, START + HOUR))
    (rejected,) = await producer.acked(3)
    assert (rejected.sequence, rejected.reason) == (2, bad.reason)
    assert rejected.message.startswith(f"{bad.field}: ")
    assert "expected" in rejected.message
    assert await producer.close() == 0
    assert stored_samples(server.data_dir)[device_id] == 6
    # The cursor has moved past it: it cannot block the stream when it is opened again.
    assert (await Producer.open(channel, device_id)).committed == 3


@_each_bad
async def test_submit_refuses_it(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str, bad: _Bad
) -> None:
    error = await failure(submit(channel, _bad_batch(bad, device_id)))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, bad.reason)
    (violation,) = error.field_violations
    assert violation.field in (f"batch.{bad.field}", bad.field)
    assert "expected" in violation.description
    assert device_id not in stored_samples(server.data_dir)


@pytest.mark.parametrize(
    "spoil",
    [
        _replace("latency_ms", [math.nan] * 3),
        _replace("packet_loss_percent", [0.0, 100.0, math.nan]),
        _replace("power_w", [-5.0, 3.4e38, -3.4e38]),
        _replace("status", [0, 3, 4]),
        _extra(*[f"m{index}" for index in range(64)]),
        _first_time(_1990),
        _first_time(time.time_ns() + _DAY - HOUR),
        lambda batch: batch.extra.add(name="m" * 64, values=[1.0, 2.0, 3.0]),
        lambda batch: batch.ClearField("latency_ms"),
    ],
)
async def test_what_is_just_right_is_stored(
    channel: grpc.aio.Channel, device_id: str, spoil: Callable[[TelemetryBatch], object]
) -> None:
    batch = make_batch(device_id)
    spoil(batch)
    producer = await Producer.open(channel, device_id)
    await producer.send(1, batch)
    assert await producer.acked(1) == []
    assert sorted(times_of(await query(channel, device_id))) == sorted(batch.time_unix_nano)


async def test_largest_batches_are_stored_and_read_back(channel: grpc.aio.Channel, device_id: str) -> None:
    """What the limits in ready allow works, there and back with a client's own default limits."""
    producer = await Producer.open(channel, device_id)
    assert producer.ready is not None
    longest = make_batch(device_id, count=producer.ready.max_batch_samples, step=1000)
    largest = make_batch(device_id, START + HOUR, count=50_000, step=1000)
    while (room := producer.ready.max_batch_bytes - largest.ByteSize()) > 250_000:
        largest.extra.add(name=f"m{room}", values=[0.25] * 50_000)
    await producer.send(1, longest)
    await producer.send(2, largest)
    assert await producer.acked(2) == []
    answers = await query(channel, device_id)
    assert [len(batch.time_unix_nano) for batch in answers] == [len(longest.time_unix_nano), 50_000]
    assert answers[1] == largest


async def test_batch_of_exactly_the_most_bytes(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    assert producer.ready is not None
    batch = _batch_of_bytes(device_id, producer.ready.max_batch_bytes)
    await producer.send(1, batch)
    assert await producer.acked(1) == []
    assert await submit(channel, batch, request_id=device_id) == len(batch.time_unix_nano)


async def test_batch_of_one_byte_more(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    assert producer.ready is not None
    batch = _batch_of_bytes(device_id, producer.ready.max_batch_bytes + 1)
    await producer.send(1, batch)
    (rejected,) = await producer.acked(1)
    assert rejected.reason == "BATCH_TOO_LARGE"


def _batch_of_bytes(device_id: str, size: int) -> TelemetryBatch:
    """Make a batch that is encoded in so many bytes, its sequence 1 included."""
    columns = 15
    names = 61 * columns
    count = (size - names) // (8 + 4 + 1 + 4 * columns)
    batch = make_batch(device_id, count=count, step=1000)
    batch.sequence = 1
    for index in range(columns):
        batch.extra.add(name=f"m{index:02}", values=[0.25] * count)
    for column in batch.extra:
        column.name += "x" * min(61, size - batch.ByteSize())
    assert batch.ByteSize() == size
    return batch


async def test_submit_checks_the_request_id(channel: grpc.aio.Channel, device_id: str) -> None:
    for request_id in ("x" * 129, "a b", "ü"):
        error = await failure(submit(channel, make_batch(device_id), request_id))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.field_violations[0].field == "request_id"


async def test_submit_without_a_batch(channel: grpc.aio.Channel) -> None:
    data = SubmitTelemetryRequest(request_id="r").SerializeToString()
    error = await failure(call_unary(channel, f"{SERVICE}SubmitTelemetry", data))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEVICE_ID")
    assert error.field_violations[0].field == "batch.device_id"


async def test_rejections_leave_no_trace_in_the_log(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    await failure(submit(channel, make_batch("")))
    await submit(channel, make_batch(device_id))
    assert_clean(server.log)
