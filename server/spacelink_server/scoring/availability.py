"""Availability against an SLA, to the nanosecond.

Time is in integer nanoseconds since 1970-01-01 UTC and in half-open ranges.
Each moment of a device is up, down or unknown. `runs` finds these from samples,
in as many parts as one likes; `assess` holds them against an SLA.

A stretch of down is an outage if it lasts min_outage or longer, counted over
its whole length, also beyond the period and within maintenance; shorter ones
are dips. An outage is charged with the part of it that lies within the period
and outside of maintenance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from spacelink_server.scoring.objectives import Objective
from spacelink_server.scoring.runs import Spans
from spacelink_server.scoring.samples import SECOND_NS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spacelink_server.scoring.runs import Runs

    Moments = NDArray[np.int64]

__all__ = [
    "DEFAULT_MAX_GAP_NS",
    "DEFAULT_MIN_OUTAGE_NS",
    "Availability",
    "Objective",
    "Outages",
    "Sla",
    "UnknownTime",
    "assess",
]

DEFAULT_MIN_OUTAGE_NS = 60 * SECOND_NS
# Three reports of the slowest collector: a lost one or two are no silence.
DEFAULT_MAX_GAP_NS = 30 * SECOND_NS


class UnknownTime(StrEnum):
    """How time without telemetry counts.

    UP: as though the device had been up. DOWN: as though it had been OFFLINE, so
    that it joins with the down time around it, and min_outage holds for it.
    EXCLUDED: it is taken out of the period, like maintenance.
    """

    UP = "up"
    DOWN = "down"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Sla:
    """What was agreed on.

    Attributes:
        target_percent: of availability, above 0, at most 100.
        min_outage_ns: the shortest stretch of down that is an outage, above 0.
        max_gap_ns: how far apart samples may be without the time between them
            being unknown, above 0.
        unknown: how time without telemetry counts.
        objectives: on intervals; no metric twice.

    Raises:
        ValueError: names the field and what would be right.
    """

    target_percent: float
    min_outage_ns: int = DEFAULT_MIN_OUTAGE_NS
    max_gap_ns: int = DEFAULT_MAX_GAP_NS
    unknown: UnknownTime = UnknownTime.EXCLUDED
    objectives: tuple[Objective, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.target_percent <= 100:
            raise ValueError(f"target_percent: expected above 0 and at most 100, got {self.target_percent}")
        if self.min_outage_ns <= 0:
            raise ValueError(f"min_outage_ns: expected above 0, got {self.min_outage_ns}")
        if self.max_gap_ns <= 0:
            raise ValueError(f"max_gap_ns: expected above 0, got {self.max_gap_ns}")
        metrics = [objective.metric for objective in self.objectives]
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"objectives: expected each metric once, got {', '.join(metrics)}")

    @property
    def lookaround_ns(self) -> int:
        """How far beyond a period runs have to reach, on both sides, for all outages at its edges to show."""
        return self.min_outage_ns

    @property
    def allowed_share(self) -> float:
        """The share of the time, 0 to 1, that may be outage."""
        # Binary floats: 100 - 99.9 is 0.0999999999999943.
        return round(100 - self.target_percent, 10) / 100


@dataclass(frozen=True, slots=True, eq=False)
class Outages:
    """Outages, or dips, by device, then by time.

    Attributes:
        spans: whole, as far as the runs reach; also beyond the period.
        charged_ns: int64 of shape (n,), the part within the period and outside
            of maintenance.
    """

    spans: Spans
    charged_ns: Moments


@dataclass(frozen=True, slots=True, eq=False)
class Availability:
    """Availability of devices over a period. Arrays are of shape (devices,), times int64.

    Attributes:
        period_ns: the period's length.
        maintenance_ns: time in maintenance windows.
        unknown_ns: time without telemetry, outside of maintenance; however it counts.
        excluded_ns: maintenance, and unknown time where that is excluded.
        outage_ns: what outages are charged with, in sum.
        dip_ns: what dips come to; they are not held against the target.
        percent: float64, 100 * (period - excluded - outage) / (period - excluded);
            NaN where all of the period is excluded.
        budget_ns: how much outage the target allows for, of the time not excluded.
        outages: every outage of which a part lies within the period.
        dips: likewise.
    """

    period_ns: int
    maintenance_ns: Moments
    unknown_ns: Moments
    excluded_ns: Moments
    outage_ns: Moments
    dip_ns: Moments
    percent: NDArray[np.float64]
    budget_ns: Moments
    outages: Outages
    dips: Outages

    @property
    def left_ns(self) -> Moments:
        """What is left of the budget; negative where it was overdrawn."""
        return self.budget_ns - self.outage_ns

    @property
    def is_compliant(self) -> NDArray[np.bool_]:
        """Whether the target was met; so it was where all of the period is excluded."""
        return self.left_ns >= 0


def assess(known: Runs, period: tuple[int, int], sla: Sla, maintenance: Spans) -> Availability:
    """Hold devices' runs against an SLA.

    Args:
        known: the runs. They reach sla.lookaround_ns beyond the period on both
            sides, or up to now.
        period: (start_ns, end_ns), within the runs' range.
        sla: what was agreed on.
        maintenance: windows of each device; they may overlap.

    Raises:
        ValueError: the period is empty or not within the runs' range.
    """
    start_ns, end_ns = period
    if not known.start_ns <= start_ns < end_ns <= known.end_ns:
        raise ValueError(
            f"period: expected a range within {known.start_ns} to {known.end_ns}, got {start_ns} to {end_ns}"
        )
    down = known.down
    if sla.unknown is UnknownTime.DOWN:
        down = known.up.between(known.devices, known.start_ns, known.end_ns)
    is_outage = down.length_ns >= sla.min_outage_ns
    outages = _charged(down.take(is_outage), period, maintenance)
    dips = _charged(down.take(~is_outage), period, maintenance)
    in_maintenance = Spans.for_all(known.devices, [period]).overlap_ns(maintenance)
    seen = sum(
        _per_device(_charged(spans, period, maintenance), known.devices) for spans in (known.up, known.down)
    )
    unknown = end_ns - start_ns - in_maintenance - seen
    excluded = in_maintenance + (unknown if sla.unknown is UnknownTime.EXCLUDED else 0)
    counted = end_ns - start_ns - excluded
    lost = _per_device(outages, known.devices)
    share_lost = np.divide(lost, counted, out=np.full(known.devices, np.nan), where=counted > 0)
    return Availability(
        period_ns=end_ns - start_ns,
        maintenance_ns=in_maintenance,
        unknown_ns=unknown,
        excluded_ns=excluded,
        outage_ns=lost,
        dip_ns=_per_device(dips, known.devices),
        percent=100 * (1 - share_lost),
        budget_ns=np.rint(counted * sla.allowed_share).astype(np.int64),
        outages=outages,
        dips=dips,
    )


def _charged(spans: Spans, period: tuple[int, int], maintenance: Spans) -> Outages:
    """Keep what has a part within the period, and tell how much of that is outside of maintenance."""
    clipped = spans.clipped(*period)
    is_within = clipped.length_ns > 0
    inside = clipped.take(is_within)
    return Outages(spans.take(is_within), inside.length_ns - inside.overlap_ns(maintenance))


def _per_device(found: Outages, devices: int) -> Moments:
    total = np.zeros(devices, np.int64)
    np.add.at(total, found.spans.device, found.charged_ns)
    return total
