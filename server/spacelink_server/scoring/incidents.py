"""What a detector tells: incidents that open and close."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Moments = NDArray[np.int64]
    Numbers = NDArray[np.float64]


class Cause(IntEnum):
    """What an incident is about."""

    LATENCY = 0
    LOSS = 1
    SILENCE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Incidents that opened or closed, n of them.

    Attributes:
        device: int64 of shape (n,).
        cause: uint8 of shape (n,), values of Cause.
        is_open: bool of shape (n,): opened, or closed.
        time_ns: int64 of shape (n,), when that was found: the end of the time
            that was judged, or when the silence was noticed or broken.
        since_ns: int64 of shape (n,), when the incident began: with its first
            bad slot, or when something was last received. An incident is known
            by device, cause and this.
        value: float64 of shape (n,), what decided: median latency in ms, mean
            loss in percent, or silence in s.
        threshold: float64 of shape (n,), what the value was held against, in
            the same unit.
    """

    device: Moments
    cause: NDArray[np.uint8]
    is_open: NDArray[np.bool_]
    time_ns: Moments
    since_ns: Moments
    value: Numbers
    threshold: Numbers

    def __len__(self) -> int:
        return len(self.device)

    @classmethod
    def none(cls) -> Events:
        """Make no event."""
        times = np.empty(0, np.int64)
        numbers = np.empty(0, np.float64)
        return cls(times, np.empty(0, np.uint8), np.empty(0, np.bool_), times, times, numbers, numbers)

    @classmethod
    def in_order(cls, parts: Sequence[Events]) -> Events:
        """Put events together by device, then by time."""
        columns = [
            np.concatenate([getattr(part, field.name) for part in (cls.none(), *parts)])
            for field in fields(cls)
        ]
        device, _, _, time = columns[:4]
        order = np.lexsort((time, device))
        return cls(*(column[order] for column in columns))
