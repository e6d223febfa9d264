"""Objectives on intervals, in the terms of RFC 9544, Precision Availability Metrics.

A period is cut into intervals of one length. Each is violation-free, violated
or severely violated, by what its metrics were in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Moments = NDArray[np.int64]


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

    def __post_init__(self) -> None:
        if not self.metric:
            raise ValueError("metric: expected a name, got none")
        if not math.isfinite(self.optimal):
            raise ValueError(f"optimal: expected a number, got {self.optimal}")
        if not math.isfinite(self.critical) or self.critical == self.optimal:
            raise ValueError(
                f"critical: expected a number other than optimal, {self.optimal:g}, got {self.critical}"
            )


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
        return self._ratio(self.violated + self.severely_violated)

    @property
    def severely_violated_ratio(self) -> NDArray[np.float64]:
        """RFC 9544's SVIR, 0 to 1: severely violated ones of those with a value; NaN for none."""
        return self._ratio(self.severely_violated)

    def _ratio(self, part: Moments) -> NDArray[np.float64]:
        whole = self.met + self.violated + self.severely_violated
        ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
        return ratio


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
    severity = np.stack(
        [_severity(one, objective) for one, objective in zip(values, objectives, strict=True)]
    )
    return _counted(severity), _counted(severity.max(axis=0))


_UNKNOWN, _MET, _VIOLATED, _SEVERELY_VIOLATED = range(-1, 3)


def _severity(values: NDArray[np.floating], objective: Objective) -> NDArray[np.int8]:
    worse = 1 if objective.critical > objective.optimal else -1
    level = (worse * values > worse * objective.optimal).astype(np.int8)
    level += worse * values > worse * objective.critical
    level[np.isnan(values)] = _UNKNOWN
    return level


def _counted(severity: NDArray[np.int8]) -> Intervals:
    met, violated, severe, unknown = (
        np.sum(severity == level, axis=-1) for level in (_MET, _VIOLATED, _SEVERELY_VIOLATED, _UNKNOWN)
    )
    return Intervals(met, violated, severe, unknown)
