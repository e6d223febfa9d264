"""Availability against an SLA, to the nanosecond.

Time is in integer nanoseconds since 1970-01-01 UTC and in half-open ranges.
Each moment of a device is up, down or unknown. `runs` finds these from samples,
in as many parts as one likes; `assess` holds them against an SLA.

What a sample says holds until the next one. Where that is more than max_gap
away, it holds for as long as the one before it did, or not at all where that
was more than max_gap too; from then on the state is unknown. At a steady
interval of reports, silence thus begins when the first missing report was due.

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

from spacelink_server.scoring.samples import SECOND_NS, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Moments = NDArray[np.int64]

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
class Objective:
    """What a metric has to be in each interval, in the terms of RFC 9544.

    An interval is violated where the metric is worse than optimal, and severely
    violated where it is worse than critical. Which way is worse follows from
    the two: a latency's critical is above its optimal, a score's below.

    Attributes:
        metric: its name, unit included, such as latency_p95_ms, packet_loss_percent or qoo.
        optimal: the threshold of a violation.
        critical: the threshold of a severe violation; another number than optimal.

    Raises:
        ValueError: names the field and what would be right.
    """

    metric: str
    optimal: float
    critical: float


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

    @property
    def lookaround_ns(self) -> int:
        """How far beyond a period runs have to reach, on both sides, for all outages at its edges to show."""
        return self.min_outage_ns


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Half-open stretches of time of devices, n of them.

    Attributes:
        device: int64 of shape (n,).
        start_ns: int64 of shape (n,).
        end_ns: int64 of shape (n,), above start_ns.
    """

    device: Moments
    start_ns: Moments
    end_ns: Moments

    def __len__(self) -> int:
        return len(self.device)

    @classmethod
    def for_all(cls, devices: int, windows: Sequence[tuple[int, int]]) -> Spans:
        """Give each device the same windows, (start_ns, end_ns) each; they may overlap."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """When devices were up and down; the rest of the time is unknown.

    Attributes:
        devices: how many there are, numbered from 0; some may have no span.
        start_ns: where the time that was looked at begins.
        end_ns: where it ends; not in the future.
        up: within that time, by device, then by time; neither overlapping nor touching.
        down: likewise.
    """

    devices: int
    start_ns: int
    end_ns: int
    up: Spans
    down: Spans


def samples_needed(start_ns: int, end_ns: int, max_gap_ns: int) -> tuple[int, int]:
    """Give the range whose samples decide about a range's runs."""
    return start_ns - 2 * max_gap_ns, end_ns + max_gap_ns


def runs(samples: Samples, devices: int, start_ns: int, end_ns: int, max_gap_ns: int) -> Runs:
    """Find when devices were up and down.

    Args:
        samples: all of those within samples_needed, in any order; others do no harm.
        devices: how many there are.
        start_ns: the runs' beginning.
        end_ns: their end; not in the future.
        max_gap_ns: see Sla.
    """
    raise NotImplementedError


def joined(parts: Sequence[Runs]) -> Runs:
    """Join runs of adjoining ranges; the result is that of one range at once.

    Args:
        parts: at least one, in the order of time, of the same devices.

    Raises:
        ValueError: the ranges do not adjoin, or the numbers of devices differ.
    """
    raise NotImplementedError


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
    raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Intervals that met an objective and that did not. Arrays are int64 of one shape.

    Attributes:
        met: within the optimal threshold (VFI in RFC 9544).
        violated: beyond the optimal threshold, not the critical one (VI).
        severely_violated: beyond the critical one (SVI).
        unknown: without a value; in no ratio.
    """

    met: Moments
    violated: Moments
    severely_violated: Moments
    unknown: Moments

    @property
    def violated_ratio(self) -> NDArray[np.float64]:
        """RFC 9544's VIR, 0 to 1: violated ones, severely too, of those with a value; NaN for none."""
        raise NotImplementedError

    @property
    def severely_violated_ratio(self) -> NDArray[np.float64]:
        """RFC 9544's SVIR, 0 to 1: severely violated ones of those with a value; NaN for none."""
        raise NotImplementedError


def intervals(values: NDArray[np.floating], objectives: Sequence[Objective]) -> tuple[Intervals, Intervals]:
    """Count intervals that met their objectives.

    Args:
        values: shape (objectives, devices, intervals), each objective's metric
            in each interval; NaN is unknown, and stands for intervals that are
            excluded or in an outage too.
        objectives: at least one.

    Returns:
        By objective and device, shape (objectives, devices); and over all
        objectives, shape (devices,), where an interval is as bad as its worst
        metric and unknown where no metric has a value.
    """
    raise NotImplementedError
