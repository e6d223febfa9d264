"""SIGTERM: streams are told, what was sent is committed and acked, the server leaves."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from spacelink.v1.telemetry_pb2 import TelemetryBatch, WatchTelemetryRequest
from tests.e2e.batches import HOUR, START, make_batch, stored_samples
from tests.e2e.calls import (
    NOT_SERVING,
    SERVING,
    assert_clean,
    eventually,
    failure,
    health,
    stub,
    submit,
)
from tests.e2e.producer import Producer, batch_message

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer

_STREAMS = 40
_SAMPLES = 50


@dataclass
class _Outcome:
    """What a stream saw of the drain."""

    sent: int = 0
    acked: int = 0
    drained: bool = False
    flowing: asyncio.Event = field(default_factory=asyncio.Event)


async def _produce(channel: grpc.aio.Channel, stream_id: str, outcome: _Outcome) -> None:
    """Send as fast as the server takes it until it says drain; then do as told."""
    producer = await Producer.open(channel, stream_id)

    async def send() -> None:
        while not outcome.drained:
            sequence = outcome.sent + 1
            await producer.send(sequence, make_batch(stream_id, START + HOUR * sequence, _SAMPLES))
            outcome.sent = sequence
        await producer.half_close()

    sending = asyncio.create_task(send())
    while (response := await producer.read()) is not None:
        if response.HasField("drain"):
            outcome.drained = True
        elif response.HasField("ack"):
            outcome.flowing.set()
            outcome.acked = response.ack.committed_sequence
    await sending


async def _terminate(server: ServerProcess) -> None:
    """Send SIGTERM and see that the server leaves without an error."""
    assert await asyncio.to_thread(server.terminate) == 0
    assert_clean(server.log)


async def test_sigterm_under_load(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    outcomes = {f"stream-{index}": _Outcome() for index in range(_STREAMS)}
    async with server.channel() as channel:
        producing = asyncio.gather(*[_produce(channel, *item) for item in outcomes.items()])
        for outcome in outcomes.values():
            await outcome.flowing.wait()
        await _terminate(server)
        await producing
    assert all(outcome.drained for outcome in outcomes.values())
    sent = {name: outcome.sent for name, outcome in outcomes.items()}
    assert {name: outcome.acked for name, outcome in outcomes.items()} == sent

    server = servers(tmp_path)
    assert stored_samples(tmp_path) == {name: batches * _SAMPLES for name, batches in sent.items()}
    async with server.channel() as channel:
        assert {name: (await Producer.open(channel, name)).committed for name in sent} == sent


async def test_everything_is_told_to_go(tmp_path: Path, servers: StartServer) -> None:
    """Health, watches and new calls while a stream holds the drain up."""
    server = servers(tmp_path)
    async with (
        server.channel() as channel,
        server.admin_channel() as admin,
    ):
        assert await health(channel) == SERVING
        assert await health(admin) == SERVING
        slow = await Producer.open(channel, "slow")
        watch = stub(channel).WatchTelemetry(WatchTelemetryRequest())
        await watch.initial_metadata()
        terminating = asyncio.create_task(_terminate(server))
        response = await slow.read()
        assert response is not None
        assert response.HasField("drain")

        async def is_not_serving() -> bool:
            return await health(channel) == NOT_SERVING == await health(admin)

        await eventually(is_not_serving)
        error = await failure(Producer.open(channel, "late"))
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert error.retry_delay
        # What is still sent before the producer closes is taken.
        await slow.send(1, make_batch("slow"))
        assert await slow.close() == 1
        update: Any = await watch.read()
        assert update.batch.device_id == "slow"
        error = await failure(watch.read())
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert error.retry_delay
        await terminating
    assert stored_samples(tmp_path) == {"slow": 3}


async def test_two_hundred_idle_streams(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    async with server.channel() as channel:
        streams = await asyncio.gather(*[Producer.open(channel, f"idle-{index}") for index in range(200)])
        terminating = asyncio.create_task(_terminate(server))

        async def leave(producer: Producer) -> None:
            response = await producer.read()
            assert response is not None
            assert response.HasField("drain")
            assert await producer.close() == 0

        await asyncio.gather(*map(leave, streams))
        await terminating


async def test_producers_that_ignore_the_drain(tmp_path: Path, servers: StartServer) -> None:
    """Ones that stay, one that never started, one that never reads: all are ended in order."""
    server = servers(tmp_path)
    async with (
        server.channel() as channel,
        server.channel(*_SMALL_BUFFERS) as stalled_channel,
    ):
        stalled = Producer(stalled_channel)
        await stalled.start("stalled")
        for sequence in range(1, 3000):
            await stalled.send_bytes(batch_message(sequence, _REJECTED))
        staying = [await Producer.open(channel, f"deaf-{index}") for index in range(5)]
        await staying[0].send(1, make_batch("deaf-0"))
        assert await staying[0].acked(1) == []
        unstarted = Producer(channel)
        await _terminate(server)
        assert [await producer.to_end() for producer in staying] == [0] * 5
        with pytest.raises(grpc.aio.AioRpcError):
            await unstarted.read()


# So that answers that are not read soon have nowhere to go.
_SMALL_BUFFERS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
# Its rejection is about as long as one can be.
_REJECTED = TelemetryBatch(device_id="d", time_unix_nano=[START])
_REJECTED.extra.add(name="m" * 64, values=[math.inf])


async def test_calls_under_way_are_finished(tmp_path: Path, servers: StartServer) -> None:
    """What a submit or a query began before SIGTERM comes to its end or fails clearly."""
    server = servers(tmp_path)
    async with server.channel() as channel:
        answers = [
            asyncio.create_task(submit(channel, make_batch(f"d-{index}", count=1000), f"r-{index}"))
            for index in range(200)
        ]
        await answers[0]
        await _terminate(server)
        results = await asyncio.gather(*answers, return_exceptions=True)
    accepted = {f"d-{index}" for index, result in enumerate(results) if result == 1000}
    codes = {result.code() for result in results if isinstance(result, grpc.aio.AioRpcError)}
    assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert len(accepted) + sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 200
    stored = stored_samples(tmp_path)
    assert accepted <= set(stored)
    assert set(stored.values()) == {1000}
