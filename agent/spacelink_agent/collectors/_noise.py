"""Random numbers that depend on nothing but a key and a counter.

A generator with a state would make a value depend on what was asked before;
these are the same whenever and in whatever order they are asked for.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counters: TypeAlias = NDArray[np.int64]
    Numbers: TypeAlias = NDArray[np.float64]

_MASK = 2**64 - 1


class Noise:
    """A family of random sequences, one for each name.

    Args:
        seed: families of different seeds have nothing in common.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._keys: dict[str, int] = {}

    def uniform(self, name: str, counters: Counters) -> Numbers:
        """Give a number from 0 up to 1 for each counter, in the counters' shape."""
        key = self._keys.get(name) or self._keys.setdefault(name, self._key(name))
        return (_mixed(counters.astype(np.uint64), key) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, name: str, counters: Counters) -> Numbers:
        """Give a number of the standard normal distribution for each counter (Box-Muller)."""
        radius = np.sqrt(2 * self.exponential(name + "/radius", counters))
        return radius * np.cos(2 * np.pi * self.uniform(name + "/angle", counters))

    def exponential(self, name: str, counters: Counters) -> Numbers:
        """Give a number of the exponential distribution with mean 1 for each counter."""
        return -np.log1p(-self.uniform(name, counters))

    def trait(self, name: str, low: float, high: float) -> float:
        """Give the family's own value between two bounds."""
        return low + (high - low) * float(self.uniform(name, np.zeros(1, np.int64))[0])

    def _key(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed}/{name}".encode()).digest()[:8])


def _mixed(counters: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Hash counters with the output function of SplitMix64 (Steele, Lea and Flood, 2014)."""
    golden = 0x9E3779B97F4A7C15
    mixed = (counters * np.uint64(golden)) + np.uint64(key & _MASK)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
