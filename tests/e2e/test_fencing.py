"""Two streams with one stream_id: the newer one takes over."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from tests.conftest import ServerProcess
from tests.e2e.batches import START, make_batch, stored_samples, times_of
from tests.e2e.calls import failure, query
from tests.e2e.producer import Producer


async def test_newer_stream_fences_the_older(channel: grpc.aio.Channel, device_id: str) -> None:
    older = await Producer.open(channel, device_id)
    await older.send(1, make_batch(device_id))
    await older.acked(1)

    newer = await Producer.open(channel, device_id)
    error = await failure(older.to_end())
    assert error.code is grpc.StatusCode.ABORTED
    assert error.reason == "STREAM_FENCED"

    assert newer.committed == 1
    await newer.send(2, make_batch(device_id, START + 100))
    assert await newer.acked(2) == []
    assert await newer.close() == 0


async def test_batch_resent_on_both_streams_is_stored_once(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    batch = make_batch(device_id, count=7)
    older = await Producer.open(channel, device_id)
    await older.send(1, batch)
    # Not waiting for the ack: the batch may still be queued when the newer
    # stream opens.
    newer = await Producer.open(channel, device_id)
    await older.send(1, batch)
    await newer.send(1, batch)
    assert await newer.acked(1) == []
    await failure(older.to_end())

    assert stored_samples(server.data_dir)[device_id] == 7
    assert times_of(await query(channel, device_id)) == list(batch.time_unix_nano)


async def test_of_many_racing_streams_one_stays(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    """Each opens the stream_id and sends the same ten batches; all but one are fenced."""
    batches = [make_batch(device_id, START + 10**12 * index, count=2) for index in range(10)]

    async def race() -> int:
        producer = await Producer.open(channel, device_id)
        for sequence in range(producer.committed + 1, len(batches) + 1):
            await producer.send(sequence, batches[sequence - 1])
        await producer.half_close()
        return await producer.to_end()

    results = await asyncio.gather(*[race() for _ in range(12)], return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    codes = {error.code() for error in errors if isinstance(error, grpc.aio.AioRpcError)}
    assert all(isinstance(error, grpc.aio.AioRpcError) for error in errors), errors
    assert codes <= {grpc.StatusCode.ABORTED}
    assert len(errors) < len(results)

    # The last to open had all of them committed, by itself or by another.
    last = await Producer.open(channel, device_id)
    assert last.committed == len(batches)
    assert stored_samples(server.data_dir)[device_id] == 20
    assert len(times_of(await query(channel, device_id))) == 20


async def test_streams_with_other_ids_do_not_fence(channel: grpc.aio.Channel, device_id: str) -> None:
    streams = [await Producer.open(channel, f"{device_id}/{index}") for index in range(3)]
    for index, producer in enumerate(streams):
        await producer.send(1, make_batch(device_id, START + 10**12 * index))
        assert await producer.acked(1) == []
    assert [await producer.close() for producer in streams] == [0, 0, 0]
    assert len(times_of(await query(channel, device_id))) == 9
