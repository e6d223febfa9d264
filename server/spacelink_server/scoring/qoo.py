"""Health, 0 to 100: Quality of Outcome, draft-ietf-ippm-qoo.

A profile names what an application needs. Each item of it is scored by where
the measured value lies between the requirement for perfection (ROP) and the
point of uselessness (CPUP), and the score of the whole is that of the worst
item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LatencyRequirement:
    """What a percentile of the round trip has to be.

    Attributes:
        percentile: above 0, at most 100.
        rop_ms: at most this is perfect.
        cpup_ms: from this on the link is useless; above rop_ms.

    Raises:
        ValueError: names the field and what would be right.
    """

    percentile: float
    rop_ms: float
    cpup_ms: float


@dataclass(frozen=True, slots=True)
class LossRequirement:
    """What the mean packet loss has to be.

    Attributes:
        rop_percent: at most this is perfect.
        cpup_percent: from this on the link is useless; above rop_percent, at most 100.

    Raises:
        ValueError: names the field and what would be right.
    """

    rop_percent: float
    cpup_percent: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What an application needs of a network.

    Attributes:
        name: for the reader.
        latency: requirements by rising percentile, none twice.
        loss: the requirement on loss, if any.
        minimum_throughput_mbps: the requirement on throughput, if any.

    Raises:
        ValueError: names the field and what would be right; also where a
            profile requires nothing.
    """

    name: str
    latency: tuple[LatencyRequirement, ...] = ()
    loss: LossRequirement | None = None
    minimum_throughput_mbps: float | None = None

    @property
    def items(self) -> tuple[str, ...]:
        """The names of the items: latency_p95_ms, ..., packet_loss_percent, throughput_mbps."""
        raise NotImplementedError

    @property
    def percentiles(self) -> tuple[float, ...]:
        """The percentiles of the latency that score takes, 0 to 100, rising."""
        return tuple(requirement.percentile for requirement in self.latency)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "leo",
                (LatencyRequirement(95, 100, 200), LatencyRequirement(99, 150, 300)),
                LossRequirement(0.1, 2),
            ),
        )
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of devices, and what made them.

    Attributes:
        profile: what they were scored against.
        measured: float64 of shape (devices, items), in the order of
            profile.items and in their units; NaN where it is missing.
        items: float64 of shape (devices, items), 0 to 100; NaN where missing.
        qoo: float64 of shape (devices,), 0 to 100: the lowest of the items that
            are there; NaN where there is none.
    """

    profile: Profile
    measured: Numbers
    items: Numbers
    qoo: Numbers

    def missing(self, device: int) -> tuple[str, ...]:
        """Name the items of a device that could not be scored."""
        raise NotImplementedError

    def limiting(self, device: int) -> str | None:
        """Name the item that made the score of a device: the lowest; None where there is no score."""
        raise NotImplementedError


def score(
    latency_percentiles_ms: NDArray[np.floating],
    loss_percent: ArrayLike,
    profile: Profile,
    throughput_mbps: ArrayLike | None = None,
) -> Scores:
    """Score devices.

    Args:
        latency_percentiles_ms: shape (devices, len(profile.latency)), the round
            trip's percentiles in the order of profile.percentiles; NaN is missing.
        loss_percent: shape (devices,), the mean packet loss, 0 to 100; NaN is missing.
        profile: what to score against.
        throughput_mbps: shape (devices,), from capacity tests only; what a
            terminal reports as it goes is usage. NaN or None is missing.

    Raises:
        ValueError: the shapes do not fit.
    """
    raise NotImplementedError


def percentiles(values: NDArray[np.floating], probabilities: ArrayLike) -> Numbers:
    """Give percentiles of each device's values, linearly interpolated between closest ranks.

    Args:
        values: shape (devices, n) in any order; NaN is missing.
        probabilities: shape (k,), 0 to 100, such as profile.percentiles.

    Returns:
        Shape (devices, k); NaN where a device has no value.
    """
    raise NotImplementedError


def mean(values: NDArray[np.floating]) -> Numbers:
    """Give the mean of each device's values, shape (devices, n); NaN where there is none."""
    raise NotImplementedError
