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
from typing import TYPE_CHECKING, Any

from spacelink.columns import TelemetryColumns
from spacelink_agent.collectors import Chunk, CollectorError
from spacelink_agent.collectors._ticks import ticks
from spacelink_agent.collectors.targets import Resolver

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from spacelink_agent.collectors.targets import Address, Target

# Enough for a median and a jitter, few enough not to be a burden on the target.
_PROBES = 4
# A TCP connection request is repeated by the kernel after a second; what takes
# longer measures that timer and not the path.
_LONGEST_TIMEOUT = 1.0

_NET_DEV = Path("/proc/net/dev")
_ROUTES = Path("/proc/net/route")
_RECEIVED_BYTES, _SENT_BYTES = 0, 8
_ROUTES_V6 = Path("/proc/net/ipv6_route")
_INTERFACES = Path("/sys/class/net")
# An interface may not know its state; the loopback never does.
_UP = ("up", "unknown")


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
    connection is an answer. downlink_mbps and uplink_mbps are what the interface
    received and sent. The status is ACTIVE without any loss, OFFLINE where all
    is lost, DEGRADED between them.

    A name that cannot be resolved is no measurement of the link. A target keeps
    the address it had last; one that never had any is left out, and looked up
    again in each interval. While no target has an address, latency, jitter and
    loss are missing, and the status is OFFLINE only if the machine itself is off
    the network: the interface is down, or there is no default route. Otherwise
    the status is missing, too.

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
        self._resolver = Resolver(targets)
        self._interval = interval
        self._interface = interface or default_interface()
        if self._interface not in _interfaces():
            known = ", ".join(_interfaces())
            raise CollectorError(f"interface {self._interface!r} is unknown; this machine has {known}")

    async def collect(self, position: Any) -> AsyncGenerator[Chunk]:
        """Yield a sample at the end of each interval, without end."""
        before = _Traffic.read(self._interface)
        try:
            await self._resolver.look_up(_LONGEST_TIMEOUT)
            async for tick in ticks(self._interval):
                probes = await asyncio.gather(*map(self._probe, self._resolver.addresses))
                await self._resolver.look_up(0)
                after = _Traffic.read(self._interface)
                yield Chunk(self._sample(tick, probes, before.rates(after)))
                before = after
        finally:
            self._resolver.close()

    async def _probe(self, target: Address) -> _Probes:
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
        loss = 100 * (1 - len(answered) / (_PROBES * len(probes))) if probes else math.nan
        downlink, uplink = rates
        return TelemetryColumns.from_arrays(
            self._device_id,
            [tick],
            status=_status(loss) if probes else self._unmeasured_status(),
            latency_ms=[statistics.median(answered) if answered else math.nan],
            jitter_ms=[statistics.fmean(variations) if variations else math.nan],
            packet_loss_percent=[loss],
            downlink_mbps=[downlink],
            uplink_mbps=[uplink],
        )

    def _unmeasured_status(self) -> str | None:
        """Give the status without a measurement: what the machine itself knows of its link."""
        return None if _is_up(self._interface) and _has_default_route() else "OFFLINE"


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
    return next(iter(_default_routes()), "lo")


def _default_routes() -> list[str]:
    """List the interfaces of the default routes (IPv4)."""
    with suppress(OSError):
        rows = [line.split() for line in _ROUTES.read_text().splitlines()[1:]]
        return [name for name, destination, *_ in rows if destination == "00000000"]
    return []


def _has_default_route() -> bool:
    if _default_routes():
        return True
    with suppress(OSError):
        rows = [line.split() for line in _ROUTES_V6.read_text().splitlines()]
        # The loopback's are what the kernel refuses packets with.
        return any(set(row[0]) == {"0"} and row[1] == "00" and row[-1] != "lo" for row in rows)
    return False


def _is_up(interface: str) -> bool:
    with suppress(OSError):
        return (_INTERFACES / interface / "operstate").read_text().strip() in _UP
    return interface in _interfaces()


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


async def _connect_ms(target: Address, timeout: float) -> float | None:  # noqa: ASYNC109 - a lost probe is no error
    """Give the milliseconds until a target answers; None if it does not in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            with socket.socket(target.family, target.kind, target.protocol) as probe:
                probe.setblocking(False)
                started = time.perf_counter()
                with suppress(ConnectionRefusedError):
                    await loop.sock_connect(probe, target.address)
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
