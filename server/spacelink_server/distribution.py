"""Counts how values are distributed, cheaply enough for what happens with every commit."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Distribution:
    """How many values were at most so large; only one thread may add to it.

    Attributes:
        bounds: upper bounds in ascending order; what is larger than all is counted, too.
        sum: of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float, count: int = 1) -> None:
        """Count a value, or some that are equal."""
        self._counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    def cumulative(self) -> list[int]:
        """Give for each bound how many values were at most that, and last the number of all."""
        return list(accumulate(self._counts))
