"""The progress of a replay on a terminal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rich.console import Console

    from spacelink_agent.collectors.replay import Replay
    from spacelink_agent.spool import Counters

# As often as rich itself redraws.
_UPDATE_SECONDS = 0.1


async def show_progress(replay: Replay, counters: Counters, console: Console) -> None:
    """Draw how many of the file's samples were acked, until cancelled.

    How many there are is extrapolated from the share of the file that was read.
    """
    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("replay", total=None)
        while True:
            done = counters.acked_samples + counters.rejected_samples
            total = round(counters.collected_samples / replay.progress) if replay.progress else None
            bar.update(task, completed=done, total=total)
            await asyncio.sleep(_UPDATE_SECONDS)
