from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink._sample_rules import wrong_values
from spacelink.columns import METRICS, TelemetryColumns
from spacelink.v1.telemetry_pb2 import DeviceStatus, MetricColumn, TelemetryBatch
from spacelink_server.ingest.validation import InvalidBatchError, Limits, segments_of_all
from spacelink_server.storage.segments import MAX_SPAN_NANOS
from tests import encodings
from tests.properties import UNTIMED
from tests.server.samples import (
    DAY,
    HOUR,
    SECOND,
    T0,
    batch,
    columns,
    in_time_order,
    parsed,
    samples_in,
    samples_of,
    validated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.storage.segments import Segment

Defect = tuple[str, str]

YEAR_1990 = 631_152_000 * SECOND
FLOAT_MAX = float(np.finfo(np.float32).max)
DENORMAL = float(np.float32(1e-45))
NAN = float("nan")
INF = float("inf")
PERCENTS = {"packet_loss_percent", "obstruction_percent"}
NOT_NEGATIVE = {"latency_ms", "jitter_ms", "downlink_mbps", "uplink_mbps"}
SMALL = Limits(max_batch_samples=6, max_batch_bytes=600)


# The rules once more, value by value on the public message.


def is_wrong(name: str, value: float) -> bool:
    if value != value:
        return False
    if name in PERCENTS:
        return not 0 <= value <= 100
    if name in NOT_NEGATIVE:
        return not 0 <= value < INF
    return not -INF < value < INF


def is_name(text: str, first: str, others: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text[0] in first and all(c in others for c in text[1:])


def defects_of(message: TelemetryBatch, size: int, now: int, limits: Limits) -> set[Defect]:
    """List all that is wrong with a batch."""
    lower, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
    count = len(message.time_unix_nano)
    defects: set[Defect] = set()
    if size > limits.max_batch_bytes:
        defects.add(("BATCH_TOO_LARGE", "batch"))
    anywhere = lower + lower.upper() + digits + "._:/@+-"
    if not is_name(message.device_id, anywhere, anywhere, 128):
        defects.add(("INVALID_DEVICE_ID", "device_id"))
    if not count:
        defects.add(("NO_SAMPLES", "time_unix_nano"))
    if count > limits.max_batch_samples:
        defects.add(("TOO_MANY_SAMPLES", "time_unix_nano"))
    if not all(YEAR_1990 <= at <= now + DAY for at in message.time_unix_nano):
        defects.add(("TIME_OUT_OF_RANGE", "time_unix_nano"))
    names = [column.name for column in message.extra]
    if len(names) > 64:
        defects.add(("TOO_MANY_METRICS", "extra"))
    if not all(is_name(name, lower, lower + digits + "_.-", 64) for name in names):
        defects.add(("INVALID_METRIC_NAME", "extra.name"))
    reserved = {field.name for field in TelemetryBatch.DESCRIPTOR.fields}
    if len(set(names)) < len(names) or reserved & set(names):
        defects.add(("DUPLICATE_METRIC", "extra.name"))
    named = [(name, getattr(message, name)) for name in METRICS if getattr(message, name)]
    named += [(column.name, column.values) for column in message.extra]
    for name, values in named:
        if len(values) != count:
            defects.add(("COLUMN_LENGTH_MISMATCH", name))
        if any(is_wrong(name, value) for value in values):
            defects.add(("VALUE_OUT_OF_RANGE", name))
    if len(message.status) not in (0, count):
        defects.add(("COLUMN_LENGTH_MISMATCH", "status"))
    if not all(status in DeviceStatus.values() for status in message.status):
        defects.add(("INVALID_STATUS", "status"))
    return defects


def outcome(data: bytes, limits: Limits | None = None) -> list[Segment] | Defect:
    try:
        return validated(data, limits)
    except InvalidBatchError as error:
        return (error.reason, error.field)


# Mostly right: what is wrong anywhere hides what is wrong elsewhere.
GOOD_VALUES = (0.0, -0.0, NAN, DENORMAL, 1.5, 99.99, 100.0)
ODD_VALUES = (
    INF,
    -INF,
    FLOAT_MAX,
    -FLOAT_MAX,
    -DENORMAL,
    float(np.nextafter(np.float32(100), np.float32(101))),
    -1.0,
    100.5,
)
GOOD_TIMES = (T0, T0 + 1, T0 + 2, T0 + HOUR, T0 + HOUR + 1, T0 + 3 * HOUR, YEAR_1990)
ODD_TIMES = (YEAR_1990 - 1, 0, -1, -(2**63), 2**63 - 1, T0 + 2000 * DAY)
GOOD_NAMES = ("snr", "a", "cpu.load-1_m", "z" * 64)
ODD_NAMES = ("", "Snr", "1a", "a b", "ä", "z" * 65, "latency_ms", "status", "sequence", "extra", "device_id")


def mostly(good: tuple[Any, ...], odd: tuple[Any, ...], weight: int = 12) -> st.SearchStrategy[Any]:
    """Give a good one weight times as often as there are odd ones, or more."""
    return st.sampled_from(good * (1 + weight * len(odd) // len(good)) + odd)


@st.composite
def batches(draw: st.DrawFn) -> TelemetryBatch:
    """Batches of which about half are wrong in one way or several."""
    count = draw(mostly((1, 2, 3, 5, 6), (0, 7, 8)))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        size = draw(mostly((count,), (count + 1, max(count - 1, 0)), 15))
        return draw(st.lists(values, min_size=size, max_size=size))

    message = TelemetryBatch(
        device_id=draw(mostly(("dish-1", "a" * 128), ("", "a" * 129, "a b", "é", "d\n"))),
        sequence=draw(st.integers(0, 3)),
        time_unix_nano=draw(st.lists(mostly(GOOD_TIMES, ODD_TIMES, 15), min_size=count, max_size=count)),
    )
    for name in draw(st.sets(st.sampled_from(METRICS))):
        getattr(message, name).extend(column(mostly(GOOD_VALUES, ODD_VALUES, 40)))
    for name in draw(st.lists(mostly(GOOD_NAMES, ODD_NAMES), max_size=3)):
        message.extra.append(MetricColumn(name=name, values=column(mostly(GOOD_VALUES, ODD_VALUES, 40))))
    if draw(st.booleans()):
        message.status.extend(column(mostly((0, 1, 2, 3, 4), (5, 127), 40)))
    return message


@settings(UNTIMED, max_examples=250)
@given(batches(), st.sampled_from((bytes, *encodings.VARIANTS)))
def test_a_batch_passes_only_if_every_value_is_right(
    message: TelemetryBatch, encoding: Callable[[bytes], bytes]
) -> None:
    data = encoding(message.SerializeToString())
    defects = defects_of(message, len(data), time.time_ns(), SMALL)
    result = outcome(data, SMALL)
    if defects:
        assert result in defects
        return
    assert isinstance(result, list)
    expected = in_time_order(samples_of(message))
    assert samples_in(segment.payload for segment in result) == expected
    assert sum(segment.sample_count for segment in result) == len(expected)
    for segment in result:
        check_segment(segment, message.device_id)


def check_segment(segment: Segment, device_id: str) -> None:
    """See that a segment says the truth of its payload."""
    payload = TelemetryBatch.FromString(segment.payload)
    times = list(payload.time_unix_nano)
    assert segment.device_id == payload.device_id == device_id
    assert payload.sequence == 0
    assert (segment.first_time, segment.last_time) == (times[0], times[-1])
    assert segment.sample_count == len(times)
    assert segment.last_time - segment.first_time <= MAX_SPAN_NANOS
    assert payload.SerializeToString(deterministic=True) == TelemetryColumns.decode(segment.payload).encode()


@UNTIMED
@given(st.lists(batches(), max_size=4))
def test_many_together_are_judged_as_each_alone(messages: list[TelemetryBatch]) -> None:
    formed, alone = [], []
    for message in messages:
        data = message.SerializeToString()
        with contextlib.suppress(InvalidBatchError):
            formed.append(parsed(data, SMALL))
            alone.append(outcome(data, SMALL))
    together = [
        (each.reason, each.field) if isinstance(each, InvalidBatchError) else each
        for each in segments_of_all(formed)
    ]
    assert together == alone


def test_right_batches_together_are_stored_as_they_are() -> None:
    sent = [
        batch("b", [5, 6, 7], latency_ms=[1, NAN, 3], packet_loss_percent=[0, 100, NAN]),
        # Times go back from one batch to the next, and a span ends where the next begins.
        batch("a", [1], signal_strength_dbm=[-70.5], snr=[9.5]),
        batch("a", [2, 3600]),
        batch("c", [1, 2], status=["ACTIVE", "OFFLINE"]),
    ]
    found = segments_of_all([parsed(each.SerializeToString()) for each in sent])
    assert found == [validated(each.SerializeToString()) for each in sent]
    for message, stored in zip(sent, found, strict=True):
        assert isinstance(stored, list)
        check_segment(stored[0], message.device_id)
        assert TelemetryBatch.FromString(stored[0].payload) == message
    assert segments_of_all([]) == []


def test_the_strategy_makes_right_and_wrong_batches() -> None:
    """Without this, the test above could be about one kind only."""
    seen: Counter[str] = Counter()

    @settings(UNTIMED, max_examples=60, database=None, derandomize=True)
    @given(batches())
    def count(message: TelemetryBatch) -> None:
        seen.update({reason for reason, _ in defects_of(message, 0, time.time_ns(), SMALL)} or {"right"})

    count()
    assert seen["right"] >= 10
    assert len(seen) >= 6, seen


# Each rule by itself.


@pytest.mark.parametrize("name", METRICS)
def test_bounds_of_every_metric(name: str) -> None:
    for value, place in itertools.product(GOOD_VALUES + ODD_VALUES, range(3)):
        values = [1.0, NAN, 2.0]
        values[place] = value
        # Columns to both sides, so that a mix-up of columns shows.
        others = {other: [100.0, 50.0, 0.0] for other in METRICS if other != name}
        data = columns("d", (0, 1, 2), None, **others, **{name: values}).encode()
        assert (outcome(data) == ("VALUE_OUT_OF_RANGE", name)) == is_wrong(name, value), (value, place)


def test_bounds_of_extra_metrics() -> None:
    for value in GOOD_VALUES + ODD_VALUES:
        data = columns("d", (0, 1), latency_ms=[1, 2], snr=[value, 1], zz=[1, NAN]).encode()
        assert (outcome(data) == ("VALUE_OUT_OF_RANGE", "snr")) == is_wrong("snr", value), value


@pytest.mark.parametrize("bits", [0x7FC00001, 0x7F800001, 0xFFFFFFFF, 0xFF812345])
@pytest.mark.parametrize("name", ["latency_ms", "packet_loss_percent", "power_w"])
def test_every_nan_is_a_missing_value_and_is_kept(name: str, bits: int) -> None:
    values = np.array([bits, bits], np.uint32).view(np.float32)
    times = np.array([T0, T0 + 1])
    (segment,) = validated(TelemetryColumns("d", times, {name: values}).encode())
    assert TelemetryColumns.decode(segment.payload).metrics[name].view(np.uint32).tolist() == [bits, bits]


@pytest.mark.parametrize("length", [1, 2, 4, 5])
@pytest.mark.parametrize("name", [*METRICS, "snr", "status"])
def test_lengths_of_every_column(name: str, length: int) -> None:
    message = batch(offsets=(0, 1, 2), power_w=[1, 2, 3])
    column = message.extra.add(name=name).values if name == "snr" else getattr(message, name)
    del column[:]
    column.extend([1] * length)
    with pytest.raises(InvalidBatchError, match=rf"^{name}: {length} values; expected 3") as raised:
        validated(message.SerializeToString())
    assert (raised.value.reason, raised.value.field) == ("COLUMN_LENGTH_MISMATCH", name)


def test_an_extra_column_without_values_is_refused() -> None:
    message = batch()
    message.extra.add(name="snr")
    assert outcome(message.SerializeToString()) == ("COLUMN_LENGTH_MISMATCH", "snr")


@pytest.mark.parametrize("size", [1, 7, 9])
def test_times_that_are_no_whole_number_of_values(size: int) -> None:
    data = encodings.delimited(1, b"d") + encodings.delimited(3, bytes(size))
    assert outcome(data) == ("MALFORMED_COLUMN", "time_unix_nano")


@pytest.mark.parametrize("size", [1, 5, 7, 9])
def test_values_that_are_no_whole_number(size: int) -> None:
    data = batch(offsets=(0, 1)).SerializeToString() + encodings.delimited(4, bytes(size))
    assert outcome(data) == ("MALFORMED_COLUMN", "latency_ms")


@pytest.mark.parametrize("status", [5, 100, 127, 128, 200, 300, 2**31 - 1, -1])
@pytest.mark.parametrize("encoding", [bytes, encodings.unpacked])
def test_statuses_that_are_none(status: int, encoding: Callable[[bytes], bytes]) -> None:
    message = batch(offsets=(0, 1))
    message.status.extend([DeviceStatus.DEVICE_STATUS_ACTIVE, status])  # type: ignore[list-item]
    assert outcome(encoding(message.SerializeToString())) == ("INVALID_STATUS", "status")


@pytest.mark.parametrize("count", [64, 65])
def test_number_of_extra_metrics(count: int) -> None:
    message = batch()
    for number in range(count):
        message.extra.add(name=f"m{number}", values=[number])
    result = outcome(message.SerializeToString())
    assert (result == ("TOO_MANY_METRICS", "extra")) == (count == 65)


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "b", "a"), ("latency_ms",), ("time_unix_nano",), ("extra",)]
)
def test_a_metric_has_one_column(names: tuple[str, ...]) -> None:
    message = batch()
    for name in names:
        message.extra.add(name=name, values=[1])
    assert outcome(message.SerializeToString()) == ("DUPLICATE_METRIC", "extra.name")


@pytest.mark.parametrize("name", [b"\xff", b"caf\xc3\xa9", b"a\x00", b"A", b""])
def test_metric_names_that_are_none(name: bytes) -> None:
    column = encodings.delimited(1, name) + encodings.delimited(2, bytes(4))
    data = batch().SerializeToString() + encodings.delimited(13, column)
    assert outcome(data) == ("INVALID_METRIC_NAME", "extra.name")


@pytest.mark.parametrize("device_id", [b"", b"\xff", b"a\xc3\xa9", b"a\n", b"a" * 129, b"*"])
def test_device_ids_that_are_none(device_id: bytes) -> None:
    data = encodings.delimited(1, device_id) + encodings.delimited(3, np.array([T0], "<i8").tobytes())
    assert outcome(data) == ("INVALID_DEVICE_ID", "device_id")


@pytest.mark.parametrize("offset", [-1, 0])
def test_earliest_time(offset: int) -> None:
    message = TelemetryBatch(device_id="d", time_unix_nano=[YEAR_1990 + offset, YEAR_1990 + 1])
    result = outcome(message.SerializeToString())
    assert (result == ("TIME_OUT_OF_RANGE", "time_unix_nano")) == (offset < 0)


@pytest.mark.parametrize("offset", [0, 1])
def test_latest_time(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacelink._sample_rules.time.time_ns", lambda: T0)
    message = TelemetryBatch(device_id="d", time_unix_nano=[T0 + DAY + offset])
    result = outcome(message.SerializeToString())
    assert (result == ("TIME_OUT_OF_RANGE", "time_unix_nano")) == (offset > 0)


@pytest.mark.parametrize("times", [(T0, YEAR_1990 - 1, T0), (T0, T0, 2**63 - 1, T0), (-(2**63), T0)])
def test_times_out_of_order_are_checked_too(times: tuple[int, ...]) -> None:
    message = TelemetryBatch(device_id="d", time_unix_nano=times)
    assert outcome(message.SerializeToString()) == ("TIME_OUT_OF_RANGE", "time_unix_nano")


@given(
    st.sampled_from([*METRICS, "snr_db"]),
    st.lists(
        st.floats(width=32) | st.sampled_from([0.0, -0.0, DENORMAL, -DENORMAL, 100.0, FLOAT_MAX, -FLOAT_MAX]),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([YEAR_1990 - 1, YEAR_1990, T0]),
    st.integers(0, max(DeviceStatus.values()) + 1),
)
@settings(UNTIMED, max_examples=200)
def test_what_producers_find_wrong_is_what_is_rejected(
    name: str, values: list[float], first: int, status: int
) -> None:
    samples = TelemetryColumns(
        "d",
        first + np.arange(len(values)),
        {name: np.array(values, np.float32)},
        np.full(len(values), status, np.uint8),
    )
    assert isinstance(outcome(samples.encode()), list) == (wrong_values(samples) == [])


def test_limits_are_inclusive() -> None:
    message = batch(offsets=range(100), latency_ms=np.arange(100))
    size = message.ByteSize()
    assert isinstance(outcome(message.SerializeToString(), Limits(64, 100, size)), list)
    assert outcome(message.SerializeToString(), Limits(64, 99, size)) == (
        "TOO_MANY_SAMPLES",
        "time_unix_nano",
    )
    assert outcome(message.SerializeToString(), Limits(64, 100, size - 1)) == ("BATCH_TOO_LARGE", "batch")


def test_messages_say_what_would_be_right() -> None:
    for message, says in [
        (batch(packet_loss_percent=[101]), "packet_loss_percent: expected values from 0 to 100, or NaN"),
        (batch(latency_ms=[-1]), "latency_ms: expected finite values from 0"),
        (batch(power_w=[INF]), "power_w: expected finite values, or NaN"),
        (TelemetryBatch(device_id="d"), "time_unix_nano: expected at least one time"),
        (TelemetryBatch(device_id="d", time_unix_nano=[5]), "time_unix_nano: 5 is out of range.*1990"),
        (TelemetryBatch(device_id="d e", time_unix_nano=[T0]), "device_id: expected 1 to 128 characters"),
    ]:
        with pytest.raises(InvalidBatchError, match=f"^{says}"):
            validated(message.SerializeToString())


# How a batch is stored.


def test_the_default_limits_fit_a_grpc_message() -> None:
    limits = Limits()
    assert (limits.max_unacked_batches, limits.max_batch_samples) == (64, 100_000)
    assert limits.max_batch_bytes < 4 * 1024 * 1024


def test_the_sequence_is_not_stored() -> None:
    message = batch(latency_ms=[1])
    plain = validated(message.SerializeToString())
    message.sequence = 2**62
    assert validated(message.SerializeToString()) == plain


def test_samples_out_of_order_are_stored_in_order() -> None:
    message = batch(offsets=(5, 1, 3), latency_ms=[50, 10, 30])
    (segment,) = validated(message.SerializeToString())
    stored = TelemetryBatch.FromString(segment.payload)
    assert list(stored.latency_ms) == [10, 30, 50]
    assert (segment.first_time, segment.last_time) == (T0 + 1, T0 + 5)


def test_repeated_samples_are_stored_once() -> None:
    message = batch(offsets=(1, 1, 2, 1), latency_ms=[1, 2, 3, 1])
    (segment,) = validated(message.SerializeToString())
    stored = TelemetryBatch.FromString(segment.payload)
    assert list(stored.latency_ms) == [1, 2, 3]
    assert segment.sample_count == 3


def test_a_batch_is_split_where_it_spans_too_much() -> None:
    offsets = (0, HOUR, HOUR + 1, 2 * HOUR + 1, 2 * HOUR + 2)
    spans = [
        (s.first_time - T0, s.last_time - T0, s.sample_count)
        for s in validated(batch(offsets=offsets, latency_ms=range(5)).SerializeToString())
    ]
    assert spans == [(0, HOUR, 2), (HOUR + 1, 2 * HOUR + 1, 2), (2 * HOUR + 2, 2 * HOUR + 2, 1)]


def test_an_hour_is_not_split() -> None:
    data = batch(offsets=(0, 1, HOUR), latency_ms=[1, 2, 3]).SerializeToString()
    (segment,) = validated(data)
    assert segment.payload == data
