"""Whether the devices of a network kept its SLA: availability, outages, objectives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.v1 import network_pb2 as pb
from spacelink_server.networks.history import days
from spacelink_server.networks.measures import MEASURED, Measures, measure, nothing
from spacelink_server.networks.seen import Question, Seen, look
from spacelink_server.scoring import availability, objectives
from spacelink_server.scoring.runs import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.networks.catalog import Subject
    from spacelink_server.networks.history import History
    from spacelink_server.scoring.availability import Availability, Outages
    from spacelink_server.scoring.objectives import Intervals
    from spacelink_server.scoring.runs import Runs

# Of rollups a query costs as much as some hundred rows; of samples a device at a
# time is enough.
_DEVICES_AT_ONCE = 250
_SAMPLED_AT_ONCE = 16


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
    parts = await history.for_each(subject.device_ids, assessor.assess, assessor.devices_at_once)
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
        self._now = now
        self._grid = _Grid.of(self._terms.interval_ns, start, self.until)
        wanted = {*self._profile.percentiles, *self._terms.percentiles}
        self._percentiles = tuple(sorted(wanted))

    @property
    def devices_at_once(self) -> int:
        """How many devices are best assessed together."""
        return _SAMPLED_AT_ONCE if self._terms.sla.objectives else _DEVICES_AT_ONCE

    def assess(self, device_ids: Sequence[str]) -> list[DeviceSla]:
        """Assess devices."""
        gap = self._terms.sla.max_gap_ns
        question = Question(self._tenant_id, device_ids, self._first, self._last, gap, self._now)
        measures: list[Measures] = []
        if self._terms.sla.objectives:
            seen, measures = self._look(question)
        else:
            seen = look(self._history, question)
        known = seen.runs()
        found = availability.assess(
            known, (self._start, self.until), self._terms.sla, self._maintenance(len(device_ids))
        )
        results = [
            self._device(device_id, device, found, tuple(self._outages(device, found, known, seen)))
            for device, device_id in enumerate(device_ids)
        ]
        if not measures:
            return results
        return [self._with_objectives(*each) for each in zip(results, measures, strict=True)]

    def _look(self, question: Question) -> tuple[Seen, list[Measures]]:
        """Read all samples, of which objectives take the measure."""
        seen = Seen(question)
        found = []
        for device, device_id in enumerate(question.device_ids):
            parts = []
            for start, end in days(*question.samples):
                columns = self._history.columns(self._tenant_id, device_id, start, end, MEASURED)
                if columns is not None:
                    seen.add_samples(device, columns)
                parts.append(self._intervals(columns, start, end))
            found.append(Measures.join(parts))
        return seen, found

    def _intervals(self, columns: TelemetryColumns | None, start: int, end: int) -> Measures:
        """Measure the intervals that begin in a part of the range."""
        first, last = self._grid.rows(start, end)
        if columns is None:
            return nothing(last - first, self._percentiles)
        rows = self._grid.row_of(columns.time_unix_nano)
        inside = (rows >= first) & (rows < last)
        return measure(columns.take(inside), rows[inside] - first, last - first, self._percentiles)

    def _device(
        self, device_id: str, device: int, found: Availability, outages: tuple[Outage, ...]
    ) -> DeviceSla:
        percent = float(found.percent[device])
        return DeviceSla(
            device_id=device_id,
            percent=None if np.isnan(percent) else percent,
            outage_ns=int(found.outage_ns[device]),
            dip_ns=int(found.dip_ns[device]),
            unknown_ns=int(found.unknown_ns[device]),
            maintenance_ns=int(found.maintenance_ns[device]),
            excluded_ns=int(found.excluded_ns[device]),
            budget_ns=int(found.budget_ns[device]) + self._future_budget,
            outages=outages,
            dip_count=len(_rows_of(device, found.dips)),
            objectives=(),
            all_objectives=None,
        )

    def _maintenance(self, devices: int) -> Spans:
        return Spans.for_all(devices, self._terms.maintenance)

    @cached_property
    def _future_budget(self) -> int:
        """Tell how much outage is allowed for in the part of the range that is still to come."""
        if self.until == self._end:
            return 0
        rest = Spans.for_all(1, [(self.until, self._end)])
        counted = self._end - self.until - int(rest.overlap_ns(self._maintenance(1))[0])
        return round(counted * self._terms.sla.allowed_share)

    def _outages(self, device: int, found: Availability, known: Runs, seen: Seen) -> Iterator[Outage]:
        spans = found.outages.spans
        for row in _rows_of(device, found.outages):
            start, end = int(spans.start_ns[row]), int(spans.end_ns[row])
            yield Outage(
                start=max(start, self._start),
                end=min(end, self.until),
                counted_ns=int(found.outages.charged_ns[row]),
                cause=_cause(start, end, seen.offline(device), known.down.take(known.down.device == device)),
                began_before=start < self._start,
                # What still holds now is not over yet.
                goes_on=end > self.until or (end == self.until == self._last),
            )

    def _with_objectives(self, device: DeviceSla, measures: Measures) -> DeviceSla:
        values = np.stack([self._values(each, measures) for each in self._terms.message.objectives])
        outages = Spans.for_all(1, [(outage.start, outage.end) for outage in device.outages])
        values[:, self._grid.touched(outages) | self._grid.touched(self._maintenance(1))] = np.nan
        each, together = objectives.intervals(values[:, None, :], self._terms.sla.objectives)
        tallies = tuple(_tally(each, (row, 0)) for row in range(len(values)))
        return replace(device, objectives=tallies, all_objectives=_tally(together, (0,)))

    def _values(self, objective: pb.Objective, measures: Measures) -> NDArray[np.float64]:
        """Give what an objective is about, in each interval."""
        if objective.metric == pb.OBJECTIVE_METRIC_PACKET_LOSS_PERCENT:
            return measures.loss_percent
        if objective.metric == pb.OBJECTIVE_METRIC_LATENCY_MS:
            return measures.latency_percentiles_ms[:, self._percentiles.index(objective.percentile)]
        return measures.select(self._percentiles, self._profile.percentiles).scores(self._profile).qoo


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


def _rows_of(device: int, found: Outages) -> range:
    first, last = np.searchsorted(found.spans.device, [device, device + 1]).tolist()
    return range(first, last)


def _cause(start: int, end: int, offline: NDArray[np.int64], down: Spans) -> pb.OutageCause.ValueType:
    first, last = np.searchsorted(offline, [start, end])
    if last > first:
        return pb.OUTAGE_CAUSE_OFFLINE
    # Time without telemetry that counts as down has no cause that is known.
    is_seen = ((down.start_ns < end) & (down.end_ns > start)).any()
    return pb.OUTAGE_CAUSE_TOTAL_LOSS if is_seen else pb.OUTAGE_CAUSE_UNSPECIFIED


def _tally(found: Intervals, row: tuple[int, ...]) -> Tally:
    return Tally(int(found.met[row]), int(found.violated[row]), int(found.severely_violated[row]))
