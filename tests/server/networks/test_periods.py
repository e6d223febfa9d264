from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spacelink.v1 import network_pb2 as pb
from spacelink_server.networks.periods import period_around


def nanos(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        (pb.SLA_PERIOD_DAY, "2025-03-01T23:59:59", "2025-03-01", "2025-03-02"),
        (pb.SLA_PERIOD_DAY, "2025-03-01T00:00:00", "2025-03-01", "2025-03-02"),
        (pb.SLA_PERIOD_WEEK, "2025-03-02T12:00:00", "2025-02-24", "2025-03-03"),
        (pb.SLA_PERIOD_WEEK, "2025-03-03T00:00:00", "2025-03-03", "2025-03-10"),
        (pb.SLA_PERIOD_MONTH, "2024-02-29T12:00:00", "2024-02-01", "2024-03-01"),
        (pb.SLA_PERIOD_MONTH, "2025-12-31T23:59:59", "2025-12-01", "2026-01-01"),
        (pb.SLA_PERIOD_QUARTER, "2025-11-05T00:00:00", "2025-10-01", "2026-01-01"),
        (pb.SLA_PERIOD_QUARTER, "2025-06-30T23:00:00", "2025-04-01", "2025-07-01"),
        (pb.SLA_PERIOD_YEAR, "2024-07-01T00:00:00", "2024-01-01", "2025-01-01"),
    ],
)
def test_the_calendar_period_around_a_moment(
    period: pb.SlaPeriod.ValueType, moment: str, start: str, end: str
) -> None:
    assert period_around(period, nanos(moment)) == (nanos(start), nanos(end))
