from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink_server.scoring.availability import Sla
from spacelink_server.scoring.objectives import Intervals, Objective, intervals

if TYPE_CHECKING:
    from collections.abc import Callable

LATENCY = Objective("latency_p95_ms", 100, 200)
HEALTH = Objective("qoo", 90, 50)
NAN = float("nan")


def counts(found: Intervals) -> Any:
    columns = (found.met, found.violated, found.severely_violated, found.unknown)
    return np.stack(columns, axis=-1).tolist()


def test_intervals_of_a_metric_and_of_all() -> None:
    latency = [[50, 100, 100.5, 200, 201, NAN, NAN, 50], [NAN] * 8]
    health = [[100, 90, 95, 49, 89, 89.9, NAN, 49.9], [95] * 8]
    by_metric, of_all = intervals(np.array([latency, health]), [LATENCY, HEALTH])
    assert counts(by_metric) == [[[3, 2, 1, 2], [0, 0, 0, 8]], [[3, 2, 2, 1], [8, 0, 0, 0]]]
    assert counts(of_all) == [[2, 2, 3, 1], [8, 0, 0, 0]]
    assert of_all.violated_ratio == pytest.approx([5 / 7, 0])
    assert of_all.severely_violated_ratio == pytest.approx([3 / 7, 0])
    assert by_metric.violated_ratio[0] == pytest.approx([0.5, NAN], nan_ok=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective("", 1, 2), "metric: expected a name"),
        (lambda: Objective("qoo", NAN, 2), "optimal: expected a number"),
        (lambda: Objective("qoo", 1, float("inf")), "critical: expected a number"),
        (lambda: Objective("qoo", 1, 1), "critical: expected a number other than optimal, 1"),
        (lambda: Sla(99, objectives=(HEALTH, HEALTH)), "objectives: expected each metric once, got qoo, qoo"),
    ],
)
def test_wrong_objectives_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
