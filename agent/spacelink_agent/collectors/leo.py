"""A model of a terminal's link through a low-earth-orbit constellation.

Every 15 seconds, at 12, 27, 42 and 57 seconds past the minute (UTC), the
scheduler assigns terminals to satellites anew. Between two handovers the path
stays, so latency has a level of its own in each slot; losses come in bursts
(a Gilbert-Elliott channel), most of them right after a handover. Measurements
of Starlink show all of this: Mohan et al., "A Multifaceted Look at Starlink
Performance" (2024), and Tanveer et al., "Making Sense of Constellations" (2023).

All of it is a function of the seed, the device and the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spacelink.columns import TelemetryColumns
from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_agent.collectors._noise import Noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spacelink.columns import Times
    from spacelink_agent.collectors._noise import Numbers

_SECOND = 1_000_000_000
_SLOT_SECONDS = 15
_FIRST_HANDOVER_SECONDS = 12

# The channel's step; a dish pings its point of presence about this often.
_PACKETS_PER_SECOND = 20
_SLOT_PACKETS = _SLOT_SECONDS * _PACKETS_PER_SECOND
# Chances for each packet that a burst of losses begins and ends, and to be lost
# within one. A burst takes 0.6 s in the mean; a quarter of the handovers have
# one; about 1 % is lost overall.
_BURST_BEGINS = 0.0003
_BURST_BEGINS_AT_HANDOVER = 0.015
_BURST_BEGINS_OBSTRUCTED = 0.01
_BURST_ENDS = 0.08
_LOST_IN_BURST = 0.7
# Where the chance of an obstructed slot comes from: a share of the sky is
# blocked, and a satellite crosses several spots of it during a slot.
_SLOTS_PER_OBSTRUCTION = 3.0
_OUTAGE_CHANCE = 0.3

# From this loss on, calls and TCP suffer noticeably.
_DEGRADED_LOSS_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class _Slots:
    """The slots that samples lie in; arrays of shape (n,)."""

    number: NDArray[np.int64]
    second: NDArray[np.int64]
    is_obstructed: NDArray[np.bool_]


class LeoLink:
    """The link of one device.

    Args:
        seed: links of the same seed and device are the same.
        device_id: the device.
    """

    def __init__(self, seed: int, device_id: str) -> None:
        self.device_id = device_id
        self._noise = noise = Noise(f"{seed}/{device_id}")
        # The way up, down and to the point of presence and back.
        self._base_latency_ms = noise.trait("base latency", 21, 32)
        self._base_signal_dbm = noise.trait("base signal", -64, -59)
        self._base_power_w = noise.trait("base power", 42, 55)
        self._obstruction = noise.trait("obstruction", 0, 0.15) ** 2
        self._hours_east = noise.trait("longitude", -12, 12)
        self._appetite_mbps = noise.trait("appetite", 3, 20)

    def samples(self, times: Times) -> TelemetryColumns:
        """Give the samples of the times.

        Args:
            times: int64 of shape (n,), nanoseconds since 1970.
        """
        slots = self._slots(times)
        load = self._load(times)
        loss = self._loss_percent(slots)
        is_offline = loss >= 100
        downlink = self._downlink_mbps(times, slots, load) * (1 - loss / 100)
        uplink = downlink * (0.05 + 0.05 * self._noise.uniform("uplink", times)) + 0.02
        metrics = {
            "latency_ms": np.where(is_offline, np.nan, self._latency_ms(times, slots, load)),
            "jitter_ms": np.where(is_offline, np.nan, self._jitter_ms(times, load)),
            "packet_loss_percent": loss,
            "signal_strength_dbm": self._signal_dbm(times, slots),
            "downlink_mbps": downlink,
            "uplink_mbps": np.where(is_offline, 0, uplink),
            "obstruction_percent": self._obstruction_percent(times),
            "power_w": self._power_w(times, downlink),
        }
        return TelemetryColumns(
            self.device_id,
            times,
            {name: values.astype(np.float32) for name, values in metrics.items()},
            _status(loss, slots),
        )

    def _slots(self, times: Times) -> _Slots:
        seconds = times // _SECOND - _FIRST_HANDOVER_SECONDS
        number, second = seconds // _SLOT_SECONDS, seconds % _SLOT_SECONDS
        chance = self._obstruction * _SLOTS_PER_OBSTRUCTION
        return _Slots(number, second, self._noise.uniform("obstructed", number) < chance)

    def _load(self, times: Times) -> Numbers:
        """How busy the cell is: 0.25 in the small hours, 0.85 at eight in the evening."""
        hours = times / (3600 * _SECOND) + self._hours_east
        return 0.25 + 0.6 * ((1 + np.cos(2 * np.pi * (hours - 20) / 24)) / 2) ** 2

    def _latency_ms(self, times: Times, slots: _Slots, load: Numbers) -> Numbers:
        level = 14 * self._noise.uniform("level", slots.number) ** 2
        # The satellite comes nearer or goes away during its slot.
        drift = (self._noise.uniform("drift", slots.number) - 0.5) * slots.second / 5
        queueing = 6 * load * self._noise.exponential("queueing", times)
        return self._base_latency_ms + level + drift + queueing

    def _jitter_ms(self, times: Times, load: Numbers) -> Numbers:
        return 0.3 + (0.8 + 2.5 * load) * self._noise.exponential("jitter", times)

    def _loss_percent(self, slots: _Slots) -> Numbers:
        numbers, rows, inverse = np.unique(slots.number, return_index=True, return_inverse=True)
        is_lost = self._lost_packets(numbers, slots.is_obstructed[rows])
        by_second = is_lost.reshape(len(numbers), _SLOT_SECONDS, _PACKETS_PER_SECOND).mean(axis=2)
        loss: Numbers = by_second[inverse, slots.second] * 100
        return loss

    def _lost_packets(self, slots: NDArray[np.int64], is_obstructed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Run the channel through slots; bool of shape (slots, packets)."""
        packets = slots[:, None] * _SLOT_PACKETS + np.arange(_SLOT_PACKETS)
        begins = np.where(is_obstructed[:, None], _BURST_BEGINS_OBSTRUCTED, _BURST_BEGINS)
        begins = np.repeat(begins, _SLOT_PACKETS, axis=1)
        begins[:, :_PACKETS_PER_SECOND] = _BURST_BEGINS_AT_HANDOVER
        in_burst = _bursts(self._noise.uniform("channel", packets), begins)
        is_lost = in_burst & (self._noise.uniform("loss", packets) < _LOST_IN_BURST)
        return is_lost | self._outages(slots, is_obstructed)

    def _outages(self, slots: NDArray[np.int64], is_obstructed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Find the packets that an obstacle in the line of sight swallows, one to six seconds of them."""
        is_out = is_obstructed & (self._noise.uniform("outage", slots) < _OUTAGE_CHANCE)
        start = self._noise.uniform("outage start", slots) * 10
        end = start + 1 + 5 * self._noise.uniform("outage length", slots)
        seconds = np.arange(_SLOT_PACKETS) / _PACKETS_PER_SECOND
        return is_out[:, None] & (seconds >= start[:, None]) & (seconds < end[:, None])

    def _signal_dbm(self, times: Times, slots: _Slots) -> Numbers:
        elevation = -4 * self._noise.uniform("elevation", slots.number)
        shade = np.where(slots.is_obstructed, -7, 0)
        return self._base_signal_dbm + elevation + shade + 0.4 * self._noise.normal("signal", times)

    def _downlink_mbps(self, times: Times, slots: _Slots, load: Numbers) -> Numbers:
        capacity = (70 + 180 * self._noise.uniform("capacity", slots.number)) * (1.1 - load)
        minutes = times // (60 * _SECOND)
        activity = np.exp(
            1.1 * self._noise.normal("activity", minutes) + 0.5 * self._noise.normal("use", times)
        )
        return np.minimum(self._appetite_mbps * load * activity, capacity)

    def _obstruction_percent(self, times: Times) -> Numbers:
        # The dish refines its map of the sky over hours.
        return 100 * self._obstruction * (1 + 0.1 * np.sin(times / (6 * 3600 * _SECOND)))

    def _power_w(self, times: Times, downlink: Numbers) -> Numbers:
        return self._base_power_w + 0.06 * downlink + 1.5 * self._noise.normal("power", times)


def _bursts(numbers: Numbers, begins: Numbers) -> NDArray[np.bool_]:
    """Run a two-state Markov chain along the last axis, beginning outside of a burst.

    One random number decides each step: a small one enters a burst, or stays in
    it; a large one leaves it, or stays outside; any other keeps the state. So the
    state is the one that was entered last.
    """
    steps = np.arange(numbers.shape[1])
    entered = np.maximum.accumulate(np.where(numbers < begins, steps, -1), axis=1)
    left = np.maximum.accumulate(np.where(numbers >= 1 - _BURST_ENDS, steps, -1), axis=1)
    return entered > left


def _status(loss: Numbers, slots: _Slots) -> NDArray[np.uint8]:
    is_degraded = (loss >= _DEGRADED_LOSS_PERCENT) | slots.is_obstructed
    status = np.where(is_degraded, DeviceStatus.DEVICE_STATUS_DEGRADED, DeviceStatus.DEVICE_STATUS_ACTIVE)
    status[loss >= 100] = DeviceStatus.DEVICE_STATUS_OFFLINE
    return status.astype(np.uint8)
