"""SubmitTelemetry: each request_id stores once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from tests.e2e.batches import HOUR, START, make_batch, stored_samples
from tests.e2e.calls import failure, query, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer


async def test_answers_how_many_samples_are_stored(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    assert await submit(channel, make_batch(device_id, count=12), device_id) == 12
    assert stored_samples(server.data_dir)[device_id] == 12
    (batch,) = await query(channel, device_id)
    assert batch == make_batch(device_id, count=12)


async def test_same_request_again(channel: grpc.aio.Channel, server: ServerProcess, device_id: str) -> None:
    for _ in range(3):
        assert await submit(channel, make_batch(device_id), device_id) == 3
    assert stored_samples(server.data_dir)[device_id] == 3


async def test_same_request_id_for_another_batch(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    """An answer of OK would say that the other batch is stored."""
    await submit(channel, make_batch(device_id), device_id)
    for other in (make_batch(device_id, START + HOUR), make_batch(f"{device_id}-2")):
        error = await failure(submit(channel, other, device_id))
        assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert error.message.startswith("request_id: ")
    assert await submit(channel, make_batch(device_id), device_id) == 3
    assert stored_samples(server.data_dir)[device_id] == 3


async def test_same_request_many_times_at_once(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    calls = [submit(channel, make_batch(device_id), device_id) for _ in range(50)]
    assert await asyncio.gather(*calls) == [3] * 50
    assert stored_samples(server.data_dir)[device_id] == 3


async def test_each_call_without_a_request_id_stores(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    for _ in range(2):
        await submit(channel, make_batch(device_id))
    assert stored_samples(server.data_dir)[device_id] == 6


async def test_other_request_ids_store(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    await submit(channel, make_batch(device_id), device_id)
    await submit(channel, make_batch(device_id), f"{device_id}+")
    assert stored_samples(server.data_dir)[device_id] == 6


async def test_refused_batch_does_not_use_up_its_request_id(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    error = await failure(submit(channel, make_batch(device_id, latency=-1), device_id))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    await submit(channel, make_batch(device_id), device_id)
    assert stored_samples(server.data_dir)[device_id] == 3


async def test_request_ids_and_stream_ids_do_not_meet(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    producer = await Producer.open(channel, device_id)
    await submit(channel, make_batch(device_id), device_id)
    await producer.send(1, make_batch(device_id, START + HOUR))
    assert await producer.close() == 1
    assert stored_samples(server.data_dir)[device_id] == 6


async def test_across_kill_and_restart(tmp_path: Path, servers: StartServer) -> None:
    """Calls whose fate is not known are repeated; each is stored once."""
    first_server = servers(tmp_path)
    batches = [make_batch(f"d-{index}", count=200) for index in range(300)]

    async def submit_all(server: ServerProcess) -> list[int | BaseException]:
        async with server.channel() as channel:
            calls = [submit(channel, batch, f"r-{batch.device_id}") for batch in batches]
            tasks = [asyncio.create_task(call) for call in calls]
            if server is first_server:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                server.kill()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first = await submit_all(first_server)
    acked = {batch.device_id for batch, result in zip(batches, first, strict=True) if result == 200}
    assert acked
    assert len(acked) < len(batches), "the kill must land while calls are under way"
    assert acked <= set(stored_samples(tmp_path))

    again = servers(tmp_path)
    assert await submit_all(again) == [200] * len(batches)
    assert stored_samples(tmp_path) == {batch.device_id: 200 for batch in batches}
