"""Telemetry of the past, for whoever computes over it on the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from spacelink.columns import concatenate
from spacelink_server.errors import store_unavailable
from spacelink_server.storage import reading
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from concurrent.futures import Executor

    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.transactions import Transactions

_T = TypeVar("_T")

# So many devices are computed by one visit to a thread: enough for a visit not
# to count, few enough for the work to end soon after its caller went away.
_DEVICES_AT_ONCE = 16

# So much time of all devices together is read sample by sample, which takes about
# 100 ms at 1 Hz and gives exact percentiles and voice quality; of more, the
# rollups are read, which have neither runs of loss nor capacity tests. To read
# of one device at all takes as long as half an hour more of it.
_EXACT_NS = 48 * 3600 * 1_000_000_000
_OVERHEAD_NS = 1800 * 1_000_000_000

_DAY = 86_400 * 1_000_000_000


class History:
    """Reads stored telemetry in threads.

    Attributes:
        store: holds the telemetry.
    """

    def __init__(self, store: Transactions, readers: Executor) -> None:
        """Make a reader.

        Args:
            store: holds the telemetry.
            readers: threads for reading.
        """
        self.store = store
        self._readers = readers

    def columns(
        self,
        tenant_id: str,
        device_id: str,
        start: int,
        end: int,
        metrics: Collection[str] | None = None,
    ) -> TelemetryColumns | None:
        """Read a device's samples with times in [start, end); None where there are none. Blocks.

        Args:
            tenant_id: the tenant.
            device_id: the device.
            start: nanoseconds since 1970 UTC.
            end: likewise, exclusive.
            metrics: these are enough, though there may be others; None means all.
        """
        parts = [
            reading.columns_of(part, metrics)
            for part in reading.read(self.store, tenant_id, device_id, start, end, metrics)
        ]
        return concatenate(parts) if parts else None

    async def for_each(
        self,
        device_ids: Sequence[str],
        compute: Callable[[Sequence[str]], _T],
        at_once: int = _DEVICES_AT_ONCE,
    ) -> list[_T]:
        """Compute over some devices at a time, in threads.

        Args:
            device_ids: all devices.
            compute: called with some of them; may block.
            at_once: with how many.

        Returns:
            What compute gave, in the order of the devices.

        Raises:
            UnavailableError: the store failed.
        """
        loop = asyncio.get_running_loop()
        results = []
        for first in range(0, len(device_ids), at_once):
            some = device_ids[first : first + at_once]
            try:
                results.append(await loop.run_in_executor(self._readers, compute, some))
            except StoreUnavailableError:
                raise store_unavailable() from None
        return results


def days(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a range at midnight (UTC), so that the samples of a year need not be in memory at once."""
    while start < end:
        following = min((start // (_DAY) + 1) * _DAY, end)
        yield start, following
        start = following


def is_little(devices: int, length: int) -> bool:
    """Tell whether the samples of devices in a range of a length are best read one by one."""
    return devices * (length + _OVERHEAD_NS) <= _EXACT_NS
