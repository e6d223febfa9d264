from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from spacelink_server.ingest import live
from spacelink_server.ingest.live import LiveFeed, Watcher
from tests.server.samples import segment

if TYPE_CHECKING:
    from spacelink_server.storage.segments import Segment

TENANT = "t"


async def waiting(watcher: Watcher) -> list[Segment]:
    """Take what the watcher has, and see that it then waits."""
    taken: list[Segment] = []
    while True:
        taking = asyncio.ensure_future(anext(watcher))
        await asyncio.sleep(0)
        if not taking.done():
            taking.cancel()
            return taken
        taken.append(taking.result())


async def test_a_watcher_gets_what_is_published() -> None:
    feed, watcher = LiveFeed(), Watcher(TENANT, [])
    feed.publish(TENANT, [segment("early")])
    await feed.add(watcher)
    feed.publish(TENANT, [segment("a"), segment("b")])
    feed.publish(TENANT, [])
    feed.publish(TENANT, [segment("a", 1)])
    assert await waiting(watcher) == [segment("a"), segment("b"), segment("a", 1)]
    assert watcher.take_lost() == 0


async def test_a_watcher_that_waits_wakes_up() -> None:
    feed, watcher = LiveFeed(), Watcher(TENANT, [])
    await feed.add(watcher)
    taking = asyncio.ensure_future(anext(watcher))
    assert await waiting(watcher) == []
    feed.publish(TENANT, [segment("a")])
    assert await taking == segment("a")


async def test_tenants_do_not_see_each_other() -> None:
    feed, watcher, other = LiveFeed(), Watcher(TENANT, []), Watcher("other", ["a"])
    await feed.add(watcher)
    await feed.add(other)
    feed.publish("other", [segment("a")])
    assert await waiting(watcher) == []
    assert await waiting(other) == [segment("a")]


async def test_devices_that_are_not_watched_are_left_out() -> None:
    watcher = Watcher(TENANT, ["a", "b"])
    for device_id in ("a", "c", "b", "A"):
        watcher.offer(segment(device_id))
    assert await waiting(watcher) == [segment("a"), segment("b")]


async def test_a_watcher_that_lags_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(segment("a").payload)
    monkeypatch.setattr(live, "MAX_LAG_BYTES", 3 * size)
    watcher = Watcher(TENANT, ["a"])
    segments = [segment("a", number) for number in range(10)]
    for one in segments:
        watcher.offer(one)
        watcher.offer(segment("not-watched"))
    assert watcher.take_lost() == 7
    assert watcher.take_lost() == 0
    assert await waiting(watcher) == segments[7:]
    for one in segments[:4]:
        watcher.offer(one)
    assert watcher.take_lost() == 1
    assert await waiting(watcher) == segments[1:4]


async def test_one_that_is_larger_than_the_lag_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_LAG_BYTES", 1)
    watcher = Watcher(TENANT, [])
    watcher.offer(segment("a"))
    assert await waiting(watcher) == [segment("a")]
    assert watcher.take_lost() == 0


async def test_a_watcher_that_lags_does_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_LAG_BYTES", len(segment("a").payload))
    feed, slow, quick = LiveFeed(), Watcher(TENANT, []), Watcher(TENANT, [])
    await feed.add(slow)
    await feed.add(quick)
    for number in range(3):
        feed.publish(TENANT, [segment("a", number)])
        assert await waiting(quick) == [segment("a", number)]
    assert (slow.take_lost(), quick.take_lost()) == (2, 0)


async def test_close_ends_watching() -> None:
    feed, watcher = LiveFeed(), Watcher(TENANT, [])
    await feed.add(watcher)
    taking = asyncio.ensure_future(anext(watcher, None))
    await asyncio.sleep(0)
    feed.close()
    assert await taking is None
    late = Watcher(TENANT, [])
    await feed.add(late)
    assert [segment async for segment in late] == []


async def test_a_watcher_that_was_removed_gets_nothing() -> None:
    feed, watcher = LiveFeed(), Watcher(TENANT, [])
    await feed.add(watcher)
    feed.remove(watcher)
    feed.remove(watcher)
    feed.publish(TENANT, [segment("a")])
    assert await waiting(watcher) == []
