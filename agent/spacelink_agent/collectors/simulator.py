"""The simulator: terminals that do not exist, measured now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink_agent.collectors import Chunk
from spacelink_agent.collectors._ticks import ticks
from spacelink_agent.collectors.leo import LeoLink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from spacelink.columns import TelemetryColumns

# Samples are computed ahead in blocks: for one at a time numpy's overhead is
# fifty times the work.
_BLOCK = 64


class Simulator:
    """Yields a sample of each device at each multiple of an interval.

    Args:
        device_ids: the devices.
        interval: seconds between two samples.
        seed: the same seed, device and time give the same sample.
    """

    is_live = True
    source = ""

    def __init__(self, device_ids: Sequence[str], *, interval: float, seed: int) -> None:
        self._links = [_Blocks(LeoLink(seed, device_id), interval) for device_id in device_ids]
        self._interval = interval

    async def collect(self, position: Any) -> AsyncGenerator[Chunk]:
        """Yield samples without end."""
        async for time in ticks(self._interval):
            for link in self._links:
                yield Chunk(link.sample(time))


class _Blocks:
    """A link's samples at the ticks of an interval, computed in blocks."""

    def __init__(self, link: LeoLink, interval: float) -> None:
        self._link = link
        self._step = round(interval * 1e9)
        self._block: TelemetryColumns | None = None

    def sample(self, time: int) -> TelemetryColumns:
        block = self._block
        if block is None or not block.time_unix_nano[0] <= time <= block.time_unix_nano[-1]:
            block = self._block = self._link.samples(time + np.arange(_BLOCK) * self._step)
        row = (time - int(block.time_unix_nano[0])) // self._step
        return block.take(slice(row, row + 1))
