from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.scoring.availability import Sla, UnknownTime, assess
from spacelink_server.scoring.runs import Runs, Sightings, Spans, runs, sightings
from spacelink_server.scoring.samples import SECOND_NS, Samples
from tests.properties import UNTIMED
from tests.server.scoring.test_runs import DEVICES, END, START, moments, rows_of, samples_of_devices, spans
from tests.server.scoring.test_runs import samples as samples_of_rows

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400
HOUR = 3600
# 31 days.
MARCH = 1_772_323_200
APRIL = MARCH + 31 * DAY
NOTHING = spans([])

# In seconds from the month's beginning. The last column is what they are charged with.
OUTAGES = [
    (-30, 30, 30),
    (5 * DAY + 60, 5 * DAY + 120, 60),
    (8 * DAY - 600, 8 * DAY + 600, 1200),
    (15 * DAY + 4 * HOUR - 400, 15 * DAY + 4 * HOUR + 200, 200),
    (31 * DAY - 45, 31 * DAY + 15, 45),
]
DIPS = [(3 * DAY + 7, 3 * DAY + 66, 59), (20 * DAY, 20 * DAY + 1, 1)]
SILENCE = [(10 * DAY + HOUR, 10 * DAY + 2 * HOUR), (11 * DAY + HOUR, 11 * DAY + 2 * HOUR)]
# Two that overlap: 2 hours of them.
MAINTENANCE = [
    (15 * DAY + 2 * HOUR, 15 * DAY + 3 * HOUR + 1800),
    (15 * DAY + 3 * HOUR, 15 * DAY + 4 * HOUR),
]


@pytest.fixture(scope="module")
def march() -> Samples:
    """A device at 1 Hz where something happens, at 0.1 Hz elsewhere, also around the month."""
    seconds = np.arange(-300, 31 * DAY + 300)
    is_sampled = seconds % 10 == 0
    status = np.full(len(seconds), DeviceStatus.DEVICE_STATUS_ACTIVE, np.uint8)
    for start, end, *_ in OUTAGES + DIPS + SILENCE:
        is_sampled |= (seconds >= start - 100) & (seconds < end + 100)
    for start, end, *_ in OUTAGES + DIPS:
        status[(seconds >= start) & (seconds < end)] = DeviceStatus.DEVICE_STATUS_OFFLINE
    for start, end in SILENCE:
        is_sampled &= (seconds < start) | (seconds >= end)
    rows = np.random.default_rng(3).permutation(np.flatnonzero(is_sampled))
    return Samples.of_device(0, (MARCH + seconds[rows]) * SECOND_NS, status=status[rows])


