"""Measurements of the machine that the agent runs on."""

from __future__ import annotations

import asyncio
import math
import socket
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spacelink.columns import TelemetryColumns
from spacelink_agent.collectors import Chunk, CollectorError
from spacelink_agent.collectors._ticks import ticks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

# Enough for a median and a jitter, few enough not to be a burden on the target.
_PROBES = 4
# A TCP connection request is repeated by the kernel after a second; what takes
# longer measures that timer and not the path.
_LONGEST_TIMEOUT = 1.0

_NET_DEV = Path("/proc/net/dev")
_ROUTES = Path("/proc/net/route")
_RECEIVED_BYTES, _SENT_BYTES = 0, 8


class Target(NamedTuple):
    """Where to connect to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read HOST:PORT, with brackets around an IPv6 address.

        Raises:
            ValueError: says what would be right.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r}: expected HOST:PORT, such as example.org:443")
        return cls(host, int(port))


@dataclass(frozen=True, slots=True)
class _Probes:
    """Round-trip times to one target in milliseconds; None for a lost probe."""

    times: Sequence[float | None]

    @property
    def answered(self) -> list[float]:
        return [time for time in self.times if time is not None]

    @property
    def variations(self) -> list[float]:
        return [abs(after - before) for before, after in pairwise(self.answered)]


class HostProbe:
    """Measures TCP connect times to targets and the throughput of an interface.

    For each interval: latency_ms is the median round-trip time over all probes,
    jitter_ms the mean difference of a target's successive round-trip times,
    packet_loss_percent the share of probes without an answer. A refused
    connection is an answer; a name that cannot be resolved is none.
    downlink_mbps and uplink_mbps are what the interface received and sent.

    Args:
        device_id: what the samples are said to be of.
        targets: where to connect to.
        interval: seconds between two samples.
        interface: the network interface; None takes the default route's.

    Raises:
        CollectorError: there is no such interface.
    """

    is_live = True
    source = ""

    def __init__(
        self, device_id: str, targets: Sequence[Target], *, interval: float, interface: str | None = None
    ) -> None:
        self._device_id = device_id
        self._targets = targets
        self._interval = interval
        self._interface = interface or default_interface()
        if self._interface not in _interfaces():
            known = ", ".join(_interfaces())
            raise CollectorError(f"interface {self._interface!r} is unknown; this machine has {known}")

    async def collect(self, position: Any) -> AsyncGenerator[Chunk]:
        """Yield a sample at the end of each interval, without end."""
        before = _Traffic.read(self._interface)
        async for tick in ticks(self._interval):
            probes = await asyncio.gather(*(self._probe(target) for target in self._targets))
            after = _Traffic.read(self._interface)
            yield Chunk(self._sample(tick, probes, before.rates(after)))
            before = after

    async def _probe(self, target: Target) -> _Probes:
        gap = self._interval / (_PROBES + 1)
        timeout = min(gap, _LONGEST_TIMEOUT)
        times = []
        for _ in range(_PROBES):
            started = time.monotonic()
            times.append(await _connect_ms(target, timeout))
            await asyncio.sleep(max(0, started + gap - time.monotonic()))
        return _Probes(times)

    def _sample(self, tick: int, probes: Sequence[_Probes], rates: tuple[float, float]) -> TelemetryColumns:
        answered = [time for target in probes for time in target.answered]
        variations = [variation for target in probes for variation in target.variations]
        loss = 100 * (1 - len(answered) / (_PROBES * len(probes)))
        downlink, uplink = rates
        return TelemetryColumns.from_arrays(
            self._device_id,
            [tick],
            status=_status(loss),
            latency_ms=[statistics.median(answered) if answered else math.nan],
            jitter_ms=[statistics.fmean(variations) if variations else math.nan],
            packet_loss_percent=[loss],
            downlink_mbps=[downlink],
            uplink_mbps=[uplink],
        )


@dataclass(frozen=True, slots=True)
class _Traffic:
    """An interface's counters at a time; None while it is not there."""

    time: float
    received: int | None
    sent: int | None

    @classmethod
    def read(cls, interface: str) -> _Traffic:
        counters = _interfaces().get(interface)
        if counters is None:
            return cls(time.monotonic(), None, None)
        return cls(time.monotonic(), counters[_RECEIVED_BYTES], counters[_SENT_BYTES])

    def rates(self, later: _Traffic) -> tuple[float, float]:
        """Give what was received and sent until later, in Mbit/s."""
        seconds = later.time - self.time
        return _mbps(self.received, later.received, seconds), _mbps(self.sent, later.sent, seconds)


def default_interface() -> str:
    """Find the interface of the default route; the loopback where there is none."""
    with suppress(OSError):
        for line in _ROUTES.read_text().splitlines()[1:]:
            name, destination, *_ = line.split()
            if destination == "00000000":
                return name
    return "lo"


def _interfaces() -> dict[str, list[int]]:
    """Read the counters of all interfaces.

    Raises:
        CollectorError: the system does not have them.
    """
    try:
        lines = _NET_DEV.read_text().splitlines()[2:]
    except OSError as error:
        raise CollectorError(f"the host collector needs Linux: {error}") from None
    rows = (line.partition(":") for line in lines)
    return {name.strip(): [int(count) for count in counts.split()] for name, _, counts in rows}


async def _connect_ms(target: Target, timeout: float) -> float | None:  # noqa: ASYNC109 - a lost probe is no error
    """Give the milliseconds until a target answers; None if it does not in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            family, kind, protocol, _, address = (
                await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setblocking(False)
                started = time.perf_counter()
                with suppress(ConnectionRefusedError):
                    await loop.sock_connect(probe, address)
                return (time.perf_counter() - started) * 1e3
    except OSError:
        # TimeoutError is one, too.
        return None


def _mbps(before: int | None, after: int | None, seconds: float) -> float:
    # A counter that went back belongs to an interface that was made anew.
    if before is None or after is None or after < before or seconds <= 0:
        return math.nan
    return (after - before) * 8 / 1e6 / seconds


def _status(loss_percent: float) -> str:
    if loss_percent >= 100:
        return "OFFLINE"
    return "DEGRADED" if loss_percent > 0 else "ACTIVE"
