from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.scoring.degradation import SLOT_NS, Detector
from spacelink_server.scoring.detector_state import BASELINE_SLOTS, DetectorState
from spacelink_server.scoring.incidents import Cause, Events
from spacelink_server.scoring.samples import SECOND_NS, Samples
from tests.properties import UNTIMED
from tests.server.scoring.links import START_NS, healthy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Row = tuple[Cause, bool, float, float]

HOUR = 3600
NAN = np.float32(np.nan)


def detector(devices: int = 1) -> Detector:
    return Detector(DetectorState.empty(devices))


def changed(
    samples: Samples, start: int, end: int, *, later_ms: float = 0, loss: float | None = None
) -> Samples:
    """Change the samples of some seconds."""
    second = (samples.time_unix_nano - START_NS) // SECOND_NS
    is_within = (second >= start) & (second < end)
    latency = samples.latency_ms + np.float32(later_ms) * is_within
    if loss == 100:
        latency = np.where(is_within, NAN, latency)
    losses = (
        samples.packet_loss_percent
        if loss is None
        else np.where(is_within, loss, samples.packet_loss_percent)
    )
    return replace(
        samples, latency_ms=latency.astype(np.float32), packet_loss_percent=losses.astype(np.float32)
    )


def rows(events: Events, device: int = 0) -> list[Row]:
    """Give cause, whether it opened, and the seconds since START_NS of time and since."""
    return [
        (Cause(cause), bool(is_open), (time - START_NS) / SECOND_NS, (since - START_NS) / SECOND_NS)
        for one, cause, is_open, time, since in zip(
            events.device, events.cause, events.is_open, events.time_ns, events.since_ns, strict=True
        )
        if one == device
    ]


def detected(samples: Samples) -> list[Row]:
    return rows(detector().feed(samples, int(samples.time_unix_nano[-1])))


def test_a_healthy_link_has_no_incident() -> None:
    assert detected(healthy(3 * HOUR)) == []


def test_an_outage_opens_once_and_closes() -> None:
    (opened, closed) = detected(changed(healthy(2 * HOUR), HOUR, HOUR + 30, loss=100))
    assert opened[:2] == (Cause.LOSS, True)
    # The second slot's first step makes it more than one slot.
    assert opened[2:] == (HOUR + 20, HOUR)
    assert closed[:2] == (Cause.LOSS, False)
    assert HOUR + 75 <= closed[2] <= HOUR + 90
    assert closed[3] == opened[3]


def test_a_step_of_latency_opens_after_three_slots_and_closes_after_three_good_ones() -> None:
    assert detected(changed(healthy(2 * HOUR), HOUR, HOUR + 300, later_ms=60)) == [
        (Cause.LATENCY, True, HOUR + 45, HOUR),
        (Cause.LATENCY, False, HOUR + 345, HOUR),
    ]


@pytest.mark.parametrize(("later_ms", "is_found"), [(24, False), (26, True)])
def test_a_step_on_a_link_without_any_spread_has_to_pass_the_floor(later_ms: float, is_found: bool) -> None:
    quiet = healthy(HOUR)
    quiet = replace(quiet, latency_ms=np.full(len(quiet), 30, np.float32))
    assert bool(detected(changed(quiet, 1800, 2100, later_ms=later_ms))) is is_found


@pytest.mark.parametrize(("seconds", "is_found"), [(45, False), (60, True)])
def test_losses_have_to_go_through_four_slots(seconds: int, is_found: bool) -> None:
    clean = healthy(HOUR)
    clean = replace(clean, packet_loss_percent=np.zeros(len(clean), np.float32))
    assert bool(detected(changed(clean, 1800, 1800 + seconds, loss=4))) is is_found


def test_a_step_within_the_links_own_spread_is_none() -> None:
    wild = healthy(2 * HOUR)
    slots = np.arange(len(wild)) // 15
    level = np.random.default_rng(2).normal(0, 25, slots[-1] + 1)[slots].astype(np.float32)
    wild = replace(wild, latency_ms=wild.latency_ms + 80 + level)
    assert detected(changed(wild, HOUR, HOUR + 300, later_ms=60)) == []
    assert detected(changed(wild, HOUR, HOUR + 300, later_ms=300)) != []


