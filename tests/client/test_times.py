"""Moments in all their forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from spacelink._times import Moment, from_timestamp, nanos, nanos_array, rfc3339, timestamp

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)  # the lowest one is numpy's not-a-time


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (NOON, NOON),
        (np.int64(NOON), NOON),
        (np.datetime64("2026-01-31T12:00:00"), NOON),
        (np.datetime64(NOON + 1, "ns"), NOON + 1),
        (datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC), NOON + 123_456_000),
        (datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))), NOON),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1_000),
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31 12:00:00z", NOON),
        ("2026-01-31T14:00:00.5+02:00", NOON + 500_000_000),
        ("2026-01-31T12:00:00.123456789Z", NOON + 123_456_789),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_every_form_gives_nanoseconds(moment: Moment, expected: int) -> None:
    assert nanos(moment) == expected
    assert nanos_array([moment]).tolist() == [expected]
    assert nanos_array([moment]).dtype == np.int64


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(2026, 1, 31), "no time zone"),
        ("2026-01-31", "RFC 3339"),
        ("2026-01-31T12:00:00", "RFC 3339"),
        ("2026-01-31T12:00:00.1234567891Z", "RFC 3339"),
        ("2026-02-30T12:00:00Z", "2026-02-30T12:00:00Z"),
        ("2026-01-31T24:30:00Z", "2026-01-31T24:30:00Z"),
        ("9999-12-31T23:59:59Z", "1678 to 2261"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01"),
        (2**63, "1678 to 2261"),
    ],
)
def test_what_is_no_moment_is_named(moment: Moment, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nanos(moment)


@pytest.mark.parametrize("moment", [1.5, None, True, b"2026-01-31T12:00:00Z"])
def test_other_types_are_refused(moment: object) -> None:
    with pytest.raises(TypeError, match="expected integer nanoseconds"):
        nanos(moment)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([1.5], "float64"),
        ([[1]], "one dimension"),
        (np.array([True]), "bool"),
        ([datetime(2026, 1, 31)], "no time zone"),
    ],
)
def test_what_are_no_moments_is_named(times: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nanos_array(times)  # type: ignore[arg-type]


def test_arrays_of_each_kind_are_converted() -> None:
    assert nanos_array(np.array([NOON], "u8")).tolist() == [NOON]
    assert nanos_array(np.array(["2026-01-31T12:00"], "M8[m]")).tolist() == [NOON]
    assert nanos_array(np.array(["2026-01-31T12:00:00Z"])).tolist() == [NOON]
    assert nanos_array([]).shape == (0,)


@given(st.lists(INT64, min_size=1))
def test_texts_give_back_every_nanosecond(times: list[int]) -> None:
    texts = rfc3339(np.array(times, np.int64))
    assert all(text.endswith("Z") and len(text.partition(".")[2]) == 10 for text in texts)
    assert nanos_array(texts).tolist() == times


@given(INT64)
def test_timestamps_give_back_every_nanosecond(time: int) -> None:
    message = timestamp(time)
    assert 0 <= message.nanos < 1_000_000_000
    assert from_timestamp(message) == np.datetime64(time, "ns")


def test_a_timestamp_is_what_protobuf_means_by_it() -> None:
    assert timestamp("2026-01-31T12:00:00.25Z") == Timestamp(seconds=NOON // 10**9, nanos=250_000_000)
