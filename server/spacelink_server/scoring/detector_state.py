"""What a detector of degradation remembers of each device."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink_server.scoring.incidents import Cause

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Moments = NDArray[np.int64]

# Two hours: a dish's median moves by up to 6 ms in the course of hours. Over three
# days of one, a baseline of four hours let more false incidents through at nearly
# every threshold; one of an hour has half the slots to tell a deviation from.
BASELINE_SLOTS = 480
# How many slots the N of M rules look at; and how many the last 60 s reach into.
RECENT_SLOTS = 4
LOSS_SLOTS = RECENT_SLOTS + 1
# Latencies kept of a slot at first; the room grows with what devices send.
_ROOM = 16

_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class DetectorState:
    """All that a detector remembers, as arrays whose first axis is the devices.

    Slots and steps are numbered from 1970 on, -1 is none. Arrays of recent
    slots have the newest first.

    Attributes:
        step: int64 of shape (devices,), the step that samples have reached.
        slots: int64 of shape (devices, LOSS_SLOTS), the last slots with
            samples, the one under way included.
        lost: float64 like slots, the sum of the slot's losses in percent.
        lost_count: int64 like slots, of how many samples.
        latencies: float32 of shape (devices, room), those of the slot under way.
        latency_count: int64 of shape (devices,), how many these are.
        judged: int64 of shape (devices, RECENT_SLOTS), the last slots whose latency
            was judged.
        is_bad: bool like judged, whether those were bad.
        is_good: bool like judged, whether those were good; some are neither.
        medians: float32 of shape (devices, BASELINE_SLOTS), the baseline's
            slots as a ring; NaN is none.
        median_count: int64 of shape (devices,), how many were ever put there.
        open_since_ns: int64 of shape (devices, causes), when the open incident
            of each Cause began; 0 where none is open.
        last_received_ns: int64 of shape (devices,), 0 before the first sample.
    """

    step: Moments
    slots: Moments
    lost: NDArray[np.float64]
    lost_count: Moments
    latencies: NDArray[np.float32]
    latency_count: Moments
    judged: Moments
    is_bad: NDArray[np.bool_]
    is_good: NDArray[np.bool_]
    medians: NDArray[np.float32]
    median_count: Moments
    open_since_ns: Moments
    last_received_ns: Moments

    def __len__(self) -> int:
        return len(self.step)

    @classmethod
    def empty(cls, devices: int, room: int = _ROOM) -> DetectorState:
        """Make the state of devices that nothing is known of; room is of latencies."""
        recent, for_loss = (devices, RECENT_SLOTS), (devices, LOSS_SLOTS)
        return cls(
            step=np.full(devices, -1),
            slots=np.full(for_loss, -1),
            lost=np.zeros(for_loss),
            lost_count=np.zeros(for_loss, np.int64),
            latencies=np.zeros((devices, room), np.float32),
            latency_count=np.zeros(devices, np.int64),
            judged=np.full(recent, -1),
            is_bad=np.zeros(recent, np.bool_),
            is_good=np.zeros(recent, np.bool_),
            medians=np.full((devices, BASELINE_SLOTS), np.nan, np.float32),
            median_count=np.zeros(devices, np.int64),
            open_since_ns=np.zeros((devices, len(Cause)), np.int64),
            last_received_ns=np.zeros(devices, np.int64),
        )

    def take(self, rows: NDArray[np.int64]) -> DetectorState:
        """Give the state of these devices, numbered from 0 in their order; -1 is a new device."""
        taken = self.empty(len(rows), self.latencies.shape[1])
        is_known = rows >= 0
        for name, values in self._arrays().items():
            getattr(taken, name)[is_known] = values[rows[is_known]]
        return taken

    def to_bytes(self) -> bytes:
        """Serialise; from_bytes reads it."""
        file = io.BytesIO()
        np.savez(file, version=np.int64(_VERSION), **self._arrays())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> DetectorState:
        """Read what to_bytes wrote.

        Raises:
            ValueError: it is of another version, or damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                version = int(arrays["version"])
                state = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            raise ValueError("detector state: damaged, or not one") from None
        if version != _VERSION:
            raise ValueError(f"detector state: expected version {_VERSION}, got {version}")
        return state

    def _arrays(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}
