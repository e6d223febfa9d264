"""A metric or a score of a network as a series over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink_server.networks.cover import Question
from spacelink_server.networks.history import is_little
from spacelink_server.networks.measures import MEASURED, measure, metric, voice
from spacelink_server.networks.rolled_up import rolled_up
from spacelink_server.networks.rolled_up_values import StepValues, Values
from spacelink_server.scoring.histogram import RELATIVE_ERROR
from spacelink_server.scoring.summary import MetricAccumulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.networks.catalog import Subject
    from spacelink_server.networks.history import History
    from spacelink_server.networks.measures import Measures

_MINUTE = 60 * 1_000_000_000
_HOUR = 60 * _MINUTE
DAY = 24 * _HOUR

# A step is the shortest of these that makes no more points than a wide terminal
# or a plot has room for.
_STEPS = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 6 * _HOUR)
_FEW_POINTS = 300

# A step is longer where it would take more rollups than are read in two seconds.
_MOST_ROLLUPS = 200_000

# The most points of an answer.
MAX_POINTS = 2_000

# How much is read of rollups by one visit to a thread: what fits into some dozen MB.
_ROLLED_UP_AT_ONCE = 250
_VALUED_AT_ONCE = 50
_CELLS_AT_ONCE = 10_000

_MIDDLE_AND_HIGH = np.array([0.5, 0.95])

# What is scored, by the name it is asked for.
QOO = "qoo"
R_FACTOR = "r_factor"


class Point(NamedTuple):
    """What the values of a step come to.

    Attributes:
        start: the step's start in nanoseconds since 1970 UTC.
        value_count: how many values.
        p50: their median.
        p95: their 95th percentile.
        minimum: the smallest.
        maximum: the largest.
        relative_error: the percentiles' largest; 0 where they are exact.
    """

    start: int
    value_count: int
    p50: float
    p95: float
    minimum: float
    maximum: float
    relative_error: float


@dataclass(frozen=True, slots=True)
class Trend:
    """A series.

    Attributes:
        start: the range's start in nanoseconds since 1970 UTC.
        end: its end, exclusive.
        step: the time between points.
        points: for each step with values.
        current: of the whole range; None where there are no values.
        previous: of the equally long range before; likewise.
    """

    start: int
    end: int
    step: int
    points: tuple[Point, ...]
    current: Point | None
    previous: Point | None


def step_for(length: int, devices: int) -> int:
    """Choose a step for a range of a length and so many devices."""
    for step in _STEPS:
        window = _HOUR if step >= _HOUR else _MINUTE
        is_quick = is_little(devices, length) or devices * length <= _MOST_ROLLUPS * window
        if length <= step * _FEW_POINTS and is_quick:
            return step
    return DAY


async def trend(
    history: History, tenant_id: str, subject: Subject, name: str, start: int, end: int, step: int
) -> Trend:
    """Follow a metric or a score over [start, end).

    Args:
        history: the telemetry.
        tenant_id: the tenant.
        subject: the network.
        name: a metric, QOO or R_FACTOR.
        start: in nanoseconds since 1970 UTC, at the start of a step.
        end: exclusive.
        step: the time between points.
    """
    kind = _Sampled if _is_exact(subject, name, end - start) else _RolledUp
    series = kind(history, tenant_id, subject, name)
    before = start - (end - start)
    points, current = await series.points(start, end, step)
    _, previous = await series.points(before, start, start - before)
    return Trend(start, end, step, tuple(points), current, previous)


def _is_exact(subject: Subject, name: str, length: int) -> bool:
    """Tell whether the samples themselves are read: of little time, or where rollups do not have it."""
    # How bursty losses are is not in rollups.
    return name == R_FACTOR or is_little(len(subject.device_ids), length)


class _RolledUp:
    """Makes points of rollups; a score's are of the percentiles that these give."""

    def __init__(self, history: History, tenant_id: str, subject: Subject, name: str) -> None:
        self._history = history
        self._tenant_id = tenant_id
        self._subject = subject
        self._name = name

    async def points(self, start: int, end: int, step: int) -> tuple[list[Point], Point | None]:
        """Give the points of the steps with values, and that of the whole range."""
        if self._name == QOO:
            return await self._scores(start, end, step)

        def gather(device_ids: Sequence[str]) -> Values:
            found = StepValues(Question(self._tenant_id, device_ids, start, end, step), self._name)
            found.add_all(self._history.store)
            return found.values()

        parts = await self._history.for_each(self._subject.device_ids, gather, _VALUED_AT_ONCE)
        if not parts:
            return [], None
        values = Values.add(parts)
        whole = _points_of(values.together(), start, end - start)
        return _points_of(values, start, step), next(iter(whole), None)

    async def _scores(self, start: int, end: int, step: int) -> tuple[list[Point], Point | None]:
        whole = await self._scores_of(start, end, None)
        overall = MetricAccumulator()
        overall.add(whole[:, 0])
        if step >= end - start:
            points = [_point(start, overall)]
        else:
            by_step = await self._scores_of(start, end, step)
            points = []
            for row, scores in enumerate(by_step.T):
                gathered = MetricAccumulator()
                gathered.add(scores)
                points.append(_point(start + row * step, gathered))
        estimated = [point._replace(relative_error=RELATIVE_ERROR) for point in points if point]
        current = _point(start, overall)
        return estimated, current and current._replace(relative_error=RELATIVE_ERROR)

    async def _scores_of(self, start: int, end: int, step: int | None) -> NDArray[np.float32]:
        """Score each device in each step, shape (devices, steps)."""
        profile = self._subject.profile

        def score(device_ids: Sequence[str]) -> NDArray[np.float32]:
            question = Question(self._tenant_id, device_ids, start, end, step)
            measures = rolled_up(self._history.store, question, profile.percentiles)
            return measures.scores(profile).qoo.astype(np.float32).reshape(len(device_ids), -1)

        steps = Question(self._tenant_id, (), start, end, step).steps
        at_once = max(min(_CELLS_AT_ONCE // steps, _ROLLED_UP_AT_ONCE), 1)
        parts = await self._history.for_each(self._subject.device_ids, score, at_once)
        return np.concatenate([np.empty((0, steps), np.float32), *parts])


def _points_of(values: Values, start: int, step: int) -> list[Point]:
    columns = (values.counts, *values.quantiles(_MIDDLE_AND_HIGH).T, values.minima, values.maxima)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Point(start + place * step, count, p50, p95, low, high, RELATIVE_ERROR)
        for place, (count, p50, p95, low, high) in enumerate(rows)
        if count
    ]


class _Sampled:
    """Reads the values of a metric, or makes those of a score."""

    def __init__(self, history: History, tenant_id: str, subject: Subject, name: str) -> None:
        self._history = history
        self._tenant_id = tenant_id
        self._subject = subject
        self._name = name
        self._metrics = MEASURED if name in (QOO, R_FACTOR) else (name,)
        self._score: Callable[[Measures], NDArray[np.float64]] | None = {
            QOO: lambda measures: measures.scores(subject.profile).qoo,
            R_FACTOR: lambda measures: voice(measures).r_factor,
        }.get(name)

    async def points(self, start: int, end: int, step: int) -> tuple[list[Point], Point | None]:
        """Give the points of the steps with values, and that of the whole range."""
        whole = await self._gathered(start, end, end - start)
        by_step = whole if step >= end - start else await self._gathered(start, end, step)
        points = (_point(start + row * step, values) for row, values in enumerate(by_step))
        return [point for point in points if point], _point(start, whole[0])

    async def _gathered(self, start: int, end: int, step: int) -> list[MetricAccumulator]:
        gathered = [MetricAccumulator() for _ in range(-(-(end - start) // step))]

        def compute(device_ids: Sequence[str]) -> None:
            for device_id in device_ids:
                for first, last, columns in self._days(device_id, start, end, step):
                    self._gather(columns, start, step, gathered, (first, last))

        await self._history.for_each(self._subject.device_ids, compute)
        return gathered

    def _days(
        self, device_id: str, start: int, end: int, step: int
    ) -> Iterator[tuple[int, int, TelemetryColumns]]:
        """Read whole steps, about a day of them at a time, where there are any samples."""
        stride = max(DAY // step, 1)
        for first in range(0, -(-(end - start) // step), stride):
            upto = min(start + (first + stride) * step, end)
            columns = self._history.columns(
                self._tenant_id, device_id, start + first * step, upto, self._metrics
            )
            if columns is not None:
                yield first, -(-(upto - start) // step), columns

    def _gather(
        self,
        columns: TelemetryColumns,
        start: int,
        step: int,
        gathered: Sequence[MetricAccumulator],
        steps: tuple[int, int],
    ) -> None:
        first, last = steps
        rows = (columns.time_unix_nano - start) // step - first
        if self._score is None:
            bounds = np.searchsorted(rows, np.arange(last - first + 1))
            values = metric(columns, self._name)
            parts = [values[bounds[row] : bounds[row + 1]] for row in range(last - first)]
        else:
            measures = measure(columns, rows, last - first, self._subject.profile.percentiles)
            parts = list(self._score(measures).astype(np.float32)[:, None])
        for row, part in enumerate(parts, first):
            gathered[row].add(part)


def _point(start: int, values: MetricAccumulator) -> Point | None:
    found = values.statistics()
    if found is None:
        return None
    p50, p95, _ = found.percentiles
    error = found.percentile_relative_error
    return Point(start, found.count, p50, p95, found.minimum, found.maximum, error)
