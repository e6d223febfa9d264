"""A fleet as it is now: a table of devices that follows what is committed."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from spacelink import _rows
from spacelink.cli._tables import console, decimals, heading, plain_table, status_text
from spacelink.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from spacelink import AsyncSpaceLinkClient
    from spacelink.columns import TelemetryColumns
    from spacelink.results import TelemetryUpdate

# Long enough that a device with a batch every few seconds has a steady rate.
_RATE_SECONDS = 10.0
# Twice a second is what an eye follows; each drawing costs a few milliseconds.
_REDRAW_SECONDS = 0.5
_RECONNECT_SECONDS = 1.0
# The table's head and what stands around it.
_OTHER_LINES = 8

_SHOWN = ("latency_ms", "jitter_ms", "packet_loss_percent", "downlink_mbps", "uplink_mbps")
# All columns with devices and statuses of usual length; on less, jitter goes.
_FULL_WIDTH = 90
# An age at which a terminal that reports every second is worth a look.
_STALE_SECONDS = 10.0


@dataclass
class _Device:
    newest_nanos: int = 0
    status: str = ""
    values: dict[str, float] = field(default_factory=dict)
    arrivals: deque[tuple[float, int]] = field(default_factory=deque)

    def take(self, samples: TelemetryColumns) -> None:
        row = int(samples.time_unix_nano.argmax())
        if samples.time_unix_nano[row] < self.newest_nanos:
            return
        self.newest_nanos = int(samples.time_unix_nano[row])
        self.values = {name: float(values[row]) for name, values in samples.metrics.items()}
        if samples.status is not None:
            self.status = _rows.status_texts(samples.status[row : row + 1])[0]

    def rate(self, since: float) -> float:
        """Give the samples per second since a moment of the monotonic clock."""
        while self.arrivals and self.arrivals[0][0] < since:
            self.arrivals.popleft()
        return sum(count for _, count in self.arrivals) / (time.monotonic() - since)


class Fleet:
    """The newest sample of each device and the rates at which samples come in."""

    def __init__(self, metrics: Sequence[str] = ()) -> None:
        """Begin without devices.

        Args:
            metrics: those to show; none means the usual ones.
        """
        self._metrics = [name for name in metrics if name != "status"]
        self._devices: dict[str, _Device] = {}
        self._lost_batches = 0
        self._started = time.monotonic()
        self.note = ""

    def seed(self, samples: TelemetryColumns) -> None:
        """Take note of a sample that was committed before."""
        self._device(samples.device_id).take(samples)

    def update(self, update: TelemetryUpdate) -> None:
        """Take note of a batch that was just committed."""
        device = self._device(update.samples.device_id)
        device.take(update.samples)
        device.arrivals.append((time.monotonic(), len(update.samples)))
        self._lost_batches += update.lost_batches

    def _device(self, device_id: str) -> _Device:
        return self._devices.setdefault(device_id, _Device())

    def _rate_start(self) -> float:
        # Not before the first second: a rate over less would be a guess.
        now = time.monotonic()
        return min(max(self._started, now - _RATE_SECONDS), now - 1)

    def line(self) -> str:
        """Say in one line how the fleet does."""
        since = self._rate_start()
        rate = sum(device.rate(since) for device in self._devices.values())
        lost = f", {self._lost_batches:,} batches lost to a slow terminal" if self._lost_batches else ""
        return f"{len(self._devices):,} devices, {rate:,.1f} samples/s{lost}{self.note}"

    def table(self, width: int, height: int) -> RenderableType:
        """Draw as much as fits into a terminal."""
        usual = [name for name in _SHOWN if width >= _FULL_WIDTH or name != "jitter_ms"]
        names = self._metrics or usual
        table = plain_table()
        table.add_column("device", no_wrap=True)
        table.add_column("status")
        table.add_column("age", justify="right", min_width=7)
        for name in names:
            table.add_column(heading(name.replace("packet_", "")), justify="right", min_width=6)
        table.add_column("samples\n/s", justify="right", min_width=7)
        since, now_nanos = self._rate_start(), time.time_ns()
        shown = sorted(self._devices)[: max(1, height - _OTHER_LINES)]
        for device_id in shown:
            device = self._devices[device_id]
            cells = [decimals(device.values.get(name, math.nan)) for name in names]
            age = (now_nanos - device.newest_nanos) / 1e9
            style = "yellow" if age > _STALE_SECONDS else ""
            table.add_row(
                device_id,
                status_text(device.status),
                Text(_duration(age), style),
                *cells,
                f"{device.rate(since):,.1f}",
            )
        hidden = len(self._devices) - len(shown)
        return Group(table, self.line() + (f", {hidden:,} not shown" if hidden else ""))


def _duration(seconds: float) -> str:
    """Write an age in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s"


async def show_live(
    client: AsyncSpaceLinkClient, device_ids: tuple[str, ...] = (), metrics: tuple[str, ...] = ()
) -> None:
    """Draw the fleet on the terminal until cancelled.

    Raises:
        SpaceLinkError: the server cannot be reached at the start, or refuses.
    """
    fleet = Fleet(metrics)
    screen = console()
    with Live(console=screen, auto_refresh=False) as live:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow(client, fleet, device_ids, metrics))
            while True:
                live.update(fleet.table(screen.width, screen.height), refresh=True)
                await asyncio.sleep(_REDRAW_SECONDS)


async def follow(
    client: AsyncSpaceLinkClient,
    fleet: Fleet,
    device_ids: tuple[str, ...] = (),
    metrics: tuple[str, ...] = (),
) -> None:
    """Keep a fleet up to date; a server that goes away is waited for.

    Raises:
        SpaceLinkError: the server cannot be reached at the start, or refuses.
    """
    was_connected = False
    while True:
        try:
            async for sample in client.list_latest_telemetry(device_ids):
                fleet.seed(sample)
            was_connected = True
            fleet.note = ""
            async for update in client.watch_telemetry(device_ids, metrics):
                fleet.update(update)
        except UnavailableError:
            if not was_connected:
                raise
        fleet.note = ", reconnecting"
        await asyncio.sleep(_RECONNECT_SECONDS)
