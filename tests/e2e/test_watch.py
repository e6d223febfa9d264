"""Watching: batches of others as they are committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from spacelink.v1.telemetry_pb2 import WatchTelemetryRequest, WatchTelemetryResponse
from tests.e2e.batches import HOUR, START, make_batch, stored_samples, times_of
from tests.e2e.calls import assert_clean, stub, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from tests.conftest import ServerProcess


async def _watch(channel: grpc.aio.Channel, **fields: Any) -> Any:
    """Open a watch; from when this returns nothing is missed."""
    call = stub(channel).WatchTelemetry(WatchTelemetryRequest(**fields))
    await call.initial_metadata()
    return call


async def test_sees_batches_of_all_producers(channel: grpc.aio.Channel, device_id: str) -> None:
    watch = await _watch(channel)
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id))
    first: WatchTelemetryResponse = await watch.read()
    assert first.batch == make_batch(device_id)
    assert first.lost_batches == 0
    await submit(channel, make_batch(device_id, START + HOUR))
    second: WatchTelemetryResponse = await watch.read()
    assert times_of([second.batch]) == times_of([make_batch(device_id, START + HOUR)])
    watch.cancel()


async def test_sees_what_is_committed_and_only_once(channel: grpc.aio.Channel, device_id: str) -> None:
    """Neither rejected batches, nor repeats, nor calls with a request_id that was used."""
    watch = await _watch(channel, device_ids=[device_id])
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id, START))
    await producer.send(1, make_batch(device_id, START))
    await producer.send(2, make_batch(device_id, -1))
    await producer.send(3, make_batch(device_id, START + HOUR))
    await producer.acked(3)
    for _ in range(2):
        await submit(channel, make_batch(device_id, START + 2 * HOUR), device_id)
    await submit(channel, make_batch(device_id, START + 3 * HOUR))
    seen = [(await watch.read()).batch.time_unix_nano[0] for _ in range(4)]
    assert seen == [START + index * HOUR for index in range(4)]
    watch.cancel()


async def test_filters(channel: grpc.aio.Channel, device_id: str) -> None:
    one, other = f"{device_id}/1", f"{device_id}/2"
    by_device = await _watch(channel, device_ids=[one])
    by_metric = await _watch(channel, device_ids=[one, other], metrics=["power_w", "snr_db"])
    for name in (other, one):
        await submit(channel, make_batch(name))
    with_power = make_batch(other, START + HOUR)
    with_power.power_w.extend([50, 51, 52])
    with_power.extra.add(name="snr_db", values=[1, 2, 3])
    await submit(channel, with_power)
    await submit(channel, make_batch(one, START + HOUR))

    seen = [(await by_device.read()).batch for _ in range(2)]
    assert [batch.device_id for batch in seen] == [one, one]
    assert list(seen[0].latency_ms) == list(make_batch(one).latency_ms)
    # Batches without the metrics wanted are not sent.
    batch = (await by_metric.read()).batch
    assert (batch.device_id, list(batch.power_w)) == (other, [50, 51, 52])
    assert [(column.name, list(column.values)) for column in batch.extra] == [("snr_db", [1, 2, 3])]
    assert not batch.latency_ms
    assert not batch.status
    by_device.cancel()
    by_metric.cancel()


async def test_reader_that_stalls_loses_batches_and_is_told(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    """Ingest goes on past it, and what it gets and what it lost are all there was."""
    batches, samples = 1500, 500
    watch = await _watch(channel, device_ids=[device_id, f"{device_id}/end"])
    producer = await Producer.open(channel, device_id)

    async def send() -> None:
        for sequence in range(1, batches + 1):
            await producer.send(sequence, make_batch(device_id, START + HOUR * sequence, samples))

    # The watcher's call is open and nobody reads from it.
    await asyncio.gather(send(), producer.acked(batches))
    assert stored_samples(server.data_dir)[device_id] == batches * samples

    seen: list[int] = []
    lost = 0
    await submit(channel, make_batch(f"{device_id}/end"))
    while True:
        update = await watch.read()
        lost += update.lost_batches
        if update.batch.device_id != device_id:
            break
        seen.append(update.batch.time_unix_nano[0])
    assert lost > 0
    assert len(seen) + lost == batches
    assert seen == sorted(set(seen)), "in the order of the commits, none twice"
    assert seen[-1] == START + HOUR * batches, "the oldest are lost, not the newest"
    # Reading again, it loses no more.
    await submit(channel, make_batch(device_id, START))
    update = await watch.read()
    assert (update.lost_batches, update.batch.time_unix_nano[0]) == (0, START)
    watch.cancel()


async def test_watchers_that_come_and_go_leave_nothing(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    for _ in range(200):
        (await _watch(channel)).cancel()
    watch = await _watch(channel, device_ids=[device_id])
    await submit(channel, make_batch(device_id))
    assert (await watch.read()).batch.device_id == device_id
    watch.cancel()
    assert_clean(server.log)
