from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from spacelink_server.ingest import committer as module
from spacelink_server.ingest.committer import Committer
from spacelink_server.ingest.live import LiveFeed, Watcher
from spacelink_server.storage.store import (
    Rejection,
    StoreUnavailableError,
    StreamAdvance,
    StreamKey,
    StreamPosition,
    Submission,
    Submitted,
)
from tests.server.faults import FaultyStore
from tests.server.samples import T0, batch, parsed, segment
from tests.server.stored import stored_segments
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from spacelink.v1.telemetry_pb2 import TelemetryBatch
    from spacelink_server.storage.segments import AnySegment, Segment

TENANT = "t"
QUEUE_BYTES = 10_000
MB = 1024 * 1024


class Listener:
    """Notes what a stream is told."""

    def __init__(self, stream_id: str, epoch: int = 1) -> None:
        self.tenant_id = TENANT
        self.stream_id = stream_id
        self.epoch = epoch
        self.heard: list[str | int] = []

    def rejected(self, rejection: Rejection) -> None:
        self.heard.append(f"{rejection.reason} {rejection.sequence}")

    def committed(self, sequence: int) -> None:
        self.heard.append(sequence)

    def fenced(self) -> None:
        self.heard.append("fenced")

    def failed(self) -> None:
        self.heard.append("failed")


class Harness:
    """A running committer on a store with faults on demand."""

    def __init__(self, directory: Path) -> None:
        self.store = FaultyStore(directory)
        self.feed = LiveFeed()
        self.health: list[bool] = []
        self.writer = ThreadPoolExecutor(1)
        self.committer = Committer(self.store, self.writer, self.feed, QUEUE_BYTES, self._note_health)
        self.running = asyncio.create_task(self.committer.run())

    async def _note_health(self, healthy: bool) -> None:
        self.health.append(healthy)
        # Others run meanwhile, as they do when the health service is told.
        await asyncio.sleep(0)

    def has_room(self) -> bool:
        return self.committer.has_room

    async def stop(self) -> None:
        self.store.gate.set()
        self.committer.close()
        await self.running
        self.writer.shutdown()
        self.store.close()

    async def open(self, stream_id: str) -> Listener:
        position = await self.committer.open_stream(StreamKey(TENANT, stream_id))
        return Listener(stream_id, position.epoch)

    def send(self, listener: Listener, sequence: int, sent: Segment | None = None, *, size: int = 1) -> None:
        self.committer.advance(listener, sequence, sequence, sent and parsed(sent.payload), size)

    def advance(self, listener: Listener, sequence: int, sent: TelemetryBatch) -> None:
        self.committer.advance(listener, sequence, sequence, parsed(sent.SerializeToString()), 1)

    async def hold(self) -> None:
        """Have a commit under way that does not come to its end."""
        self.store.gate.clear()
        self.store.groups.clear()
        self.send(await self.opened_before("held"), 1)
        await self.store.reached(1)

    async def opened_before(self, stream_id: str) -> Listener:
        self.store.gate.set()
        listener = await self.open(stream_id)
        self.store.gate.clear()
        self.store.groups.clear()
        return listener

    def stored(self, device_id: str) -> list[AnySegment]:
        return stored_segments(self.store, TENANT, device_id)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    await harness.stop()


# Groups


async def test_an_ack_comes_after_the_commit(harness: Harness) -> None:
    listener = await harness.open("s")
    harness.store.gate.clear()
    one = segment("a")
    harness.send(listener, 1, one)
    await harness.store.reached(2)
    assert listener.heard == []
    assert harness.stored("a") == []
    harness.store.gate.set()
    await until(lambda: listener.heard)
    assert listener.heard == [1]
    assert harness.stored("a") == [one]


async def test_a_batch_that_cannot_be_stored_takes_nothing_else_of_its_group_along(harness: Harness) -> None:
    listener, other = await harness.open("s"), await harness.open("o")
    wrong = batch("a", offsets=[1], latency_ms=[-1.0])
    await harness.hold()
    harness.send(listener, 1, segment("a"))
    harness.send(other, 1, segment("b"))
    harness.advance(listener, 2, wrong)
    harness.send(listener, 3, segment("a", 2))
    assert listener.heard == other.heard == []
    harness.store.gate.set()
    await until(lambda: listener.heard[-1:] == [3] and other.heard)
    assert listener.heard == ["VALUE_OUT_OF_RANGE 2", 3]
    assert other.heard == [1]
    assert [each.first_time for each in harness.stored("a")] == [T0, segment("a", 2).first_time]
    position = await harness.committer.open_stream(StreamKey(TENANT, "s"))
    assert [(each.sequence, each.reason) for each in position.rejected] == [(2, "VALUE_OUT_OF_RANGE")]