def test_values_and_thresholds_are_told() -> None:
    samples = changed(healthy(2 * HOUR), HOUR, HOUR + 300, later_ms=60)
    events = detector().feed(samples, START_NS)
    assert 80 < events.value[0] < 110
    assert 50 < events.threshold[0] < 80
    assert events.value[1] < events.threshold[1] < events.threshold[0]
    losses = detector().feed(changed(healthy(2 * HOUR), HOUR, HOUR + 120, loss=3), START_NS)
    assert losses.threshold.tolist() == [2, 1]
    assert losses.value[0] > 2 > 1 > losses.value[1]


@pytest.mark.parametrize("slot_s", [HOUR, HOUR + 15])
def test_one_slot_alone_opens_nothing(slot_s: int) -> None:
    assert detected(changed(healthy(2 * HOUR), slot_s, slot_s + 15, loss=60)) == []
    assert detected(changed(healthy(2 * HOUR), slot_s, slot_s + 15, later_ms=500)) == []


def test_losses_at_every_handover_open_nothing_below_the_page() -> None:
    samples = healthy(2 * HOUR)
    second = np.arange(len(samples))
    loss = np.where(second % 15 == 0, 25, 0).astype(np.float32)
    assert detected(replace(samples, packet_loss_percent=loss)) == []


@pytest.mark.parametrize(
    ("status_after", "opens_and_closes"),
    [(DeviceStatus.DEVICE_STATUS_ACTIVE, [True, False]), (DeviceStatus.DEVICE_STATUS_UNSPECIFIED, [True])],
)
def test_offline_counts_as_lost_until_a_status_says_otherwise(
    status_after: int, opens_and_closes: list[bool]
) -> None:
    samples = healthy(HOUR)
    second = np.arange(len(samples))
    is_offline = (second >= 1800) & (second < 1830)
    status = np.full(len(samples), status_after, np.uint8)
    status[is_offline] = DeviceStatus.DEVICE_STATUS_OFFLINE
    no_loss = np.full(len(samples), NAN)
    found = detected(replace(samples, status=status, packet_loss_percent=no_loss))
    assert [(row[0], row[1]) for row in found] == [(Cause.LOSS, is_open) for is_open in opens_and_closes]


def test_a_slow_device_is_judged_by_its_own_last_slots() -> None:
    samples = changed(healthy(2 * HOUR), HOUR, HOUR + 300, loss=100)
    events = detected(samples.take(np.arange(0, len(samples), 50)))
    assert [row[:2] for row in events] == [(Cause.LOSS, True), (Cause.LOSS, False)]
    assert events[0][2] <= HOUR + 110


def test_the_first_ten_minutes_have_no_baseline() -> None:
    assert detected(changed(healthy(HOUR), 120, 420, later_ms=60)) == []
    assert detected(changed(healthy(HOUR), 720, 1020, later_ms=60)) != []


def test_a_level_that_stays_becomes_the_new_normal() -> None:
    window_s = BASELINE_SLOTS * SLOT_NS // SECOND_NS
    samples = changed(healthy(7 * HOUR), HOUR, 7 * HOUR, later_ms=60)
    (opened, closed) = detected(samples.take(np.arange(7, len(samples), 15)))
    assert opened[:3] == (Cause.LATENCY, True, HOUR + 45)
    assert HOUR + window_s < closed[2] < HOUR + 2 * window_s


def test_an_incident_does_not_move_the_baseline() -> None:
    samples = changed(healthy(4 * HOUR), HOUR, HOUR + 6000, later_ms=60)
    (opened, closed) = detected(samples)
    assert closed[2] - (HOUR + 6000) < 120
    assert opened[1:] == (True, HOUR + 45, HOUR)


EVENTFUL_S = 1900


