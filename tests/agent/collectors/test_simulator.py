from __future__ import annotations

import time
from typing import TYPE_CHECKING

from spacelink_agent.collectors._ticks import ticks
from spacelink_agent.collectors.leo import LeoLink
from spacelink_agent.collectors.simulator import Simulator

if TYPE_CHECKING:
    import pytest

    from spacelink_agent.collectors import Chunk


async def _first(simulator: Simulator, count: int) -> list[Chunk]:
    chunks = []
    async for chunk in simulator.collect(None):
        chunks.append(chunk)
        if len(chunks) == count:
            break
    return chunks


async def test_each_device_has_a_sample_at_each_multiple_of_the_interval() -> None:
    before = time.time_ns()
    chunks = await _first(Simulator(["a", "b"], interval=0.1, seed=3), 6)
    assert [chunk.samples.device_id for chunk in chunks] == ["a", "b"] * 3
    times = [int(chunk.samples.time_unix_nano[0]) for chunk in chunks]
    assert all(moment % 100_000_000 == 0 for moment in times)
    assert times[::2] == times[1::2]
    assert before < times[0] < times[2] < times[4] <= time.time_ns()


async def test_samples_are_those_of_the_model() -> None:
    chunks = await _first(Simulator(["a"], interval=0.1, seed=3), 3)
    for chunk in chunks:
        expected = LeoLink(3, "a").samples(chunk.samples.time_unix_nano)
        assert chunk.samples.encode() == expected.encode()


async def test_ticks_skip_what_was_missed_and_follow_a_clock_that_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = [100.5, 101.2, 104.7, 90.1, 91.3]
    clock = iter(round(second * 1e9) for second in seconds)
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    seen = []
    async for tick in ticks(1.0):
        seen.append(tick // 10**9)
        if len(seen) == 4:
            break
    assert seen == [101, 104, 90, 91]