def windows(rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [((MARCH + start) * SECOND_NS, (MARCH + end) * SECOND_NS) for start, end in rows]


@pytest.fixture(scope="module")
def month(march: Samples) -> Runs:
    return month_of(march, Sla(99.9))


def month_of(samples: Samples, sla: Sla) -> Runs:
    start, end = MARCH * SECOND_NS - sla.lookaround_ns, APRIL * SECOND_NS + sla.lookaround_ns
    return runs(sightings(samples, sla.max_gap_ns), 1, start, end, sla.max_gap_ns)


PERIOD = (MARCH * SECOND_NS, APRIL * SECOND_NS)


@pytest.mark.parametrize(
    ("unknown", "excluded", "outage", "budget_ms", "is_compliant"),
    [
        (UnknownTime.EXCLUDED, 4 * HOUR, 1535, 2_664_000, True),
        (UnknownTime.UP, 2 * HOUR, 1535, 2_671_200, True),
        (UnknownTime.DOWN, 2 * HOUR, 1535 + 2 * HOUR, 2_671_200, False),
    ],
)
def test_a_month(
    month: Runs, unknown: UnknownTime, excluded: int, outage: int, budget_ms: int, is_compliant: bool
) -> None:
    sla = Sla(99.9, unknown=unknown)
    found = assess(month, PERIOD, sla, Spans.for_all(1, windows(MAINTENANCE)))
    assert found.period_ns == 31 * DAY * SECOND_NS
    assert found.maintenance_ns.tolist() == [2 * HOUR * SECOND_NS]
    assert found.unknown_ns.tolist() == [2 * HOUR * SECOND_NS]
    assert found.excluded_ns.tolist() == [excluded * SECOND_NS]
    assert found.outage_ns.tolist() == [outage * SECOND_NS]
    assert found.dip_ns.tolist() == [60 * SECOND_NS]
    assert found.budget_ns.tolist() == [budget_ms * 1_000_000]
    assert found.left_ns.tolist() == [budget_ms * 1_000_000 - outage * SECOND_NS]
    assert found.percent == pytest.approx([100 - 100 * outage / (31 * DAY - excluded)], abs=1e-9)
    assert found.is_compliant.tolist() == [is_compliant]


def test_every_outage_is_listed_whole(month: Runs) -> None:
    sla = Sla(99.9)
    found = assess(month, PERIOD, sla, Spans.for_all(1, windows(MAINTENANCE)))
    whole = [(0, *window) for window in windows([row[:2] for row in OUTAGES])]
    assert rows_of(found.outages.spans) == whole
    assert (found.outages.charged_ns // SECOND_NS).tolist() == [row[2] for row in OUTAGES]
    assert rows_of(found.dips.spans) == [(0, *window) for window in windows([row[:2] for row in DIPS])]


def test_a_month_day_by_day_is_the_month(march: Samples, month: Runs) -> None:
    gap = Sla(99.9).max_gap_ns
    ordered = march.in_order()
    day = ordered.time_unix_nano // (DAY * SECOND_NS)
    parts = [sightings(ordered.take(day == each), gap) for each in np.unique(day)]
    found = runs(Sightings.concatenate(parts), 1, month.start_ns, month.end_ns, gap)
    assert rows_of(found.up) == rows_of(month.up)
    assert rows_of(found.down) == rows_of(month.down)


def test_late_samples_change_the_silence_they_fill_and_nothing_else(march: Samples, month: Runs) -> None:
    sla = Sla(99.9)
    start, end = SILENCE[0]
    late = Samples.of_device(
        0,
        (MARCH + np.arange(start, end, 10)) * SECOND_NS,
        status=np.full((end - start) // 10, DeviceStatus.DEVICE_STATUS_ACTIVE, np.uint8),
    )
    before = assess(month, PERIOD, sla, NOTHING)
    after = assess(month_of(Samples.concatenate([march, late]), sla), PERIOD, sla, NOTHING)
    assert (before.unknown_ns - after.unknown_ns).tolist() == [HOUR * SECOND_NS]
    assert rows_of(after.outages.spans) == rows_of(before.outages.spans)
    assert after.dip_ns.tolist() == before.dip_ns.tolist()


def at(outage_ns: int) -> Runs:
    """A month of which that much is an outage."""
    start, end = PERIOD
    up, down = [(0, start + outage_ns, end)], [(0, start, start + outage_ns)]
    return Runs(1, start, end, spans(up), spans(down if outage_ns else []))


def test_the_budget_of_31_days_at_three_nines_is_44_64_minutes() -> None:
    budget_ns = 2_678_400_000_000
    within, beyond = (assess(at(budget_ns + more), PERIOD, Sla(99.9), NOTHING) for more in (0, 1))
    assert within.budget_ns.tolist() == [budget_ns]
    assert budget_ns == 44.64 * 60 * SECOND_NS
    assert (within.is_compliant[0], beyond.is_compliant[0]) == (True, False)
    assert (within.left_ns[0], beyond.left_ns[0]) == (0, -1)


@pytest.mark.parametrize(
    ("target", "seconds"), [(99.999, 26.784), (99.5, 13_392), (100, 0), (0.1, 2_675_721.6)]
)
def test_budgets(target: float, seconds: float) -> None:
    budget = assess(at(0), PERIOD, Sla(target), NOTHING).budget_ns
    assert budget.tolist() == [round(seconds * 1000) * 1_000_000]


def test_a_period_of_maintenance_only() -> None:
    found = assess(at(5), PERIOD, Sla(99.9), Spans.for_all(1, [PERIOD]))
    assert np.isnan(found.percent).all()
    assert found.is_compliant.all()
    assert found.outage_ns.tolist() == [0]


def test_a_device_that_never_reported() -> None:
    silent = Runs(1, *PERIOD, NOTHING, NOTHING)
    length = 31 * DAY * SECOND_NS
    up, down, excluded = (assess(silent, PERIOD, Sla(99.9, unknown=way), NOTHING) for way in UnknownTime)
    assert [found.unknown_ns[0] for found in (excluded, up, down)] == [length] * 3
    assert np.isnan(excluded.percent[0])
    assert (up.percent[0], down.percent[0]) == (100, 0)


def test_silence_that_counts_as_down_joins_with_the_outage_around_it() -> None:
    known = Runs(1, 0, 100, spans([(0, 0, 20), (0, 60, 100)]), spans([(0, 20, 30), (0, 50, 60)]))
    apart = assess(known, (0, 100), Sla(90, min_outage_ns=30), NOTHING)
    assert (apart.outage_ns[0], apart.dip_ns[0], apart.unknown_ns[0]) == (0, 20, 20)
    together = assess(known, (0, 100), Sla(90, min_outage_ns=30, unknown=UnknownTime.DOWN), NOTHING)
    assert rows_of(together.outages.spans) == [(0, 20, 60)]
    assert (together.outage_ns[0], together.dip_ns[0], together.unknown_ns[0]) == (40, 0, 20)


@UNTIMED
@given(
    samples_of_devices,
    st.sampled_from(list(UnknownTime)),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(15, 60), st.integers(1, 15)), max_size=3),
)
def test_times_are_what_one_counts(
    rows: list[tuple[int, int, float]], unknown: UnknownTime, min_outage: int, work: list[tuple[int, int]]
) -> None:
    sla = Sla(99, min_outage_ns=min_outage, max_gap_ns=4, unknown=unknown)
    period = (START + 10, END - 10)
    known = runs(sightings(samples_of_rows(rows), sla.max_gap_ns), DEVICES, START, END, sla.max_gap_ns)
    maintenance = Spans.for_all(DEVICES, [(start, start + length) for start, length in work])
    found = assess(known, period, sla, maintenance)

    within = {(device, moment) for device in range(DEVICES) for moment in range(*period)} - moments(
        maintenance
    )
    is_unknown = within - moments(known.up) - moments(known.down)
    outages = moments(found.outages.spans) & within
    for device in range(DEVICES):

        def count(those: set[tuple[int, int]], device: int = device) -> int:
            return sum(one == device for one, _ in those)

        assert found.unknown_ns[device] == count(is_unknown)
        assert found.maintenance_ns[device] == period[1] - period[0] - count(within)
        assert found.outage_ns[device] == count(outages)
        counted = count(within - is_unknown if unknown is UnknownTime.EXCLUDED else within)
        assert found.excluded_ns[device] == period[1] - period[0] - counted
        if counted:
            assert found.percent[device] == pytest.approx(100 * (1 - count(outages) / counted))
        assert not counted or 0 <= found.percent[device] <= 100 + 1e-9
    down = moments(known.down) & within | (is_unknown if unknown is UnknownTime.DOWN else set())
    assert outages | moments(found.dips.spans) & within == down
    assert all(found.outages.spans.length_ns >= min_outage)
    assert all(found.dips.spans.length_ns < min_outage)


@pytest.mark.parametrize("period", [(5, 5), (-1, 10), (0, 101), (9, 3)])
def test_a_period_beside_the_runs_is_refused(period: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="period: expected a range within 0 to 100"):
        assess(Runs(1, 0, 100, NOTHING, NOTHING), period, Sla(99), NOTHING)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sla(0), "target_percent: expected above 0"),
        (lambda: Sla(100.1), "target_percent: "),
        (lambda: Sla(float("nan")), "target_percent: "),
        (lambda: Sla(99, min_outage_ns=0), "min_outage_ns: expected above 0"),
        (lambda: Sla(99, max_gap_ns=-1), "max_gap_ns: expected above 0"),
    ],
)
def test_a_wrong_sla_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