def eventful(seed: int) -> Samples:
    samples = changed(healthy(EVENTFUL_S, seed), 1000, 1030, loss=100)
    samples = changed(samples, 1200, 1350, later_ms=70)
    return changed(samples, 1600, 1700, loss=4)


@pytest.fixture(scope="module")
def eventful_rows() -> list[Row]:
    return detected(eventful(3))


@settings(UNTIMED, max_examples=5)
@given(st.sets(st.integers(1, EVENTFUL_S - 1), max_size=12), st.integers(0, 99))
def test_neither_cuts_nor_the_order_within_a_step_matter(
    eventful_rows: list[Row], cuts: set[int], seed: int
) -> None:
    samples = eventful(3)
    random = np.random.default_rng(seed)
    step = (samples.time_unix_nano - START_NS) // (5 * SECOND_NS)
    shuffled = samples.take(np.lexsort((random.random(len(step)), step)))
    one_by_one = detector()
    parts = [
        one_by_one.feed(samples.take(part), START_NS)
        for part in np.split(np.arange(len(samples)), sorted(cuts))
    ]
    assert [row for part in parts for row in rows(part)] == eventful_rows
    by_step = detector()
    bounds = np.flatnonzero(np.diff(step)) + 1
    parts = [by_step.feed(shuffled.take(part), START_NS) for part in np.split(np.arange(len(step)), bounds)]
    assert [row for part in parts for row in rows(part)] == eventful_rows


def test_devices_do_not_disturb_one_another() -> None:
    links = [eventful(seed) for seed in range(4)] + [healthy(EVENTFUL_S, 9)]
    together = Samples.concatenate(
        [replace(link, device=np.full(len(link), device)) for device, link in enumerate(links)]
    )
    events = detector(5).feed(together.take(np.random.default_rng(1).permutation(len(together))), START_NS)
    assert [rows(events, device) for device in range(5)] == [detected(link) for link in links]
    assert len(rows(events, 0)) == 6


def test_incidents_open_and_close_in_turn() -> None:
    flapping = healthy(2 * HOUR)
    for start in range(HOUR, 2 * HOUR, 187):
        flapping = changed(flapping, start, start + 47, loss=30, later_ms=55)
    events = rows(detector().feed(flapping, START_NS))
    for cause in (Cause.LATENCY, Cause.LOSS):
        is_open = [row[1] for row in events if row[0] is cause]
        assert is_open == [index % 2 == 0 for index in range(len(is_open))]
        assert len(is_open) > 1


@pytest.mark.parametrize("cut", [1010, 1230, 1320, 1640])
def test_a_detector_goes_on_where_another_stopped(eventful_rows: list[Row], cut: int) -> None:
    samples = eventful(3)
    first = detector()
    before = first.feed(samples.take(np.arange(cut)), START_NS)
    second = Detector(DetectorState.from_bytes(first.state.to_bytes()))
    after = second.feed(samples.take(np.arange(cut, len(samples))), START_NS)
    assert rows(before) + rows(after) == eventful_rows


def test_devices_can_be_taken_out_and_added(eventful_rows: list[Row]) -> None:
    links = [eventful(3), healthy(HOUR, 4)]
    both = Samples.concatenate(
        [replace(link, device=np.full(len(link), device)) for device, link in enumerate(links)]
    )
    second = (both.time_unix_nano - START_NS) // SECOND_NS
    first = detector(2)
    before = first.feed(both.take(second < 1250), START_NS)
    other = Detector(first.state.take(np.array([-1, 0])))
    rest = links[0].take(np.arange(1250, EVENTFUL_S))
    after = other.feed(replace(rest, device=np.ones(len(rest), np.int64)), START_NS)
    assert rows(before) + rows(after, 1) == eventful_rows
    assert rows(after, 0) == []
    assert len(other.state) == 2


def arrays(state: DetectorState) -> Iterable[tuple[str, NDArray[np.generic]]]:
    return ((field.name, getattr(state, field.name)) for field in fields(state))


