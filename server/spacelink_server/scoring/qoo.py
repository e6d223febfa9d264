"""Health, 0 to 100: Quality of Outcome, draft-ietf-ippm-qoo.

A profile names what an application needs. Each item of it is scored by where
the measured value lies between the requirement for perfection (ROP) and the
point of uselessness (CPUP), and the score of the whole is that of the worst
item.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]

LOSS_ITEM = "packet_loss_percent"
THROUGHPUT_ITEM = "throughput_mbps"


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

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile: expected above 0 and at most 100, got {self.percentile}")
        if not 0 <= self.rop_ms < math.inf:
            raise ValueError(f"rop_ms: expected 0 or more, got {self.rop_ms}")
        if not self.rop_ms < self.cpup_ms < math.inf:
            raise ValueError(f"cpup_ms: expected above rop_ms, {self.rop_ms:g}, got {self.cpup_ms}")


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

    def __post_init__(self) -> None:
        if not 0 <= self.rop_percent < 100:
            raise ValueError(f"rop_percent: expected 0 or more and below 100, got {self.rop_percent}")
        if not self.rop_percent < self.cpup_percent <= 100:
            raise ValueError(
                f"cpup_percent: expected above rop_percent, {self.rop_percent:g}, and at most 100, "
                f"got {self.cpup_percent}"
            )


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

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a text, got none")
        if any(one >= other for one, other in pairwise(self.percentiles)):
            raise ValueError(f"latency: expected rising percentiles, got {self.percentiles}")
        throughput = self.minimum_throughput_mbps
        if throughput is not None and not 0 < throughput < math.inf:
            raise ValueError(f"minimum_throughput_mbps: expected above 0, got {throughput}")
        if not self.items:
            raise ValueError(
                f"profile {self.name}: expected latency, loss or minimum_throughput_mbps, got none"
            )

    @property
    def items(self) -> tuple[str, ...]:
        """The names of the items: latency_p95_ms, ..., packet_loss_percent, throughput_mbps."""
        latency = tuple(f"latency_p{percentile:g}_ms" for percentile in self.percentiles)
        loss = () if self.loss is None else (LOSS_ITEM,)
        throughput = () if self.minimum_throughput_mbps is None else (THROUGHPUT_ITEM,)
        return latency + loss + throughput

    @property
    def percentiles(self) -> tuple[float, ...]:
        """The percentiles of the latency that score takes, 0 to 100, rising."""
        return tuple(requirement.percentile for requirement in self.latency)


# ITU-T G.114 asks for 150 ms mouth to ear and gives 400 as the limit. 60 of them
# are the codec's and the jitter buffer's (see emodel), so the network has 90 and
# 340, there and back 180 and 680.
_VOICE_LATENCY = (LatencyRequirement(95, 180, 680), LatencyRequirement(99, 180, 680))

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            # Measured: three days of a Starlink dish with a clear sky have medians
            # of 94 to 100 by the minute.
            Profile(
                "leo",
                (LatencyRequirement(95, 100, 200), LatencyRequirement(99, 150, 300)),
                LossRequirement(0.1, 2),
            ),
            # Loss: the bound of Y.1541's class 0, and what G.1010 has as the limit for voice.
            Profile("voice", _VOICE_LATENCY, LossRequirement(0.1, 3)),
            # The draft's own example, for video that people watch as they talk.
            Profile(
                "video",
                (LatencyRequirement(99, 200, 500), LatencyRequirement(99.9, 300, 600)),
                LossRequirement(1, 5),
                4,
            ),
            # TCP fills a geostationary path of 600 ms, and takes every segment for
            # lost from 1 s on, RFC 6298's first time-out. 25 Mbit/s was the FCC's
            # mark for broadband in 2015. Loss as in the draft's example.
            Profile("bulk", (LatencyRequirement(95, 600, 1000),), LossRequirement(1, 5), 25),
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
        names = zip(self.profile.items, np.isnan(self.items[device]), strict=True)
        return tuple(name for name, is_missing in names if is_missing)

    def limiting(self, device: int) -> str | None:
        """Name the item that made the score of a device: the lowest; None where there is no score."""
        if np.isnan(self.qoo[device]):
            return None
        return self.profile.items[int(np.nanargmin(self.items[device]))]


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
    latency = np.asarray(latency_percentiles_ms, np.float64)
    devices = len(latency)
    if latency.shape != (devices, len(profile.latency)):
        raise ValueError(
            f"latency_percentiles_ms: expected shape (devices, {len(profile.latency)}) "
            f"for profile {profile.name}, got {latency.shape}"
        )
    measured = [*latency.T]
    scores = [
        _between(values, requirement.rop_ms, requirement.cpup_ms)
        for values, requirement in zip(measured, profile.latency, strict=True)
    ]
    if profile.loss is not None:
        measured.append(_column("loss_percent", loss_percent, devices))
        scores.append(_between(measured[-1], profile.loss.rop_percent, profile.loss.cpup_percent))
    if profile.minimum_throughput_mbps is not None:
        measured.append(_column("throughput_mbps", throughput_mbps, devices))
        scores.append(_at_least(measured[-1], profile.minimum_throughput_mbps))
    items = np.stack(scores, axis=1)
    return Scores(profile, np.stack(measured, axis=1), items, np.fmin.reduce(items, axis=1))


def _column(name: str, values: ArrayLike | None, devices: int) -> Numbers:
    column = np.full(devices, np.nan) if values is None else np.asarray(values, np.float64)
    if column.shape != (devices,):
        raise ValueError(f"{name}: expected shape ({devices},), got {column.shape}")
    return column


def _between(measured: Numbers, rop: float, cpup: float) -> Numbers:
    scores: Numbers = 100 * np.clip(1 - (measured - rop) / (cpup - rop), 0, 1)
    return scores


def _at_least(measured: Numbers, minimum: float) -> Numbers:
    return np.where(np.isnan(measured), np.nan, np.where(measured >= minimum, 100.0, 0.0))