async def test_what_gathers_during_a_commit_is_one_group(harness: Harness) -> None:
    listeners = [await harness.open(f"s{number}") for number in range(3)]
    await harness.hold()
    for sequence in range(1, 5):
        for listener in listeners:
            harness.send(listener, sequence, segment(listener.stream_id, sequence))
    submitting = asyncio.create_task(harness.committer.submit(Submission(TENANT, "r", [segment("r")]), 1))
    opening = asyncio.create_task(harness.committer.open_stream(StreamKey(TENANT, "new")))
    await asyncio.sleep(0)
    harness.store.gate.set()
    assert await submitting
    assert await opening == StreamPosition(1, 0)
    await until(lambda: listeners[-1].heard)
    assert len(harness.store.groups) == 2
    group = harness.store.groups[1]
    assert [(a.stream_id, a.expected, a.sequence, len(a.segments)) for a in group.advances] == [
        ("s0", 0, 4, 4),
        ("s1", 0, 4, 4),
        ("s2", 0, 4, 4),
    ]
    assert [listener.heard for listener in listeners] == [[4], [4], [4]]
    for listener in listeners:
        assert len(harness.stored(listener.stream_id)) == 4


async def test_several_sequences_at_once(harness: Harness) -> None:
    listener = await harness.open("s")
    harness.committer.advance(listener, 1, 10, None, 0)
    harness.send(listener, 11, segment("a"))
    await until(lambda: 11 in listener.heard)
    assert await harness.committer.open_stream(StreamKey(TENANT, "s")) == StreamPosition(2, 11)


async def test_groups_are_bounded(harness: Harness) -> None:
    listener = await harness.open("s")
    await harness.hold()
    for sequence in range(1, 11):
        harness.send(listener, sequence, segment("a", sequence), size=3 * MB)
    harness.store.gate.set()
    await until(lambda: 10 in listener.heard)
    sizes = [len(advance.segments) for group in harness.store.groups[1:] for advance in group.advances]
    assert sizes == [3, 3, 3, 1]
    assert listener.heard == [3, 6, 9, 10]


async def test_watchers_see_what_is_committed_and_nothing_else(harness: Harness) -> None:
    listener, stale = await harness.open("s"), await harness.open("stale")
    await harness.open("stale")
    watcher = Watcher(TENANT, [])
    await harness.feed.add(watcher)
    repeat = Submission(TENANT, "r", [segment("a", 2)])
    await harness.hold()
    harness.send(stale, 1, segment("a", 0))
    harness.send(listener, 1, segment("a", 1))
    submissions = [asyncio.create_task(harness.committer.submit(repeat, 1)) for _ in range(2)]
    await asyncio.sleep(0)
    harness.store.gate.set()
    assert [await submission for submission in submissions] == [Submitted.STORED, Submitted.REPEATED]
    harness.send(listener, 2, segment("a", 3))
    seen = [await anext(watcher) for _ in range(3)]
    assert seen == [segment("a", 1), segment("a", 2), segment("a", 3)]


# Fencing


async def test_a_fenced_stream_is_told_once_and_what_follows_is_dropped(harness: Harness) -> None:
    older = await harness.open("s")
    newer = await harness.open("s")
    other = await harness.open("other")
    await harness.hold()
    # So large that what follows is not in the group that is fenced.
    harness.send(older, 1, segment("a"), size=9 * MB)
    for sequence in (2, 3):
        harness.send(older, sequence, segment("a", sequence))
        harness.send(other, sequence - 1, segment("o", sequence))
    harness.send(newer, 1, segment("n"))
    harness.store.gate.set()
    await until(lambda: newer.heard and other.heard)
    assert older.heard == ["fenced"]
    assert newer.heard == [1]
    assert other.heard == [2]
    assert harness.stored("a") == []
    assert len(harness.stored("o")) == 2
    given = [advance.stream_id for group in harness.store.groups for advance in group.advances]
    assert given == ["held", "s", "other", "s"]


async def test_an_open_behind_queued_batches_counts_them(harness: Harness) -> None:
    listener = await harness.open("s")
    await harness.hold()
    harness.send(listener, 1, segment("a"))
    opening = asyncio.create_task(harness.committer.open_stream(StreamKey(TENANT, "s")))
    await asyncio.sleep(0)
    harness.store.gate.set()
    assert await opening == StreamPosition(2, 1)
    assert listener.heard == [1]
    harness.send(listener, 2, segment("a", 2))
    await until(lambda: "fenced" in listener.heard)


