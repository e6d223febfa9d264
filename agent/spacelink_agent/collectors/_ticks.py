"""Waiting for the moments at which live collectors take samples."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_NANOS = 1_000_000_000


async def ticks(interval: float) -> AsyncGenerator[int]:
    """Yield at each multiple of the interval since 1970, and say which.

    A moment that passed while the caller was busy is skipped: nothing was
    measured then.

    Args:
        interval: seconds between two ticks.

    Yields:
        Nanoseconds since 1970.
    """
    step = round(interval * _NANOS)
    previous = time.time_ns() // step
    while True:
        now = time.time_ns()
        current = now // step
        if current == previous:
            await asyncio.sleep(((current + 1) * step - now) / _NANOS)
        else:
            # Also after the clock was set back: its times are the ones to use.
            previous = current
            yield current * step
