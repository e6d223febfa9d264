from __future__ import annotations

import asyncio
from typing import Any

from spacelink_server.ingest.registry import StreamRegistry
from spacelink_server.ingest.stream import IngestStream
from spacelink_server.ingest.validation import Limits


class Stream(IngestStream):
    """A stream without a call, that notes what it is told."""

    def __init__(self, stream_id: str, epoch: int, tenant_id: str = "t") -> None:
        nothing: Any = None
        super().__init__(tenant_id, nothing, nothing, nothing, nothing, Limits())
        self.stream_id = stream_id
        self.epoch = epoch
        self.heard: list[str] = []

    def fenced(self) -> None:
        self.heard.append("fenced")

    def drain(self) -> None:
        self.heard.append("drain")


async def test_a_newer_stream_fences_an_older_one() -> None:
    streams, older, newer = StreamRegistry(), Stream("s", 1), Stream("s", 2)
    streams.add(older)
    streams.add(newer)
    assert (older.heard, newer.heard) == (["fenced"], [])
    # The older one's end must not make the registry forget the newer one.
    streams.remove(older)
    newest = Stream("s", 3)
    streams.add(newest)
    assert newer.heard == ["fenced"]


async def test_an_older_stream_that_comes_late_is_fenced_itself() -> None:
    streams, older, newer = StreamRegistry(), Stream("s", 1), Stream("s", 2)
    streams.add(newer)
    streams.add(older)
    assert (older.heard, newer.heard) == (["fenced"], [])
    streams.remove(older)
    streams.add(Stream("s", 3))
    assert newer.heard == ["fenced"]


async def test_streams_of_other_names_and_tenants_stay() -> None:
    streams = StreamRegistry()
    others = [Stream("s", 1), Stream("S", 1), Stream("s", 1, "other")]
    for stream in others:
        streams.add(stream)
    assert [stream.heard for stream in others] == [[], [], []]


async def test_drain_waits_for_the_last_stream() -> None:
    streams, one, two = StreamRegistry(), Stream("a", 1), Stream("b", 1)
    streams.add(one)
    streams.add(two)
    draining = asyncio.create_task(streams.drain())
    await asyncio.sleep(0)
    assert streams.draining
    assert one.heard == two.heard == ["drain"]
    streams.remove(one)
    await asyncio.sleep(0)
    assert not draining.done()
    streams.remove(two)
    await draining


async def test_a_fenced_stream_that_has_not_ended_is_waited_for() -> None:
    streams, older, newer = StreamRegistry(), Stream("s", 1), Stream("s", 2)
    streams.add(older)
    streams.add(newer)
    streams.remove(newer)
    draining = asyncio.create_task(streams.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    streams.remove(older)
    await draining


async def test_a_stream_that_comes_during_the_drain_is_drained() -> None:
    streams, one, late = StreamRegistry(), Stream("a", 1), Stream("b", 1)
    streams.add(one)
    draining = asyncio.create_task(streams.drain())
    await asyncio.sleep(0)
    streams.add(late)
    assert late.heard == ["drain"]
    streams.remove(one)
    await asyncio.sleep(0)
    assert not draining.done()
    streams.remove(late)
    await draining


async def test_nothing_to_drain() -> None:
    streams = StreamRegistry()
    before = streams.draining
    await streams.drain()
    assert (before, streams.draining) == (False, True)
