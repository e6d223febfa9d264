"""Live detection of degradation on many devices at once.

A terminal in low earth orbit is moved to another satellite every 15 s, at :12,
:27, :42 and :57 of each minute (UTC), and its latency and losses have a level
of their own in each of these slots. So what is judged are slots: medians of
latency, and losses over the last four. Between slots a device has:

- LATENCY: the slot's median above the median of the last hours by an absolute
  floor AND by a multiple of their deviation;
- LOSS: a mean loss over 60 s above a threshold, outages included, with losses
  in more than one slot;
- SILENCE: nothing received for a while, whatever the samples' own times.

An incident opens when N of the last M slots were bad and closes when as many in
a row were good by a lower threshold. One is open per device and cause at most.

Time comes in with the samples and the calls; there is no clock here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from spacelink_server.scoring.samples import SECOND_NS, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Moments = NDArray[np.int64]

SLOT_NS = 15 * SECOND_NS
FIRST_BOUNDARY_NS = 12 * SECOND_NS


class Cause(IntEnum):
    """What an incident is about; the columns of DetectorState.open_since_ns."""

    LATENCY = 0
    LOSS = 1
    SILENCE = 2


@dataclass(frozen=True, slots=True)
class Parameters:
    """What counts as degradation.

    Attributes:
        silence_ns: nothing received for so long is silence.
    """

    silence_ns: int = 60 * SECOND_NS


@dataclass(frozen=True, slots=True, eq=False)
class DetectorState:
    """All that a detector remembers, as arrays whose first axis is the devices.

    Attributes:
        open_since_ns: int64 of shape (devices, causes), when the open incident
            began; 0 where none is open.
        last_received_ns: int64 of shape (devices,), 0 before the first sample.
    """

    open_since_ns: Moments
    last_received_ns: Moments

    @classmethod
    def empty(cls, devices: int) -> DetectorState:
        """Make the state of devices that nothing is known of."""
        raise NotImplementedError

    def take(self, rows: NDArray[np.int64]) -> DetectorState:
        """Give the state of these devices, numbered from 0 in their order; -1 is a new device."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """Serialise; from_bytes reads it."""
        raise NotImplementedError

    @classmethod
    def from_bytes(cls, data: bytes) -> DetectorState:
        """Read what to_bytes wrote.

        Raises:
            ValueError: it is of another version, or damaged.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Incidents that opened or closed, n of them, in the order of time.

    Attributes:
        device: int64 of shape (n,).
        cause: uint8 of shape (n,), values of Cause.
        is_open: bool of shape (n,): opened, or closed.
        time_ns: int64 of shape (n,), when that was found: the end of the slot
            that decided, or when the silence was noticed or broken.
        since_ns: int64 of shape (n,), when the incident began: with its first
            bad slot, or after the last sample received. An incident is
            known by device, cause and this.
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
    value: NDArray[np.float64]
    threshold: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.device)


class Detector:
    """Takes in samples as they arrive and tells when incidents open and close.

    What comes out does not depend on how the samples are cut into calls, nor on
    their order within a slot. Samples of a slot before the one that a device
    has reached are too late to be judged and are left out.

    Args:
        state: of a detector before this one; or DetectorState.empty(devices).
        parameters: what counts as degradation.
    """

    def __init__(self, state: DetectorState, parameters: Parameters = Parameters()) -> None:
        self.parameters = parameters
        self.state = state

    def feed(self, samples: Samples, received_ns: int) -> Events:
        """Take in samples.

        A slot is judged when a sample of a later one arrives.

        Args:
            samples: of any of the state's devices.
            received_ns: when they were received; breaks a silence.
        """
        raise NotImplementedError

    def advance(self, now_ns: int) -> Events:
        """Look for devices that fell silent; call it every few seconds."""
        raise NotImplementedError

    def resume(self, now_ns: int) -> None:
        """Begin to wait for samples anew: the time in which nobody listened is no device's silence."""
        raise NotImplementedError

    def mark_open(self, device: int, cause: Cause, since_ns: int) -> None:
        """Take over an incident that is open already, known from elsewhere."""
        raise NotImplementedError
