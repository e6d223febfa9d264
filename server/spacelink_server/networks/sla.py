"""Whether the devices of a network kept its SLA: availability, outages, objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.v1 import network_pb2 as pb
from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.networks.measures import Measures, measure, nothing, samples_of
from spacelink_server.scoring import availability, objectives, runs
from spacelink_server.scoring.runs import Spans
from spacelink_server.scoring.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.networks.catalog import Subject
    from spacelink_server.networks.history import History
    from spacelink_server.scoring.availability import Availability
    from spacelink_server.scoring.objectives import Intervals
    from spacelink_server.scoring.runs import Runs

# Telemetry is looked at a day at a time, so that a year takes no more memory.
_DAY = 86_400 * 1_000_000_000


class Outage(NamedTuple):
    """A time in which a device was down.

    Attributes:
        start: when it began, in nanoseconds since 1970 UTC; within the range.
        end: when it ended, likewise.
        counted_ns: the part of it outside of maintenance.
        cause: a spacelink.v1.OutageCause.
        began_before: whether it began before the range.
        goes_on: whether it went on at the range's end.
    """

    start: int
    end: int
    counted_ns: int
    cause: pb.OutageCause.ValueType
    began_before: bool
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """How many intervals met an objective, or all of them, and how many did not."""

    met: int
    violated: int
    severely_violated: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.met + other.met,
            self.violated + other.violated,
            self.severely_violated + other.severely_violated,
        )


@dataclass(frozen=True, slots=True)
class DeviceSla:
    """Whether a device kept its SLA. Lengths are in nanoseconds.

    Attributes:
        device_id: the device.
        percent: its availability; None where none of the range counts.
        outage_ns: time in outages, as far as it counts.
        dip_ns: time in outages too short to count.
        unknown_ns: time without telemetry, outside of maintenance.
        maintenance_ns: time in maintenance windows.
        excluded_ns: time that does not count.
        budget_ns: how much outage the target allows for in the whole range, the
            part that lies in the future included.
        outages: in time order.
        dip_count: how many outages were too short to count.
        objectives: by objective.
        all_objectives: of all objectives together; None where there is none.
    """

    device_id: str
    percent: float | None
    outage_ns: int
    dip_ns: int
    unknown_ns: int
    maintenance_ns: int
    excluded_ns: int
    budget_ns: int
    outages: tuple[Outage, ...]
    dip_count: int
    objectives: tuple[Tally, ...]
    all_objectives: Tally | None

    @property
    def is_compliant(self) -> bool:
        """Whether the outages stayed within the budget."""
        return self.outage_ns <= self.budget_ns


@dataclass(frozen=True, slots=True)
class SlaReport:
    """Whether the devices of a network kept its SLA.

    Attributes:
        subject: the network.
        start: the range's start in nanoseconds since 1970 UTC.
        end: its end, exclusive; perhaps in the future.
        until: up to when telemetry was looked at.
        devices: the worst first: by availability, those without one at the end.
        pooled_percent: the availability of all devices' time together; None where
            none of it counts.
    """

    subject: Subject
    start: int
    end: int
    until: int
    devices: tuple[DeviceSla, ...]
    pooled_percent: float | None


async def sla(
    history: History, tenant_id: str, subject: Subject, period: tuple[int, int], now: int
) -> SlaReport:
    """Hold devices against their SLA.

    Args:
        history: the telemetry.
        tenant_id: the tenant.
        subject: the network.
        period: (start, end) in nanoseconds since 1970 UTC; start is before now.
        now: what is later is not known yet.
    """
    start, end = period
    assessor = _Assessor(history, tenant_id, subject, start, end, now)
    parts = await history.for_each(subject.device_ids, assessor.assess)
    found = [device for part in parts for device in part]
    found.sort(key=lambda device: (device.percent is None, device.percent, device.device_id))
    counted = sum(assessor.until - start - device.excluded_ns for device in found)
    lost = sum(device.outage_ns for device in found)
    pooled = 100 * (1 - lost / counted) if counted else None
    return SlaReport(subject, start, end, assessor.until, tuple(found), pooled)


class _Assessor:
    """Holds some devices at a time against an SLA; its methods block."""

    def __init__(
        self, history: History, tenant_id: str, subject: Subject, start: int, end: int, now: int
    ) -> None:
        self._history = history
        self._tenant_id = tenant_id
        self._profile = subject.profile
        self._terms = subject.terms
        self._start = start
        self._end = end
        self.until = min(end, now)
        # Outages at the edges are judged by their whole length.
        around = self._terms.sla.lookaround_ns
        self._first = start - around
        self._last = min(self.until + around, now)
        self._grid = _Grid.of(self._terms.interval_ns, start, self.until)
        wanted = {*self._profile.percentiles, *self._terms.percentiles}
        self._percentiles = tuple(sorted(wanted))

    def assess(self, device_ids: Sequence[str]) -> list[DeviceSla]:
        """Assess devices."""
        looks = [self._look(device_id) for device_id in device_ids]
        return [self._device(device_id, look) for device_id, look in zip(device_ids, looks, strict=True)]

    def _look(self, device_id: str) -> _Look:
        look = _Look([], [], [])
        for start, end in _days(self._first, self._last):
            columns = self._history.columns(
                self._tenant_id, device_id, *runs.samples_needed(start, end, self._terms.sla.max_gap_ns)
            )
            samples = (
                Samples.of_device(0, np.empty(0, np.int64)) if columns is None else samples_of(0, columns)
            )
            look.runs.append(runs.runs(samples, 1, start, end, self._terms.sla.max_gap_ns))
            is_offline = samples.status == DeviceStatus.DEVICE_STATUS_OFFLINE
            look.offline.append(samples.time_unix_nano[is_offline])
            if self._terms.sla.objectives:
                look.measures.append(self._intervals(columns, start, end))
        return look

    def _intervals(self, columns: TelemetryColumns | None, start: int, end: int) -> Measures:
        """Measure the intervals that begin in a part of the range."""
        first, last = self._grid.rows(start, end)
        if columns is None:
            return nothing(last - first, self._percentiles)
        rows = self._grid.row_of(columns.time_unix_nano)
        inside = (rows >= first) & (rows < last)
        return measure(columns.take(inside), rows[inside] - first, last - first, self._percentiles)

    def _device(self, device_id: str, look: _Look) -> DeviceSla:
        known = runs.joined(look.runs)
        maintenance = Spans.for_all(1, self._terms.maintenance)
        found = availability.assess(known, (self._start, self.until), self._terms.sla, maintenance)
        tallies, together = self._tallies(look, found, maintenance)
        percent = float(found.percent[0])
        return DeviceSla(
            device_id=device_id,
            percent=None if np.isnan(percent) else percent,
            outage_ns=int(found.outage_ns[0]),
            dip_ns=int(found.dip_ns[0]),
            unknown_ns=int(found.unknown_ns[0]),
            maintenance_ns=int(found.maintenance_ns[0]),
            excluded_ns=int(found.excluded_ns[0]),
            budget_ns=int(found.budget_ns[0]) + self._future_budget(maintenance),
            outages=tuple(self._outages(found, known, look)),
            dip_count=len(found.dips.spans),
            objectives=tallies,
            all_objectives=together,
        )

    def _future_budget(self, maintenance: Spans) -> int:
        """Tell how much outage is allowed for in the part of the range that is still to come."""
        if self.until == self._end:
            return 0
        rest = Spans.for_all(1, [(self.until, self._end)])
        counted = self._end - self.until - int(rest.overlap_ns(maintenance)[0])
        return round(counted * self._terms.sla.allowed_share)

    def _outages(self, found: Availability, known: Runs, look: _Look) -> Iterator[Outage]:
        offline = np.concatenate(look.offline)
        spans = found.outages.spans
        for row in range(len(spans)):
            start, end = int(spans.start_ns[row]), int(spans.end_ns[row])
            yield Outage(
                start=max(start, self._start),
                end=min(end, self.until),
                counted_ns=int(found.outages.charged_ns[row]),
                cause=_cause(start, end, offline, known.down),
                began_before=start < self._start,
                # What still holds now is not over yet.
                goes_on=end > self.until or (end == self.until == self._last),
            )

    def _tallies(
        self, look: _Look, found: Availability, maintenance: Spans
    ) -> tuple[tuple[Tally, ...], Tally | None]:
        if not self._terms.sla.objectives:
            return (), None
        measures = Measures.join(look.measures)
        values = np.stack([self._values(each, measures) for each in self._terms.message.objectives])
        values[:, self._grid.touched(found.outages.spans) | self._grid.touched(maintenance)] = np.nan
        each, together = objectives.intervals(values[:, None, :], self._terms.sla.objectives)
        tallies = tuple(_tally(each, (row, 0)) for row in range(len(values)))
        return tallies, _tally(together, (0,))

    def _values(self, objective: pb.Objective, measures: Measures) -> NDArray[np.float64]:
        """Give what an objective is about, in each interval."""
        if objective.metric == pb.OBJECTIVE_METRIC_PACKET_LOSS_PERCENT:
            return measures.loss_percent
        if objective.metric == pb.OBJECTIVE_METRIC_LATENCY_MS:
            return measures.latency_percentiles_ms[:, self._percentiles.index(objective.percentile)]
        return measures.select(self._percentiles, self._profile.percentiles).scores(self._profile).qoo


class _Look(NamedTuple):
    """What is seen of a device, by day.

    Attributes:
        runs: when it was up and down.
        offline: times of samples with status OFFLINE.
        measures: of the intervals.
    """

    runs: list[Runs]
    offline: list[NDArray[np.int64]]
    measures: list[Measures]


class _Grid(NamedTuple):
    """The whole intervals of a range, aligned to midnight.

    Attributes:
        length: of each.
        start: where the first begins.
        size: how many there are.
    """

    length: int
    start: int
    size: int

    @classmethod
    def of(cls, length: int, start: int, end: int) -> _Grid:
        """Give the intervals that lie wholly in [start, end)."""
        first = -(-start // length) * length
        return cls(length, first, max((end - first) // length, 0))

    def rows(self, start: int, end: int) -> tuple[int, int]:
        """Give the intervals, first and behind the last, that begin in [start, end)."""
        first, last = (
            min(max(-(-(time - self.start) // self.length), 0), self.size) for time in (start, end)
        )
        return first, last

    def row_of(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the interval of each time; those outside have none of 0 to size - 1."""
        return (times - self.start) // self.length

    def touched(self, spans: Spans) -> NDArray[np.bool_]:
        """Tell which intervals have a moment in common with spans."""
        steps = np.zeros(self.size + 1, np.int64)
        first = np.clip(self.row_of(spans.start_ns), 0, self.size)
        last = np.clip(self.row_of(spans.end_ns - 1) + 1, 0, self.size)
        np.add.at(steps, first, 1)
        np.add.at(steps, last, -1)
        return np.cumsum(steps)[: self.size] > 0


def _days(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        following = min((start // _DAY + 1) * _DAY, end)
        yield start, following
        start = following


def _cause(start: int, end: int, offline: NDArray[np.int64], down: Spans) -> pb.OutageCause.ValueType:
    first, last = np.searchsorted(offline, [start, end])
    if last > first:
        return pb.OUTAGE_CAUSE_OFFLINE
    # Time without telemetry that counts as down has no cause that is known.
    is_seen = ((down.start_ns < end) & (down.end_ns > start)).any()
    return pb.OUTAGE_CAUSE_TOTAL_LOSS if is_seen else pb.OUTAGE_CAUSE_UNSPECIFIED


def _tally(found: Intervals, row: tuple[int, ...]) -> Tally:
    return Tally(int(found.met[row]), int(found.violated[row]), int(found.severely_violated[row]))
