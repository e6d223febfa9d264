"""Samples of many devices as flat columns: what availability and degradation take in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spacelink.v1.telemetry_pb2 import DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of any devices in any order, n of them.

    Devices are numbered from 0 by the caller, who keeps the numbers' meaning.

    Attributes:
        device: int64 of shape (n,).
        time_unix_nano: int64 of shape (n,).
        latency_ms: float32 of shape (n,), NaN where it is missing.
        packet_loss_percent: float32 of shape (n,), NaN where it is missing.
        status: uint8 of shape (n,), values of DeviceStatus.
    """

    device: NDArray[np.int64]
    time_unix_nano: NDArray[np.int64]
    latency_ms: NDArray[np.float32]
    packet_loss_percent: NDArray[np.float32]
    status: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_unix_nano)

    @classmethod
    def of_device(
        cls,
        device: int,
        time_unix_nano: NDArray[np.int64],
        *,
        latency_ms: NDArray[np.float32] | None = None,
        packet_loss_percent: NDArray[np.float32] | None = None,
        status: NDArray[np.uint8] | None = None,
    ) -> Samples:
        """Make samples of one device's columns, shape (n,) each; None was not measured."""
        count = len(time_unix_nano)
        nothing = np.full(count, np.nan, np.float32)
        return cls(
            np.full(count, device, np.int64),
            time_unix_nano,
            nothing if latency_ms is None else latency_ms,
            nothing if packet_loss_percent is None else packet_loss_percent,
            np.zeros(count, np.uint8) if status is None else status,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Samples]) -> Samples:
        """Put samples together; at least one part."""
        return cls(
            np.concatenate([part.device for part in parts]),
            np.concatenate([part.time_unix_nano for part in parts]),
            np.concatenate([part.latency_ms for part in parts]),
            np.concatenate([part.packet_loss_percent for part in parts]),
            np.concatenate([part.status for part in parts]),
        )

    def take(self, rows: NDArray[Any]) -> Samples:
        """Give the samples of an index array or a mask."""
        return Samples(
            self.device[rows],
            self.time_unix_nano[rows],
            self.latency_ms[rows],
            self.packet_loss_percent[rows],
            self.status[rows],
        )

    def in_order(self) -> Samples:
        """Sort by device, then by time."""
        return self.take(np.lexsort((self.time_unix_nano, self.device)))

    def is_down(self) -> NDArray[np.bool_]:
        """Tell which samples say that there is no link: OFFLINE, or all packets lost."""
        is_down: NDArray[np.bool_] = (self.status == DeviceStatus.DEVICE_STATUS_OFFLINE) | (
            self.packet_loss_percent >= 100
        )
        return is_down

    def is_known(self) -> NDArray[np.bool_]:
        """Tell which samples say anything about the link, by status, loss or latency."""
        is_known: NDArray[np.bool_] = (
            (self.status != DeviceStatus.DEVICE_STATUS_UNSPECIFIED)
            | ~np.isnan(self.packet_loss_percent)
            | ~np.isnan(self.latency_ms)
        )
        return is_known
