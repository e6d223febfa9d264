"""Moments and durations on the command line."""

from __future__ import annotations

import time

import click
import pytest

from spacelink.cli._moments import DurationParam, MomentParam

NANOS = 1_000_000_000


def moment(text: str) -> int:
    return MomentParam().convert(text, None, None)


def test_rfc3339_keeps_its_nanoseconds() -> None:
    assert moment("2026-01-31T12:00:00.123456789Z") == 1_769_860_800_123_456_789


def test_a_date_is_its_start_in_utc() -> None:
    assert moment("2026-01-31") == moment("2026-01-31T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("now", 0), ("-90s", 90), ("-15m", 900), ("-1h", 3_600), ("-7d", 604_800), ("-2w", 1_209_600)],
)
def test_relative_moments_are_before_now(text: str, seconds: int) -> None:
    before = time.time_ns()
    found = moment(text)
    assert before <= found + seconds * NANOS <= time.time_ns()


@pytest.mark.parametrize(
    "text", ["yesterday", "-1", "-h", "1h", "--1h", "-1y", "2026-02-30", "2026-1-31", "", "-1.5h"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="some time ago such as -1h"):
        moment(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2024-13-01", "'2024-13-01': month must be in 1..12; expected RFC 3339"),
        ("2024-01-31T25:00:00Z", "'2024-01-31T25:00:00Z': hour must be in 0..23; expected RFC 3339"),
        ("2024-01-31 12:00:00", "'2024-01-31 12:00:00': the time zone is missing, Z for UTC or an offset"),
        ("5", "'5': a number needs a unit (s, m, h, d, w); expected RFC 3339"),
        ("1492-01-31", "'1492-01-31': the year must be from 1678 to 2261; expected RFC 3339"),
        ("2024-01-31Tnoon", "'2024-01-31Tnoon': expected RFC 3339"),
    ],
)
def test_what_is_wrong_with_a_moment_is_told(text: str, problem: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        moment(text)
    assert caught.value.message.startswith(problem)


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("5m", 300), ("1h", 3_600), ("0s", 0)])
def test_durations(text: str, seconds: int) -> None:
    assert DurationParam().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["20", "-20s", "s", "1.5s", "20 s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="a number with a unit"):
        DurationParam().convert(text, None, None)
