"""Random histories: whatever happens in whatever order, no row is lost unseen and none comes twice."""

from __future__ import annotations

import random
import resource
from typing import TYPE_CHECKING

import pytest

from spacelink_agent.spool import FullPolicy, Spool, SpoolSettings
from tests.agent.samples import append_rows, next_row, numbers, rows
from tests.agent.spool.server import Cursor

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 150


class History:
    """A spool and a server to which things happen."""

    def __init__(self, directory: Path, seed: int, policy: FullPolicy) -> None:
        self.random = random.Random(seed)
        self.settings = SpoolSettings(batch_samples=5, max_bytes=16384, when_full=policy)
        self.directory = directory
        self.spool = Spool(directory, self.settings)
        self.cursor = Cursor()
        self.delivered: list[int] = []
        self.collected = 0
        self.dropped = 0

    async def collect(self) -> None:
        await append_rows(self.spool, self.collected, count := self.random.randrange(1, 40))
        self.collected += count

    async def collect_chunk(self) -> None:
        count = self.random.randrange(1, 40)
        await self.spool.append(rows(self.collected, count), "rows:dish", self.collected + count - 1)
        self.collected += count

    async def collect_on_a_full_disk(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.random.randrange(100, 2000), hard))
        await self.collect()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async def receive(self) -> None:
        """The server commits, and its ack may get lost."""
        source = self.spool.source
        await self.cursor.open(source)
        if self.spool.pending_batches and self.random.random() < 0.7:
            assert await source.wait_after(self.cursor.of(source))
        self.delivered += numbers(self.cursor.receive(source))
        if self.random.random() < 0.5:
            source.acked(self.cursor.of(source), ())

    async def restart(self) -> None:
        self.close()
        # What was not written has no position; a collector goes on after the
        # last row that was, so rows that were dropped are not collected again.
        self.spool = Spool(self.directory, self.settings)
        assert next_row(self.spool) <= self.collected

    def close(self) -> None:
        self.dropped += self.spool.counters.dropped_samples
        self.spool.close()

    async def end(self) -> None:
        self.spool.finish()
        self.delivered += numbers(await self.cursor.take_all(self.spool.source))
        self.close()


@pytest.mark.parametrize("policy", [FullPolicy.DROP_OLDEST, FullPolicy.DROP_NEWEST])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("restarts", [False, True])
async def test_history(memory_path: Path, seed: int, policy: FullPolicy, restarts: bool) -> None:
    history = History(memory_path / "spool", seed, policy)
    steps = [history.collect, history.collect_chunk, history.receive] * 4 + [history.collect_on_a_full_disk]
    if restarts:
        steps.append(history.restart)
    for _ in range(STEPS):
        await history.random.choice(steps)()
    await history.end()
    assert len(history.delivered) > STEPS
    assert history.delivered == sorted(set(history.delivered))
    assert history.delivered[-1] < history.collected
    missing = history.collected - len(history.delivered)
    if restarts:
        # What was on its way at a crash counts as dropped if it is dropped then.
        assert missing <= history.dropped
    else:
        assert missing == history.dropped
        assert missing == sum(each.sample_count for each in history.cursor.dropped)
        assert missing > 0
