"""Work that is done again and again beside the calls."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from spacelink_server.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


async def repeat(seconds: float, work: Callable[[], Awaitable[object]], what: str) -> None:
    """Do work every so many seconds, for ever; a failure is logged and forgotten.

    Args:
        seconds: between the end of one time and the begin of the next.
        work: the work.
        what: names it in the log.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except UnavailableError:
            # Whoever finds the store failing first has said so.
            logger.debug("%s: the store is not available", what)
        except Exception:
            logger.exception("%s failed", what)
