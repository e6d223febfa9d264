"""Calendar periods in UTC, as half-open ranges of nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spacelink.v1 import network_pb2 as pb

if TYPE_CHECKING:
    from spacelink.v1.network_pb2 import SlaPeriod

_NANOS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MONTHS = {pb.SLA_PERIOD_MONTH: 1, pb.SLA_PERIOD_QUARTER: 3, pb.SLA_PERIOD_YEAR: 12}


def period_around(period: SlaPeriod.ValueType, moment: int) -> tuple[int, int]:
    """Give the calendar period that a moment lies in."""
    day = (_EPOCH + timedelta(seconds=moment // _NANOS)).replace(hour=0, minute=0, second=0)
    if period in _MONTHS:
        start, end = _months(day, _MONTHS[period])
    elif period == pb.SLA_PERIOD_WEEK:
        start = day - timedelta(days=day.weekday())
        end = start + timedelta(days=7)
    else:
        start, end = day, day + timedelta(days=1)
    return _to_nanos(start), _to_nanos(end)


def _months(day: datetime, count: int) -> tuple[datetime, datetime]:
    """Give the period of so many months, counted from January."""
    first = (day.month - 1) // count * count + 1
    start = day.replace(month=first, day=1)
    years, month = divmod(first - 1 + count, 12)
    return start, start.replace(year=start.year + years, month=month + 1)


def _to_nanos(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1) * _NANOS
