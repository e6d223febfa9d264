"""Waiting for conditions, with a deadline that only a broken program reaches."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Long enough for a machine that does much else.
WAIT_SECONDS = 30.0
_PAUSE_SECONDS = 0.002


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come to hold"
        await asyncio.sleep(_PAUSE_SECONDS)
