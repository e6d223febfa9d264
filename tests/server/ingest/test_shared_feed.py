"""Watchers of servers that share a database."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from spacelink_server.ingest import shared_feed
from spacelink_server.ingest.live import Watcher
from spacelink_server.ingest.shared_feed import SharedFeed
from spacelink_server.storage import tail
from spacelink_server.storage.postgres import PostgresStore
from spacelink_server.storage.store import CommitGroup, StoreUnavailableError, Submission
from tests.server.samples import segment
from tests.server.waiting import WAIT_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from spacelink_server.storage.segments import Segment

TENANT = "acme"


@pytest.fixture
def stores(database: str) -> Iterator[list[PostgresStore]]:
    """Give the stores of two servers."""
    stores = [PostgresStore(database) for _ in range(2)]
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
async def feed(stores: list[PostgresStore]) -> AsyncIterator[SharedFeed]:
    """Give the first server's feed."""
    assert stores[0].tail is not None
    with ThreadPoolExecutor(2) as readers:
        feed = SharedFeed(stores[0].tail, readers)
        running = asyncio.create_task(feed.run())
        yield feed
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def commit(store: PostgresStore, *segments: Segment, tenant_id: str = TENANT) -> None:
    store.commit(CommitGroup(submissions=[Submission(tenant_id, "", [*segments])]))


async def take(watcher: Watcher, count: int) -> list[Segment]:
    async with asyncio.timeout(WAIT_SECONDS):
        return [await anext(watcher) for _ in range(count)]


async def test_watchers_see_what_any_server_commits(feed: SharedFeed, stores: list[PostgresStore]) -> None:
    commit(stores[1], segment("a", 0))
    # What was committed so shortly before may still be seen.
    await asyncio.sleep(tail._MARGIN_NANOS / 1e9)
    watcher, other = Watcher(TENANT, []), Watcher("other", [])
    await feed.add(watcher)
    await feed.add(other)
    for number in (1, 2, 3):
        commit(stores[number % 2], segment("a", number))
        assert await take(watcher, 1) == [segment("a", number)]
    commit(stores[1], segment("b"), tenant_id="other")
    assert await take(other, 1) == [segment("b")]
    commit(stores[0], segment("a", 4))
    assert await take(watcher, 1) == [segment("a", 4)]
    assert watcher.take_lost() == 0


async def test_only_the_devices_that_are_watched(feed: SharedFeed, stores: list[PostgresStore]) -> None:
    one, both = Watcher(TENANT, ["a"]), Watcher(TENANT, ["a", "b"])
    await feed.add(one)
    await feed.add(both)
    commit(stores[1], segment("c"), segment("b"), segment("a"))
    assert await take(both, 2) == [segment("b"), segment("a")]
    assert await take(one, 1) == [segment("a")]


async def test_transactions_end_out_of_order(
    feed: SharedFeed, stores: list[PostgresStore], database: str
) -> None:
    """One that began first is committed long after others were seen."""
    watcher = Watcher(TENANT, [])
    await feed.add(watcher)
    with psycopg.connect(database, application_name=tail.COMMITTING) as slow:
        row = slow.execute("SELECT (extract(epoch FROM now()) * 1000000)::bigint * 1000").fetchone()
        assert row is not None
        late = segment("a", 9)
        values = (TENANT, late.device_id, late.first_time, row[0], late.last_time, 1, late.payload)
        slow.execute("INSERT INTO telemetry_segments VALUES (%s, %s, %s, %s, %s, %s, %s)", values)
        for number in range(3):
            commit(stores[1], segment("a", number))
            assert await take(watcher, 1) == [segment("a", number)]
    assert await take(watcher, 1) == [late]
    commit(stores[1], segment("a", 4))
    # Neither that one nor what came before it is seen a second time.
    assert await take(watcher, 1) == [segment("a", 4)]
    assert watcher.take_lost() == 0


async def test_more_than_a_watcher_can_take_is_lost_and_counted(
    feed: SharedFeed, stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [segment("a", number) for number in range(20)]
    monkeypatch.setattr(shared_feed, "MAX_LAG_BYTES", 3 * len(segments[0].payload))
    watcher, other = Watcher(TENANT, ["a"]), Watcher(TENANT, ["b"])
    await feed.add(watcher)
    await feed.add(other)
    commit(stores[1], *segments)
    assert await take(watcher, 3) == segments[-3:]
    assert (watcher.take_lost(), other.take_lost()) == (17, 0)


async def test_more_arrive_than_are_read_at_once(
    feed: SharedFeed, stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tail, shared_feed):
        monkeypatch.setattr(module, "MOST_ARRIVALS", 4)
    watcher = Watcher(TENANT, [])
    await feed.add(watcher)
    segments = [segment("a", number) for number in range(10)]
    commit(stores[1], *segments)
    assert await take(watcher, 10) == segments
    assert watcher.take_lost() == 0


async def test_nobody_asks_when_nobody_watches(
    feed: SharedFeed, stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    horizon = stores[0].tail.horizon  # type: ignore[union-attr]

    def count() -> int:
        asked.append(1)
        return horizon()

    monkeypatch.setattr(stores[0].tail, "horizon", count)
    watcher = Watcher(TENANT, [])
    await feed.add(watcher)
    await until(lambda: len(asked) > 3)
    feed.remove(watcher)
    await until(lambda: not feed._watched.is_set())
    before = len(asked)
    await asyncio.sleep(3 * shared_feed._POLL_SECONDS)
    assert len(asked) == before
    again = Watcher(TENANT, [])
    await feed.add(again)
    commit(stores[1], segment("a"))
    assert await take(again, 1) == [segment("a")]


async def test_a_store_that_fails_for_a_while(
    feed: SharedFeed, stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        failed.append(1)
        raise StoreUnavailableError("gone")

    failed: list[int] = []
    watcher = Watcher(TENANT, [])
    await feed.add(watcher)
    with monkeypatch.context() as patch:
        patch.setattr(stores[0].tail, "arrivals", fail)
        patch.setattr(stores[0].tail, "horizon", fail)
        with pytest.raises(StoreUnavailableError):
            await feed.add(Watcher("other", []))
        commit(stores[1], segment("a"))
        await until(lambda: len(failed) > 2)
    assert await take(watcher, 1) == [segment("a")]
