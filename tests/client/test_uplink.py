from __future__ import annotations

import asyncio
import logging
from itertools import repeat
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo

from spacelink import SpaceLinkClient
from spacelink._channel import open_channel
from spacelink._credentials import credentials
from spacelink.columns import TelemetryColumns
from spacelink.errors import AbortedError, InternalError, PermissionDeniedError, UnavailableError
from spacelink.uplink import Batch, Dropped, Uplink
from spacelink.v1.telemetry_pb2 import IngestDrain, IngestResponse
from tests.client.scripted import START, MemorySource, ScriptedServer, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer


async def test_delivers_everything_in_order_and_ends(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    seen: list[Any] = []

    async def scene(stage: Stage) -> None:
        seen.append(await stage.start())
        seen.append(await stage.rest())

    scripted.scenes = [scene]
    source = MemorySource(20)
    await Uplink(channel, source).run()
    assert seen == ["stream", list(range(1, 21))]
    assert source.acked_through == 20


@pytest.mark.parametrize(("own", "servers"), [(3, 64), (64, 3)])
async def test_window_is_the_smaller_one(
    scripted: ScriptedServer, channel: grpc.aio.Channel, own: int, servers: int
) -> None:
    async def scene(stage: Stage) -> None:
        await stage.start(window=servers)
        assert await stage.batches(3) == [1, 2, 3]
        await stage.ack(2)
        assert await stage.batches(2) == [4, 5]
        await stage.ack(5)
        await stage.rest()

    scripted.scenes = [scene]
    source = MemorySource(20)
    await Uplink(channel, source, window=own).run()
    assert source.most_in_flight == 3


@pytest.mark.usefixtures("no_backoff")
async def test_broken_stream_goes_on_after_the_servers_cursor(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    seen: list[list[int]] = []

    async def breaks(stage: Stage) -> None:
        await stage.start()
        seen.append(await stage.batches(5))
        await stage.ack(2)
        await stage.fail(grpc.StatusCode.UNAVAILABLE, "")

    async def goes_on(stage: Stage) -> None:
        await stage.start(committed=4)
        seen.append(await stage.rest())

    scripted.scenes = [breaks, goes_on]
    source = MemorySource(8)
    await Uplink(channel, source).run()
    assert seen == [[1, 2, 3, 4, 5], [5, 6, 7, 8]]
    assert source.resumed == [0, 4]


@pytest.mark.usefixtures("endless_backoff")
async def test_delay_of_the_server_wins(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    async def refuses(stage: Stage) -> None:
        delay = Duration()
        delay.FromMilliseconds(1)
        await stage.fail(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", RetryInfo(retry_delay=delay))

    async def takes(stage: Stage) -> None:
        await stage.start()
        await stage.rest()

    scripted.scenes = [refuses, takes]
    source = MemorySource(3)
    await Uplink(channel, source).run()
    assert source.acked_through == 3


@pytest.mark.usefixtures("no_backoff")
async def test_drain_stops_sending_and_reopens(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    seen: list[list[int]] = []

    async def drains(stage: Stage) -> None:
        await stage.start(window=4)
        received = await stage.batches(4)
        await stage.write(IngestResponse(drain=IngestDrain()))
        # The client closes its side while the window is full, and reads on.
        assert await stage.read() is None
        seen.append(received)
        await stage.ack(4)

    async def goes_on(stage: Stage) -> None:
        await stage.start(committed=4)
        seen.append(await stage.rest())

    scripted.scenes = [drains, goes_on]
    source = MemorySource(7)
    await Uplink(channel, source).run()
    assert seen == [[1, 2, 3, 4], [5, 6, 7]]


@pytest.mark.usefixtures("no_backoff")
async def test_drain_while_there_is_nothing_to_send(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    source = MemorySource(2)
    source.ended.clear()

    async def drains(stage: Stage) -> None:
        await stage.start()
        await stage.batches(2)
        await stage.ack(2)
        await stage.write(IngestResponse(drain=IngestDrain()))
        assert await stage.read() is None

    async def ends(stage: Stage) -> None:
        await stage.start(committed=2)
        source.ended.set()
        assert await stage.rest() == []

    scripted.scenes = [drains, ends]
    await Uplink(channel, source).run()
    assert source.acked_through == 2


@pytest.mark.usefixtures("no_backoff")
async def test_sequence_gap_is_settled_by_opening_anew(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    async def gap(stage: Stage) -> None:
        await stage.start()
        await stage.fail(grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_GAP")

    async def takes(stage: Stage) -> None:
        await stage.start()
        await stage.rest()

    scripted.scenes = [gap, takes]
    source = MemorySource(3)
    await Uplink(channel, source).run()
    assert source.acked_through == 3


@pytest.mark.usefixtures("no_backoff")
async def test_stream_that_ends_early_is_opened_anew(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    async def ends_at_once(stage: Stage) -> None:
        pass

    async def ends_after_one(stage: Stage) -> None:
        await stage.start()
        await stage.batches(1)
        await stage.ack(1)

    async def takes(stage: Stage) -> None:
        await stage.start(committed=1)
        await stage.rest()

    scripted.scenes = [ends_at_once, ends_after_one, takes]
    source = MemorySource(3)
    await Uplink(channel, source).run()
    assert source.resumed == [0, 1]


async def test_dropped_batches_are_told(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    seen: list[Any] = []

    async def scene(stage: Stage) -> None:
        await stage.start()
        seen.append(await stage.batches(1))
        request = await stage.read()
        assert request is not None
        seen.append((request.dropped.first_sequence, request.dropped.last_sequence))
        seen.append(request.dropped.sample_count)
        await stage.ack(5)
        seen.append(await stage.rest())

    scripted.scenes = [scene]
    source = MemorySource(7)
    source.items[1:5] = [Dropped(2, 5, 240)]
    await Uplink(channel, source).run()
    assert seen == [[1], (2, 5), 240, [6, 7]]


async def test_source_may_take_another_name(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    names: list[str] = []

    async def scene(stage: Stage) -> None:
        await stage.start(names=names)
        await stage.rest()

    scripted.scenes = [scene, scene]
    source = MemorySource(3)
    source.renamed = "other"
    await Uplink(channel, source).run()
    assert names == ["stream", "other"]
    assert source.acked_through == 3


async def test_refusal_is_raised(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    async def refuses(stage: Stage) -> None:
        await stage.fail(grpc.StatusCode.PERMISSION_DENIED, "DEVICE_NOT_ALLOWED")

    scripted.scenes = [refuses]
    with pytest.raises(PermissionDeniedError, match="told so") as raised:
        await Uplink(channel, MemorySource(1)).run()
    assert raised.value.reason == "DEVICE_NOT_ALLOWED"


async def test_ack_of_what_was_not_sent_is_an_error(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    async def lies(stage: Stage) -> None:
        await stage.start()
        await stage.batches(1)
        await stage.ack(9)
        await stage.rest()

    scripted.scenes = [lies]
    with pytest.raises(InternalError, match="acked 9, the last sent is 1"):
        await Uplink(channel, MemorySource(1)).run()


async def test_failure_of_the_source_ends_the_call(
    scripted: ScriptedServer, channel: grpc.aio.Channel
) -> None:
    left = asyncio.Event()

    class FailingSource(MemorySource):
        def next_after(self, sequence: int) -> Batch | Dropped | None:
            if sequence == 2:
                raise OSError("the disk is gone")
            return super().next_after(sequence)

    async def scene(stage: Stage) -> None:
        try:
            await stage.start()
            await stage.rest()
        finally:
            left.set()

    scripted.scenes = [scene]
    with pytest.raises(OSError, match="the disk is gone"):
        await Uplink(channel, FailingSource(5)).run()
    await asyncio.wait_for(left.wait(), 10)


async def test_patience_ends(unused_address: str) -> None:
    async with open_channel(unused_address) as channel:
        with pytest.raises(UnavailableError):
            await Uplink(channel, MemorySource(1), patience=0.0).run()


async def test_close_delivers_what_is_left(
    scripted: ScriptedServer, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spacelink.uplink.backoff_delays", lambda: repeat(1e6))
    waiting = asyncio.Event()
    source = MemorySource(3)
    source.ended.clear()

    async def breaks(stage: Stage) -> None:
        await stage.start()
        await stage.fail(grpc.StatusCode.UNAVAILABLE, "")

    async def takes(stage: Stage) -> None:
        await stage.start()
        await stage.rest()

    class Waits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.set()

    handler = Waits(logging.WARNING)
    logging.getLogger("spacelink.uplink").addHandler(handler)
    scripted.scenes = [breaks, takes]
    uplink = Uplink(channel, source)
    running = asyncio.ensure_future(uplink.run())
    await waiting.wait()
    logging.getLogger("spacelink.uplink").removeHandler(handler)
    # It is in the middle of a delay of days, which close ends.
    source.ended.set()
    assert await uplink.close(30) is True
    await running
    assert source.acked_through == 3


async def test_close_gives_up_in_time(unused_address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with open_channel(unused_address) as channel:
        uplink = Uplink(channel, MemorySource(1))
        running = asyncio.ensure_future(uplink.run())
        await asyncio.sleep(0)
        # Enough for some attempts, which announce no other ones.
        assert await uplink.close(0.5) is False
        await running
    assert "next attempt" not in caplog.text


async def test_cancelled_run_ends_the_call(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    open_call, left = asyncio.Event(), asyncio.Event()
    source = MemorySource(0)
    source.ended.clear()

    async def scene(stage: Stage) -> None:
        try:
            await stage.start()
            open_call.set()
            await stage.rest()
        finally:
            left.set()

    scripted.scenes = [scene]
    running = asyncio.ensure_future(Uplink(channel, source).run())
    await open_call.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(left.wait(), 10)


@pytest.fixture
async def unused_address() -> AsyncIterator[str]:
    """Give an address that is taken, but not listened to."""
    async with asyncio.timeout(30):
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, start_serving=False)
        host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    await server.wait_closed()


def _uplink(server: ServerProcess, channel: grpc.aio.Channel, source: MemorySource, **options: Any) -> Uplink:
    return Uplink(channel, source, credentials=credentials(token=server.token), **options)


def _stored(server: ServerProcess, device_id: str) -> list[float]:
    with SpaceLinkClient(server.address, token=server.token) as client:
        columns: TelemetryColumns = client.query_telemetry(device_id, as_columns=True)[device_id]
    return [float(value) for value in columns.metrics["latency_ms"]]


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
async def test_server_stores_what_is_delivered(
    server: ServerProcess, device_id: str, compression: grpc.Compression | None
) -> None:
    async with open_channel(server.address) as channel:
        source = MemorySource(200, device_id=device_id, stream_id=device_id)
        await _uplink(server, channel, source, compression=compression).run()
    assert _stored(server, device_id) == list(range(1, 201))


async def test_server_rejects_poison_and_takes_the_rest(server: ServerProcess, device_id: str) -> None:
    async with open_channel(server.address) as channel:
        source = MemorySource(5, device_id=device_id, stream_id=device_id)
        poison = TelemetryColumns.from_arrays(device_id, [START], packet_loss_percent=[101])
        source.items[2] = Batch(3, poison.encode())
        await _uplink(server, channel, source).run()
    assert [(batch.sequence, batch.reason) for batch in source.rejected] == [(3, "VALUE_OUT_OF_RANGE")]
    assert _stored(server, device_id) == [1, 2, 4, 5]


async def test_newer_stream_fences_the_older(server: ServerProcess, device_id: str) -> None:
    async with open_channel(server.address) as first_channel, open_channel(server.address) as second_channel:
        first, second = (MemorySource(count, device_id=device_id, stream_id=device_id) for count in (2, 3))
        first.ended.clear()
        older = asyncio.ensure_future(_uplink(server, first_channel, first).run())
        async with asyncio.timeout(30):
            while first.acked_through < 2:
                await asyncio.sleep(0.01)
        await _uplink(server, second_channel, second).run()
        with pytest.raises(AbortedError) as raised:
            await older
    assert raised.value.reason == "STREAM_FENCED"
    assert second.resumed == [2]
    assert _stored(server, device_id) == [1, 2, 3]


@pytest.mark.usefixtures("no_backoff")
async def test_killed_server_gets_each_batch_once(
    servers: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spacelink.uplink.backoff_delays", lambda: repeat(0.1))
    running = servers(tmp_path / "server")
    async with open_channel(running.address) as channel:
        source = MemorySource(3000)
        delivering = asyncio.ensure_future(_uplink(running, channel, source, window=8).run())
        async with asyncio.timeout(60):
            while source.acked_through < 100:
                await asyncio.sleep(0.001)
        running.kill()
        assert not delivering.done()
        await asyncio.to_thread(servers, tmp_path / "server", listen=running.address)
        await asyncio.wait_for(delivering, 60)
    assert len(source.resumed) >= 2
    assert _stored(running, "dish") == list(range(1, 3001))
