from __future__ import annotations

import bisect
import random

import pytest

from spacelink_server.distribution import Distribution


def test_bounds_are_inclusive_and_counts_add_up() -> None:
    values = Distribution((1, 10, 100))
    assert values.cumulative() == [0, 0, 0, 0]
    for value in (0, 1, 1.5, 10, 101):
        values.add(value)
    assert values.cumulative() == [2, 4, 4, 5]
    assert values.sum == 113.5


def test_equal_values_are_counted_at_once() -> None:
    together, one_by_one = Distribution((0.1, 1)), Distribution((0.1, 1))
    together.add(0.5, 7)
    together.add(2.0, 0)
    for _ in range(7):
        one_by_one.add(0.5)
    assert together.cumulative() == one_by_one.cumulative() == [0, 7, 7]
    assert together.sum == pytest.approx(one_by_one.sum)


def test_any_values() -> None:
    drawn = random.Random(7)
    bounds = sorted(drawn.uniform(0, 1) for _ in range(10))
    values = [drawn.uniform(-0.1, 1.1) for _ in range(1000)]
    distribution = Distribution(bounds)
    for value in values:
        distribution.add(value)
    values.sort()
    assert distribution.cumulative() == [*(bisect.bisect_right(values, bound) for bound in bounds), 1000]
