"""`bench detection`: degradation put into recordings at known times, and what the detector finds of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.recording import Recording
from spacelink_server.scoring.degradation import SLOT_NS, Detector
from spacelink_server.scoring.detector_state import DetectorState
from spacelink_server.scoring.incidents import Cause, Events
from spacelink_server.scoring.samples import SECOND_NS, Samples

TIMES = 20
# What counts as found, and as closed, after the beginning and the end.
FOUND_WITHIN_S = 60
CLOSED_WITHIN_S = 120
# The baseline has to be there before anything can stand out from it.
_WARM_UP_S = 1800
# The times go through a slot in steps of this, so that each phase of it has one.
_PHASE_STEP_NS = SLOT_NS // TIMES

Moments = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is put into a recording.

    Attributes:
        name: for the reader.
        seconds: how long it lasts.
        cause: what the incident has to be about.
        apply: makes the samples of the time it lasts.
    """

    name: str
    seconds: int
    cause: Cause
    apply: Callable[[Samples, Mask], Samples]


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as a user would see it, in ns.

    Attributes:
        cause: what it is about.
        value: what opened it.
        opened_ns: the time of the sample that gave it away.
        closed_ns: likewise of that which closed it; infinite where none did.
    """

    cause: Cause
    value: float
    opened_ns: float
    closed_ns: float


@dataclass(frozen=True, slots=True)
class Found:
    """What the detector made of a recording with faults.

    Attributes:
        recording: the file's name.
        fault: what was put in.
        injected: how often.
        delays_s: from the beginning of each fault that was found to its incident.
        closings_s: from the end of each fault that was found to that of its incident.
        false: incidents that no fault explains.
    """

    recording: str
    fault: str
    injected: int
    delays_s: tuple[float, ...]
    closings_s: tuple[float, ...]
    false: tuple[Incident, ...]

    @property
    def in_time(self) -> int:
        """How many were found within FOUND_WITHIN_S."""
        return sum(delay <= FOUND_WITHIN_S for delay in self.delays_s)

    @property
    def closed(self) -> int:
        """How many were closed soon after they were over, and not before."""
        return sum(0 < closing <= CLOSED_WITHIN_S for closing in self.closings_s)

    @property
    def recall(self) -> float:
        """The share of faults that were found in time."""
        return self.in_time / self.injected

    @property
    def precision(self) -> float:
        """The share of incidents that were faults; NaN where there was none."""
        total = len(self.delays_s) + len(self.false)
        return len(self.delays_s) / total if total else float("nan")


def _outage(samples: Samples, is_within: Mask) -> Samples:
    return replace(
        samples,
        latency_ms=np.where(is_within, np.float32(np.nan), samples.latency_ms),
        packet_loss_percent=np.where(is_within, np.float32(100), samples.packet_loss_percent),
    )


def _step(samples: Samples, is_within: Mask) -> Samples:
    later = samples.latency_ms + np.float32(60)
    return replace(samples, latency_ms=np.where(is_within, later, samples.latency_ms))


def _loss(samples: Samples, is_within: Mask) -> Samples:
    more = 100 - (100 - samples.packet_loss_percent) * np.float32(0.97)
    return replace(samples, packet_loss_percent=np.where(is_within, more, samples.packet_loss_percent))


FAULTS = (
    Fault("outage of 30 s", 30, Cause.LOSS, _outage),
    Fault("+60 ms for 5 min", 300, Cause.LATENCY, _step),
    Fault("3 % loss for 2 min", 120, Cause.LOSS, _loss),
)


def run(recording: Recording) -> tuple[list[Incident], list[Found]]:
    """Find the incidents of a recording as it is, then with each fault at TIMES times.

    Raises:
        ValueError: it is too short.
    """
    samples = recording.samples
    starts = _known_times(int(samples.time_unix_nano[0]), int(samples.time_unix_nano[-1]))
    # Each is a device, so that one pass is enough.
    variants = [samples, *(_with(samples, fault, starts) for fault in FAULTS)]
    together = Samples.concatenate(
        [replace(one, device=np.full(len(one), device)) for device, one in enumerate(variants)]
    )
    events = Detector(DetectorState.empty(len(variants))).feed(together, int(samples.time_unix_nano[-1]))
    as_it_is, *incidents = (_incidents(events, device, samples) for device in range(len(variants)))
    found = [
        _compared(recording.name, fault, starts, those)
        for fault, those in zip(FAULTS, incidents, strict=True)
    ]
    return as_it_is, found


def _known_times(first_ns: int, last_ns: int) -> Moments:
    """Spread TIMES times over a recording, at all phases of a slot."""
    begin_ns = first_ns + _WARM_UP_S * SECOND_NS
    spacing = (last_ns - begin_ns) // TIMES // SLOT_NS * SLOT_NS
    longest = max(fault.seconds for fault in FAULTS) + CLOSED_WITHIN_S
    if spacing < longest * SECOND_NS:
        hours = (_WARM_UP_S + TIMES * (longest + SLOT_NS // SECOND_NS)) / 3600
        raise ValueError(f"expected a recording of {hours:.1f} h at least")
    times: Moments = begin_ns + np.arange(TIMES) * (spacing + _PHASE_STEP_NS)
    return times


def _with(samples: Samples, fault: Fault, starts: Moments) -> Samples:
    since = np.searchsorted(starts, samples.time_unix_nano, side="right") - 1
    is_within = (since >= 0) & (samples.time_unix_nano - starts[since] < fault.seconds * SECOND_NS)
    return fault.apply(samples, is_within)


def _incidents(events: Events, device: int, samples: Samples) -> list[Incident]:
    after = np.searchsorted(samples.time_unix_nano, events.time_ns)
    noticed = samples.time_unix_nano[np.minimum(after, len(samples) - 1)].tolist()
    mine = np.flatnonzero(events.device == device).tolist()
    closed = {
        (events.cause[row], events.since_ns[row]): noticed[row] for row in mine if not events.is_open[row]
    }
    return [
        Incident(
            Cause(events.cause[row]),
            float(events.value[row]),
            noticed[row],
            closed.get((events.cause[row], events.since_ns[row]), float("inf")),
        )
        for row in mine
        if events.is_open[row]
    ]


def _compared(name: str, fault: Fault, starts: Moments, incidents: list[Incident]) -> Found:
    delays, closings = [], []
    unexplained = list(incidents)
    for start in starts.tolist():
        end = start + fault.seconds * SECOND_NS
        latest = max(end, start + FOUND_WITHIN_S * SECOND_NS)
        hits = [one for one in incidents if one.cause is fault.cause and start < one.opened_ns <= latest]
        if hits:
            delays.append((hits[0].opened_ns - start) / SECOND_NS)
            closings.append((hits[-1].closed_ns - end) / SECOND_NS)
            unexplained = [one for one in unexplained if one not in hits]
    return Found(name, fault.name, len(starts), tuple(delays), tuple(closings), tuple(unexplained))


def middle_and_latest(seconds: tuple[float, ...]) -> tuple[float, float]:
    """Give the median and the largest; NaN of none."""
    return (median(seconds), max(seconds)) if seconds else (float("nan"), float("nan"))
