"""Live detection of degradation on many devices at once.

A terminal in low earth orbit is moved to another satellite every 15 s, at :12,
:27, :42 and :57 of each minute (UTC), and its latency and losses have a level
of their own in each of these slots, so single samples say little. An incident
has one of three causes:

- LATENCY. A slot is bad if its median is above the median of the last hours'
  slots by an absolute floor AND by a multiple of their deviation. Three bad
  slots of four open an incident, three good ones of four close it.
- LOSS. The mean loss of the last 60 s is above LOSS_PERCENT, with losses in each
  of the last four slots; or above BURST_PERCENT, with two of them above
  LOSS_PERCENT by themselves: a slot alone, as at a handover, opens nothing. It
  closes below half of LOSS_PERCENT. OFFLINE counts as a loss of 100 %, another
  status without a loss as 0.
- SILENCE. Nothing was received for a while, whatever the samples' own times.

One incident is open per device and cause at most. Time comes in with the
samples and the calls; there is no clock here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.scoring.detector_state import BASELINE_SLOTS, LOSS_SLOTS, RECENT_SLOTS, DetectorState
from spacelink_server.scoring.incidents import Cause, Events
from spacelink_server.scoring.samples import SECOND_NS
from spacelink_server.scoring.window import percentiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spacelink_server.scoring.samples import Samples

    Moments = NDArray[np.int64]
    Numbers = NDArray[np.float64]
    Mask = NDArray[np.bool_]

SLOT_NS = 15 * SECOND_NS
FIRST_BOUNDARY_NS = 12 * SECOND_NS
# Losses are judged more often than slots end, or a loss that begins with a slot
# would be noticed after its fourth, more than a minute later.
STEP_NS = 5 * SECOND_NS
_STEPS = SLOT_NS // STEP_NS

# The values below were measured on three days of a healthy dish, 28 hours at
# 1 Hz (`python -m bench detection` prints what they find). Of its slots, one in
# a hundred is 20 to 32 ms above the day's median and one in a thousand 40 to 49;
# the deviation of two hours is 3 to 9 ms. Two slots of three above 25 ms and 5
# deviations come six times in the three days, three of four never; a step of
# 60 ms is above the threshold, 46 ms at most, in every slot.
LATENCY_FLOOR_MS = 25.0
LATENCY_DEVIATIONS = 5.0
_SLOTS_TO_CHANGE = 3
# What is left of the excess when it is over. At 0.5 the healthy slots' own spread
# kept one incident in sixty open for more than two minutes, at 0.7 none.
_LATENCY_CLOSING = 0.7
# Ten minutes: a deviation of fewer slots is that of chance.
_FEWEST_BASELINE_SLOTS = 40
# The median of absolute deviations of a normal distribution, as its standard deviation.
_MAD_TO_DEVIATION = 1.4826

# A mean over 60 s above 2 % is what people notice, and comes in ten of 6,766
# slots, in three bursts. Only one of them goes through four slots.
LOSS_PERCENT = 2.0
# What the healthy dish passes in that one only: two seconds of a minute without
# a link, or losses as heavy in other ways.
BURST_PERCENT = 3.0
_BURST_SLOTS = 2

# Agents send every 5 s and try again for as long as a link is out; a minute is
# the shortest outage of an SLA.
DEFAULT_SILENCE_NS = 60 * SECOND_NS

# 68 samples a second; of more, the first ones stand for the slot.
_MOST_LATENCIES = 1024


class Detector:
    """Takes in samples as they arrive and tells when incidents open and close.

    What comes out does not depend on how the samples are cut into calls, nor on
    their order within a step of 5 s. Samples of a step before the one that a
    device has reached are too late to be judged and are left out.

    Many devices in one call cost little more than one: gather a second's samples.

    Args:
        state: DetectorState.empty(devices), or that of an earlier detector. It
            is the detector's from then on, and changes.
        silence_ns: nothing received for so long is silence; above the slowest
            device's interval. A device's slots before such a gap are forgotten,
            save for the baseline.

    Attributes:
        state: what there is to keep over a restart.
    """

    def __init__(self, state: DetectorState, silence_ns: int = DEFAULT_SILENCE_NS) -> None:
        self.state = state
        self._silence_ns = silence_ns

    def feed(self, samples: Samples, received_ns: int) -> Events:
        """Take in samples.

        A step or slot is judged when a sample of a later one arrives.

        Args:
            samples: of any of the state's devices.
            received_ns: when they were received; breaks a silence.
        """
        found = self._hear(np.unique(samples.device), received_ns)
        ordered = samples.take(samples.is_known()).in_order()
        steps = (ordered.time_unix_nano - FIRST_BOUNDARY_NS) // STEP_NS
        is_in_time = steps >= self.state.step[ordered.device]
        ordered, steps = ordered.take(is_in_time), steps[is_in_time]
        for rows in _one_step_each(ordered.device, steps):
            found += self._enter(ordered.device[rows], steps[rows])
            self._add(ordered.take(rows))
        return Events.in_order(found)

    def advance(self, now_ns: int) -> Events:
        """Look for devices that fell silent; call it every few seconds."""
        rows = np.flatnonzero(self.state.last_received_ns > 0)
        silent_ns = now_ns - self.state.last_received_ns[rows]
        return Events.in_order(self._silence(rows, silent_ns >= self._silence_ns, now_ns))

    def resume(self, now_ns: int) -> None:
        """Begin to wait for samples anew: the time in which nobody listened is no device's silence."""
        is_silent = self.state.open_since_ns[:, Cause.SILENCE] > 0
        self.state.last_received_ns[(self.state.last_received_ns > 0) & ~is_silent] = now_ns

    def mark_open(self, device: int, cause: Cause, since_ns: int) -> None:
        """Take over an incident that is open already, known from elsewhere."""
        self.state.open_since_ns[device, cause] = since_ns

    def _hear(self, rows: Moments, received_ns: int) -> list[Events]:
        was_heard = self.state.last_received_ns[rows] > 0
        found = self._silence(rows[was_heard], np.zeros(int(was_heard.sum()), np.bool_), received_ns)
        self.state.last_received_ns[rows] = np.maximum(self.state.last_received_ns[rows], received_ns)
        return found

    def _silence(self, rows: Moments, is_silent: Mask, now_ns: int) -> list[Events]:
        last_ns = self.state.last_received_ns[rows]
        threshold = np.full(len(rows), self._silence_ns / SECOND_NS)
        time = np.full(len(rows), now_ns)
        value = (now_ns - last_ns) / SECOND_NS
        verdict = _Verdict(is_silent, ~is_silent, time, last_ns, value, threshold, threshold)
        return self._change(rows, Cause.SILENCE, verdict)

    def _enter(self, device: Moments, steps: Moments) -> list[Events]:
        """Go on to a step on each of some devices; the samples' devices repeat, their steps with them."""
        rows, first = np.unique(device, return_index=True)
        steps = steps[first]
        is_later = steps > self.state.step[rows]
        rows, steps = rows[is_later], steps[is_later]
        found = self._judge_loss(rows[self.state.lost_count[rows].any(axis=1)])
        slots = steps // _STEPS
        is_new_slot = slots > self.state.slots[rows, 0]
        ended = rows[is_new_slot]
        found += self._judge_latency(ended[self.state.latency_count[ended] > 0])
        self._begin_slot(ended, slots[is_new_slot])
        self.state.step[rows] = steps
        return found

    def _begin_slot(self, rows: Moments, slots: Moments) -> None:
        state = self.state
        gap_ns = (slots - state.slots[rows, 0] - 1) * SLOT_NS
        self._forget(rows[gap_ns >= self._silence_ns])
        _push(state.slots, rows, slots)
        _push(state.lost, rows, 0)
        _push(state.lost_count, rows, 0)
        state.latency_count[rows] = 0

    def _forget(self, rows: Moments) -> None:
        state = self.state
        state.slots[rows] = state.judged[rows] = -1
        state.lost[rows] = state.lost_count[rows] = 0
        state.is_bad[rows] = state.is_good[rows] = False

    def _add(self, samples: Samples) -> None:
        loss = np.where(samples.is_down(), np.float32(100), samples.packet_loss_percent)
        # Of a device that reports a status only, OFFLINE has to come to an end too.
        is_up = np.isnan(loss) & (samples.status != DeviceStatus.DEVICE_STATUS_UNSPECIFIED)
        loss = np.where(is_up, np.float32(0), loss)
        is_there = ~np.isnan(loss)
        np.add.at(self.state.lost[:, 0], samples.device[is_there], loss[is_there])
        np.add.at(self.state.lost_count[:, 0], samples.device[is_there], 1)
        has_latency = ~np.isnan(samples.latency_ms)
        self._add_latencies(samples.device[has_latency], samples.latency_ms[has_latency])

    def _add_latencies(self, device: Moments, latency_ms: NDArray[np.float32]) -> None:
        # Devices are in order: what lies before a sample of its own device.
        place = self.state.latency_count[device] + np.arange(len(device)) - np.searchsorted(device, device)
        has_room = place < _MOST_LATENCIES
        device, latency_ms, place = device[has_room], latency_ms[has_room], place[has_room]
        if not len(device):
            return
        self._make_room(int(place.max()) + 1)
        self.state.latencies[device, place] = latency_ms
        np.add.at(self.state.latency_count, device, 1)

    def _make_room(self, latencies: int) -> None:
        room = self.state.latencies.shape[1]
        if latencies > room:
            wider = np.pad(self.state.latencies, ((0, 0), (0, max(latencies, 2 * room) - room)))
            self.state = replace(self.state, latencies=wider)

    def _judge_loss(self, rows: Moments) -> list[Events]:
        if not len(rows):
            return []
        state = self.state
        mean = self._lost_of_a_minute(rows)
        slots = state.slots[rows, :RECENT_SLOTS]
        lost, count = state.lost[rows, :RECENT_SLOTS], state.lost_count[rows, :RECENT_SLOTS]
        is_lossy, is_heavy = lost > 0, lost > LOSS_PERCENT * count
        is_burst = (mean > BURST_PERCENT) & (is_heavy.sum(axis=1) >= _BURST_SLOTS)
        is_steady = (mean > LOSS_PERCENT) & is_lossy.all(axis=1)
        verdict = _Verdict(
            opens=is_burst | is_steady,
            # Until the four slots are full again after a gap, their mean is of less than 60 s.
            closes=(mean < LOSS_PERCENT / 2) & (slots[:, -1] >= 0),
            time_ns=(state.step[rows] + 1) * STEP_NS + FIRST_BOUNDARY_NS,
            since_ns=_oldest_ns(slots, np.where(is_burst[:, None], is_heavy, is_lossy)),
            value=mean,
            opening=np.where(is_burst, BURST_PERCENT, LOSS_PERCENT),
            closing=np.full(len(rows), LOSS_PERCENT / 2),
        )
        return self._change(rows, Cause.LOSS, verdict)

    def _lost_of_a_minute(self, rows: Moments) -> Numbers:
        """Give the mean loss of the last 60 s; the oldest slot counts by its part within them."""
        weights = np.ones((len(rows), LOSS_SLOTS))
        weights[:, -1] = 1 - (self.state.step[rows] % _STEPS + 1) / _STEPS
        lost = (self.state.lost[rows] * weights).sum(axis=1)
        count = (self.state.lost_count[rows] * weights).sum(axis=1)
        mean: Numbers = np.divide(lost, count, out=np.full(len(rows), np.nan), where=count > 0)
        return mean

    def _judge_latency(self, rows: Moments) -> list[Events]:
        if not len(rows):
            return []
        state = self.state
        median = self._slot_medians(rows)
        baseline, threshold = self._thresholds(rows)
        closing = baseline + _LATENCY_CLOSING * (threshold - baseline)
        has_baseline = state.median_count[rows] >= _FEWEST_BASELINE_SLOTS
        _push(state.judged, rows, state.slots[rows, 0])
        _push(state.is_bad, rows, has_baseline & (median > threshold))
        _push(state.is_good, rows, has_baseline & (median <= closing))
        verdict = _Verdict(
            opens=state.is_bad[rows].sum(axis=1) >= _SLOTS_TO_CHANGE,
            closes=state.is_good[rows].sum(axis=1) >= _SLOTS_TO_CHANGE,
            time_ns=_start_ns(state.slots[rows, 0] + 1),
            since_ns=_oldest_ns(state.judged[rows], state.is_bad[rows]),
            value=median,
            opening=threshold,
            closing=closing,
        )
        found = self._change(rows, Cause.LATENCY, verdict)
        self._learn(rows, median, verdict.time_ns)
        return found

    def _slot_medians(self, rows: Moments) -> Numbers:
        latencies = self.state.latencies[rows]
        is_there = np.arange(latencies.shape[1]) < self.state.latency_count[rows, None]
        return percentiles(np.where(is_there, latencies, np.float32(np.nan)), (50,))[:, 0]

    def _thresholds(self, rows: Moments) -> tuple[Numbers, Numbers]:
        """Give the baseline of latency, and the threshold above it."""
        medians = self.state.medians[rows]
        baseline = percentiles(medians, (50,))
        deviation = _MAD_TO_DEVIATION * percentiles(np.abs(medians - baseline), (50,))
        threshold = baseline + np.maximum(LATENCY_FLOOR_MS, LATENCY_DEVIATIONS * deviation)
        return baseline[:, 0], threshold[:, 0]

    def _learn(self, rows: Moments, median: Numbers, time_ns: Moments) -> None:
        """Put slots into the baseline, save for those of an incident.

        One that outlasts the baseline's whole window is taken for the new normal.
        """
        since_ns = self.state.open_since_ns[rows, Cause.LATENCY]
        learns = (since_ns == 0) | (time_ns - since_ns > BASELINE_SLOTS * SLOT_NS)
        rows, median = rows[learns], median[learns]
        self.state.medians[rows, self.state.median_count[rows] % BASELINE_SLOTS] = median
        self.state.median_count[rows] += 1

    def _change(self, rows: Moments, cause: Cause, verdict: _Verdict) -> list[Events]:
        """Open and close incidents, and tell which; nothing as a rule."""
        since_ns = self.state.open_since_ns[rows, cause]
        opens = verdict.opens & (since_ns == 0)
        closes = verdict.closes & (since_ns > 0)
        since_ns = np.where(opens, verdict.since_ns, since_ns)
        self.state.open_since_ns[rows, cause] = np.where(closes, 0, since_ns)
        changed = np.flatnonzero(opens | closes)
        if not len(changed):
            return []
        threshold = np.where(opens, verdict.opening, verdict.closing)
        found = Events(
            rows[changed],
            np.full(len(changed), cause, np.uint8),
            opens[changed],
            verdict.time_ns[changed],
            since_ns[changed],
            verdict.value[changed],
            threshold[changed],
        )
        return [found]


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    """What is to be said of n devices, whether or not an incident is open.

    Opening and closing are the thresholds.
    """

    opens: Mask
    closes: Mask
    time_ns: Moments
    since_ns: Moments
    value: Numbers
    opening: Numbers
    closing: Numbers


def _one_step_each(device: Moments, steps: Moments) -> Iterator[Moments]:
    """Part samples, which are in order, so that no part has two steps of a device."""
    is_new_device = np.diff(device, prepend=-1) != 0
    groups = np.cumsum(is_new_device | (np.diff(steps, prepend=-1) != 0))
    rank = groups - groups[is_new_device][np.cumsum(is_new_device) - 1]
    by_rank = np.argsort(rank, kind="stable")
    yield from np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1)


def _push(recent: NDArray[Any], rows: Moments, newest: NDArray[Any] | int) -> None:
    recent[rows, 1:] = recent[rows, :-1]
    recent[rows, 0] = newest


def _start_ns(slots: Moments) -> Moments:
    return slots * SLOT_NS + FIRST_BOUNDARY_NS


def _oldest_ns(slots: Moments, part: Mask) -> Moments:
    """Give where the oldest of a part of the recent slots begins."""
    oldest = part.shape[1] - 1 - np.argmax(part[:, ::-1], axis=1)
    return _start_ns(slots[np.arange(len(slots)), oldest])