def test_what_is_serialised_is_all_there_is() -> None:
    state = detector(3).state
    state.medians[1, 7] = 5
    for (name, one), (_, other) in zip(
        arrays(state), arrays(DetectorState.from_bytes(state.to_bytes())), strict=True
    ):
        assert one.dtype == other.dtype, name
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", DetectorState.empty(1).to_bytes()[:-100]])
def test_damaged_states_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="detector state: damaged, or not one"):
        DetectorState.from_bytes(data)


def test_late_samples_change_nothing(eventful_rows: list[Row]) -> None:
    samples = eventful(3)
    late = changed(samples.take(np.arange(900, 1200)), 0, HOUR, loss=100)
    one = detector()
    events = rows(one.feed(samples.take(np.arange(1500)), START_NS))
    events += rows(one.feed(late, START_NS))
    events += rows(one.feed(samples.take(np.arange(1500, EVENTFUL_S)), START_NS))
    assert events == eventful_rows


def test_many_samples_a_second(eventful_rows: list[Row]) -> None:
    samples = eventful(3)
    often = Samples.concatenate(
        [replace(samples, time_unix_nano=samples.time_unix_nano + part * 10_000_000) for part in range(80)]
    )
    assert len(often) == 80 * EVENTFUL_S
    assert detected(often) == eventful_rows


def test_nothing_fed_is_nothing_found() -> None:
    one = detector(0)
    assert len(one.feed(healthy(1).take(np.zeros(0, np.int64)), START_NS)) == 0
    assert len(one.advance(START_NS)) == 0


def seconds(after: float) -> int:
    return START_NS + round(after * SECOND_NS)


def test_silence_opens_once_and_closes_when_something_comes() -> None:
    one = detector(2)
    one.feed(healthy(100), seconds(100))
    assert rows(one.advance(seconds(159))) == []
    opened = one.advance(seconds(161))
    assert rows(opened) == [(Cause.SILENCE, True, 161, 100)]
    assert (opened.value.tolist(), opened.threshold.tolist()) == ([61], [60])
    assert rows(one.advance(seconds(300))) == []
    closed = one.feed(healthy(120).take(np.arange(100, 120)), seconds(400))
    assert rows(closed) == [(Cause.SILENCE, False, 400, 100)]
    assert closed.value.tolist() == [300]
    assert rows(one.advance(seconds(450))) == []
    assert rows(one.advance(seconds(460))) == [(Cause.SILENCE, True, 460, 400)]


def test_a_backlog_is_no_silence_however_old_its_samples_are() -> None:
    one = detector()
    one.feed(healthy(10), seconds(10_000))
    assert len(one.advance(seconds(10_050))) == 0


def test_a_device_never_heard_is_not_silent() -> None:
    assert len(detector(3).advance(START_NS)) == 0


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    one = detector()
    one.feed(healthy(10), seconds(10))
    one.resume(seconds(5000))
    assert len(one.advance(seconds(5059))) == 0
    assert rows(one.advance(seconds(5060))) == [(Cause.SILENCE, True, 5060, 5000)]
    one.resume(seconds(9000))
    assert rows(one.feed(healthy(20), seconds(9001))) == [(Cause.SILENCE, False, 9001, 5000)]


def test_an_open_incident_can_be_taken_over() -> None:
    one = detector()
    one.mark_open(0, Cause.LOSS, START_NS - SECOND_NS)
    # As soon as there are four slots again.
    assert rows(one.feed(healthy(1000), START_NS)) == [(Cause.LOSS, False, 50, -1)]


def test_slots_before_a_gap_do_not_count() -> None:
    samples = changed(healthy(2 * HOUR), HOUR - 29, HOUR + 1000, later_ms=60)
    second = (samples.time_unix_nano - START_NS) // SECOND_NS
    with_gap = samples.take((second < HOUR) | (second >= HOUR + 900))
    (opened, _) = detected(with_gap)
    assert opened == (Cause.LATENCY, True, HOUR + 945, HOUR + 900)
