from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from spacelink_server.webhooks.schedule import DAY, next_attempt, parse_retry_after

SECOND = 1_000_000_000
FAR = f"Fri, 31 Dec {'9' * 30} 23:59:59 GMT"
NOW = 1_800_000_000 * SECOND


def delays(retry_after: float | None = None) -> list[float]:
    """Give the seconds between the attempts of a delivery that always fails at once."""
    found: list[float] = []
    now = NOW
    for count in range(1, 1000):
        at = next_attempt(count, NOW, now, retry_after)
        if at is None:
            return found
        found.append((at - now) / SECOND)
        now = at
    raise AssertionError("it is never given up")


def test_attempts_come_ever_later_for_a_day() -> None:
    for _ in range(20):
        found = delays()
        assert sum(found) * SECOND == pytest.approx(DAY, abs=SECOND)
        assert 2.5 <= found[0] <= 5
        for number, delay in enumerate(found[:-1]):
            highest = min(5 * 2**number, 7200)
            assert highest / 2 <= delay <= highest
        assert 20 <= len(found) <= 36


def test_attempts_are_not_all_at_the_same_time() -> None:
    assert len({tuple(delays()) for _ in range(5)}) == 5


def test_a_receiver_is_left_alone_for_as_long_as_it_asked() -> None:
    assert delays(retry_after=3600)[0] == 3600
    assert delays(retry_after=1)[0] >= 2.5
    assert delays(retry_after=10 * 86_400) == [86_400]


def test_reads_seconds_and_dates() -> None:
    assert parse_retry_after("120", NOW) == 120
    assert parse_retry_after(" 0 ", NOW) == 0
    date = format_datetime(datetime.fromtimestamp(NOW // SECOND, UTC) + timedelta(seconds=90), usegmt=True)
    assert parse_retry_after(date, NOW) == 90
    assert parse_retry_after(date.replace("GMT", "+0100"), NOW) == 0
    assert parse_retry_after(date.replace("GMT", "-0000"), NOW) == 90


def test_nobody_is_left_alone_for_more_than_a_day() -> None:
    assert parse_retry_after("9" * 5000, NOW) == 86_400
    assert parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", NOW) == 86_400


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1.5", "٣", "Fri, 31 Feb 2027 00:00:00 GMT", FAR])
def test_what_says_nothing(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None
