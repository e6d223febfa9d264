from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.scoring.runs import Runs, Sightings, Spans, runs, sightings
from spacelink_server.scoring.samples import Samples
from tests.properties import UNTIMED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    Sample = tuple[int, int, float]

DEVICES = 3
START, END = 20, 60
MAX_GAP = 4
NAN = float("nan")

# Nanoseconds do for seconds here. Losses of 100 are down, others up, none of unknown is neither.
samples_of_devices = st.lists(
    st.tuples(st.integers(0, DEVICES - 1), st.integers(0, 80), st.sampled_from([0.0, 50, 100, NAN])),
    max_size=60,
)


def samples(rows: Sequence[Sample]) -> Samples:
    device, time, loss = zip(*rows, strict=True) if rows else ((), (), ())
    columns = Samples.of_device(0, np.array(time, np.int64), packet_loss_percent=np.array(loss, np.float32))
    return Samples(
        np.array(device, np.int64),
        columns.time_unix_nano,
        columns.latency_ms,
        columns.packet_loss_percent,
        columns.status,
    )


def runs_of(rows: Sequence[Sample], devices: int = DEVICES) -> Runs:
    return runs(sightings(samples(rows), MAX_GAP), devices, START, END, MAX_GAP)


def spans(rows: Sequence[tuple[int, int, int]]) -> Spans:
    return Spans(*np.array(rows, np.int64).reshape(-1, 3).T)


def rows_of(found: Spans) -> list[tuple[int, int, int]]:
    columns = (found.device, found.start_ns, found.end_ns)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def moments(found: Spans) -> set[tuple[int, int]]:
    return {(device, moment) for device, start, end in rows_of(found) for moment in range(start, end)}


def expected_moments(rows: Sequence[Sample], *, is_down: bool) -> set[tuple[int, int]]:
    """The rule, moment by moment."""
    found = set()
    for device in range(DEVICES):
        states: dict[int, bool] = {}
        for _, time, loss in (row for row in rows if row[0] == device and row[2] == row[2]):
            states[time] = states.get(time, False) or loss == 100
        times = sorted(states)
        for index, time in enumerate(times):
            after = times[index + 1] - time if index + 1 < len(times) else 99
            before = time - times[index - 1] if index else 99
            held = after if after <= MAX_GAP else before if before <= MAX_GAP else 0
            if states[time] is is_down:
                found |= {(device, moment) for moment in range(time, time + held) if START <= moment < END}
    return found


def test_a_sample_holds_until_the_next_and_then_for_the_interval() -> None:
    found = runs_of([(0, time, 0) for time in (20, 22, 24, 40, 42)], 1)
    assert rows_of(found.up) == [(0, 20, 26), (0, 40, 44)]
    assert rows_of(found.down) == []


def test_a_sample_alone_says_nothing_of_the_time_after_it() -> None:
    found = runs_of([(0, 30, 100)], 1)
    assert len(found.up) == len(found.down) == 0


def test_what_is_down() -> None:
    times = np.arange(6, dtype=np.int64)
    status = np.array(
        [
            DeviceStatus.DEVICE_STATUS_OFFLINE,
            DeviceStatus.DEVICE_STATUS_MAINTENANCE,
            DeviceStatus.DEVICE_STATUS_ACTIVE,
            DeviceStatus.DEVICE_STATUS_UNSPECIFIED,
            DeviceStatus.DEVICE_STATUS_UNSPECIFIED,
            DeviceStatus.DEVICE_STATUS_UNSPECIFIED,
        ],
        np.uint8,
    )
    loss = np.array([0, 0, 100, 99.9, NAN, NAN], np.float32)
    latency = np.array([NAN, NAN, NAN, NAN, 30, NAN], np.float32)
    found = Samples.of_device(0, times, status=status, packet_loss_percent=loss, latency_ms=latency)
    assert found.is_down().tolist() == [True, False, True, False, False, False]
    assert found.is_known().tolist() == [True, True, True, True, True, False]


@UNTIMED
@given(samples_of_devices)
def test_runs_are_what_the_rule_says(rows: list[Sample]) -> None:
    found = runs_of(rows)
    assert moments(found.up) == expected_moments(rows, is_down=False)
    assert moments(found.down) == expected_moments(rows, is_down=True)


@UNTIMED
@given(samples_of_devices, st.randoms())
def test_runs_do_not_depend_on_the_order_of_samples(rows: list[Sample], random: Random) -> None:
    found = runs_of(rows)
    random.shuffle(rows)
    again = runs_of(rows)
    assert rows_of(again.up) == rows_of(found.up)
    assert rows_of(again.down) == rows_of(found.down)


@UNTIMED
@given(samples_of_devices, st.sets(st.integers(0, 80), max_size=9), st.randoms())
def test_what_is_seen_in_parts_adds_up_to_the_whole(
    rows: list[Sample], cuts: set[int], random: Random
) -> None:
    parts = [
        sightings(samples([row for row in rows if start <= row[1] < end]), MAX_GAP)
        for start, end in pairwise([0, *sorted(cuts), 81])
    ]
    random.shuffle(parts)
    found = runs(Sightings.concatenate(parts), DEVICES, START, END, MAX_GAP)
    assert rows_of(found.up) == rows_of(runs_of(rows).up)
    assert rows_of(found.down) == rows_of(runs_of(rows).down)


def test_a_steady_device_is_three_sightings_however_long() -> None:
    seen = sightings(samples([(0, time, 0.0) for time in range(20, 60)]), MAX_GAP)
    assert seen.time_ns.tolist() == [20, 58, 59]
    assert seen.is_steady.tolist() == [True, True, False]


covers = st.lists(
    st.tuples(st.integers(0, DEVICES - 1), st.integers(0, 30), st.integers(1, 20)).map(
        lambda row: (row[0], row[1], row[1] + row[2])
    ),
    max_size=12,
)


@UNTIMED
@given(covers, covers)
def test_overlap_with_spans_that_overlap_one_another(
    rows: list[tuple[int, int, int]], cover: list[tuple[int, int, int]]
) -> None:
    covered = moments(spans(cover))
    expected = [
        sum((device, moment) in covered for moment in range(start, end)) for device, start, end in rows
    ]
    assert spans(rows).overlap_ns(spans(cover)).tolist() == expected


def test_overlap_of_years_on_many_devices() -> None:
    year = 366 * 86_400 * 10**9
    everyone = Spans.for_all(20_000, [(10**18, 10**18 + year)])
    assert everyone.overlap_ns(Spans.for_all(20_000, [(0, 10**18 + 5)])).tolist() == [5] * 20_000


@UNTIMED
@given(samples_of_devices)
def test_what_is_between_is_the_rest(rows: list[Sample]) -> None:
    up = runs_of(rows).up
    everything = {(device, moment) for device in range(DEVICES) for moment in range(START, END)}
    free = up.between(DEVICES, START, END)
    assert moments(free) == everything - moments(up)
    assert sum(free.length_ns) == len(moments(free))