# Back-pressure


async def test_room(harness: Harness) -> None:
    listener = await harness.open("s")
    await harness.hold()
    # What is being committed counts until it is done.
    harness.send(listener, 1, size=QUEUE_BYTES - 2)
    assert harness.has_room()
    harness.send(listener, 2, size=1)
    assert not harness.has_room()
    waiting = asyncio.create_task(harness.committer.room())
    submitting = asyncio.create_task(harness.committer.submit(Submission(TENANT, "", [segment("a")]), 1))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    assert harness.stored("a") == []
    harness.store.gate.set()
    await waiting
    assert await submitting
    assert harness.has_room()
    # It waited outside of the queue, or it would be in the group before.
    assert [len(group.submissions) for group in harness.store.groups] == [0, 0, 1]


@pytest.mark.parametrize("loss", ["failed", "fenced"])
async def test_room_comes_back_after_a_loss(harness: Harness, loss: str) -> None:
    listener = await harness.open("s")
    if loss == "fenced":
        await harness.open("s")
    await harness.hold()
    for sequence in range(1, 4):
        harness.send(listener, sequence, segment("a"), size=9 * MB)
    assert not harness.has_room()
    if loss == "failed":
        harness.store.break_down()
    harness.store.gate.set()
    await until(lambda: loss in listener.heard)
    assert harness.has_room()
    harness.store.error = None
    # Full at the bound and not before: nothing is left counted.
    newer = await harness.open("s")
    await harness.hold()
    harness.send(newer, 1, size=QUEUE_BYTES - 2)
    assert harness.has_room()


# Faults


async def test_a_store_that_fails(harness: Harness) -> None:
    listener, other = await harness.open("s"), await harness.open("other")
    await harness.hold()
    harness.send(listener, 1, segment("a"), size=9 * MB)
    # These are in a later group, and follow what fails.
    harness.send(listener, 2, segment("a", 2))
    harness.send(other, 1, segment("o"))
    harness.store.break_down()
    harness.store.gate.set()
    await until(lambda: listener.heard and other.heard)
    assert listener.heard == ["failed"]
    assert other.heard == ["failed"]
    assert harness.health == [False]
    given = [(advance.stream_id, advance.sequence) for g in harness.store.groups for advance in g.advances]
    assert given == [("held", 1), ("s", 1), ("other", 1)]
    assert harness.stored("a") == harness.stored("o") == []


async def test_calls_hear_of_a_store_that_fails(harness: Harness) -> None:
    harness.store.break_down()
    with pytest.raises(StoreUnavailableError):
        await harness.committer.submit(Submission(TENANT, "r", [segment("a")]), 1)
    with pytest.raises(StoreUnavailableError):
        await harness.committer.open_stream(StreamKey(TENANT, "s"))
    harness.store.error = None
    assert await harness.committer.submit(Submission(TENANT, "r", [segment("a")]), 1)


async def test_any_error_of_the_store_is_survived(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    listener = await harness.open("s")
    harness.store.error = KeyError("a bug")
    harness.send(listener, 1, segment("a"))
    await until(lambda: listener.heard)
    assert listener.heard == ["failed"]
    assert harness.health == [False]
    assert "a bug" in caplog.text
    harness.store.error = None
    again = await harness.open("s")
    harness.send(again, 1, segment("a"))
    await until(lambda: again.heard)
    assert again.heard == [1]


async def test_health_comes_back_by_itself(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORE_RETRY_SECONDS", 0.001)
    watching = asyncio.create_task(harness.committer.watch_health())
    harness.store.break_down()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await harness.open("s")
    await until(lambda: harness.store.probed >= 3)
    assert harness.health == [False]
    harness.store.error = None
    await until(lambda: len(harness.health) == 2)
    assert harness.health == [False, True]
    probed = harness.store.probed
    await harness.open("s")
    await asyncio.sleep(0.02)
    assert harness.store.probed == probed, "a store that works need not be probed"
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def test_callers_may_go_away(harness: Harness) -> None:
    await harness.hold()
    submitting = asyncio.create_task(harness.committer.submit(Submission(TENANT, "r", [segment("a")]), 1))
    opening = asyncio.create_task(harness.committer.open_stream(StreamKey(TENANT, "s")))
    await asyncio.sleep(0)
    submitting.cancel()
    opening.cancel()
    harness.store.gate.set()
    assert await harness.committer.open_stream(StreamKey(TENANT, "s")) == StreamPosition(2, 0)
    assert len(harness.stored("a")) == 1, "what was queued is stored all the same"


async def test_callers_may_go_away_from_a_store_that_fails(harness: Harness) -> None:
    await harness.hold()
    opening = asyncio.create_task(harness.committer.open_stream(StreamKey(TENANT, "s")))
    await asyncio.sleep(0)
    opening.cancel()
    harness.store.break_down()
    harness.store.gate.set()
    await until(lambda: harness.health)
    harness.store.error = None
    await harness.open("s")


# Closing


async def test_close_commits_what_is_queued(harness: Harness) -> None:
    listener = await harness.open("s")
    await harness.hold()
    for sequence in range(1, 6):
        harness.send(listener, sequence, segment("a", sequence), size=9 * MB)
    harness.committer.close()
    harness.store.gate.set()
    await harness.running
    assert listener.heard == [1, 2, 3, 4, 5]
    assert len(harness.stored("a")) == 5


async def test_close_ends_a_committer_that_waits(harness: Harness) -> None:
    await harness.open("s")
    harness.committer.close()
    await harness.running


async def test_advances_say_what_must_be(harness: Harness) -> None:
    listener = await harness.open("s")
    one = segment("a")
    harness.committer.advance(listener, 1, 3, parsed(one.payload), 1)
    await until(lambda: listener.heard)
    assert harness.store.groups[-1].advances == [StreamAdvance(TENANT, "s", 1, 0, 3, [one])]


# Counts


async def test_what_is_committed_is_counted_once(harness: Harness) -> None:
    listener, stale = await harness.open("s"), await harness.open("stale")
    await harness.open("stale")
    counts = harness.committer.counts
    await harness.hold()
    before = counts.ack_seconds.cumulative()[-1]
    one, two = segment("a", 0), segment("a", 1)
    harness.send(listener, 1, one)
    harness.advance(listener, 2, batch("a", offsets=[2], latency_ms=[-1.0]))
    harness.committer.advance(listener, 3, 6, None, 0)
    harness.committer.advance(listener, 7, 7, None, 0, Rejection(7, "DEVICE_DENIED", "not this one"))
    harness.send(stale, 1, segment("b"))
    repeat = Submission(TENANT, "r", [two])
    submissions = [asyncio.create_task(harness.committer.submit(repeat, 1)) for _ in range(2)]
    await asyncio.sleep(0)
    assert counts.batches == 0
    harness.store.gate.set()
    await asyncio.gather(*submissions)
    await until(lambda: counts.ack_seconds.cumulative()[-1] >= before + 8)
    # Neither what is fenced nor what was stored before.
    assert (counts.batches, counts.samples) == (2, one.sample_count + two.sample_count)
    assert counts.payload_bytes == len(one.payload) + len(two.payload)
    # That of hold is dropped, too.
    assert counts.dropped == 1 + 4
    assert counts.rejected == {"VALUE_OUT_OF_RANGE": 1, "DEVICE_DENIED": 1}
    assert counts.failures == 0


async def test_commits_are_counted_by_their_size_and_time(harness: Harness) -> None:
    listener = await harness.open("s")
    await harness.hold()
    for sequence in range(1, 21):
        harness.send(listener, sequence, segment("a", sequence))
    harness.store.gate.set()
    counts = harness.committer.counts
    await until(lambda: counts.ack_seconds.cumulative()[-1] == 21)
    # Two streams opened, the batch of hold, and all that gathered behind it.
    sizes = dict(zip((*counts.group_sizes.bounds, "more"), counts.group_sizes.cumulative(), strict=True))
    assert sizes == {1: 3, 4: 3, 16: 3, 64: 4, 256: 4, 1024: 4, 4096: 4, "more": 4}
    assert counts.group_sizes.sum == 23
    assert counts.commit_seconds.cumulative()[-1] == 4
    # Batches waited for the commit before theirs, too.
    assert counts.ack_seconds.sum > counts.commit_seconds.sum > 0


async def test_commits_that_fail_are_counted(harness: Harness) -> None:
    listener = await harness.open("s")
    harness.store.break_down()
    harness.send(listener, 1, segment("a"))
    await until(lambda: listener.heard)
    counts = harness.committer.counts
    assert (counts.failures, counts.batches, harness.committer.queued_bytes) == (1, 0, 0)
    harness.store.error = None
