"""The Ingest stream's protocol: start, sequences, repeats, dropped batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from spacelink.v1.telemetry_pb2 import IngestRequest, TelemetryBatch
from tests.e2e.batches import HOUR, START, make_batch, stored_samples, times_of
from tests.e2e.calls import failure, query
from tests.e2e.producer import Producer, batch_message

if TYPE_CHECKING:
    from spacelink.errors import SpaceLinkError
    from tests.conftest import ServerProcess

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


async def _failure_after(producer: Producer, data: bytes) -> SpaceLinkError:
    await producer.send_bytes(data)
    return await failure(producer.to_end())


async def test_ready_tells_the_cursor_and_the_limits(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    assert producer.ready is not None
    assert producer.committed == 0
    assert producer.ready.max_unacked_batches > 0
    assert producer.ready.max_batch_samples >= 86_400
    assert 0 < producer.ready.max_batch_bytes < 8 * 1024 * 1024
    await producer.send(1, make_batch(device_id))
    await producer.send(2, make_batch(device_id, START + HOUR))
    assert await producer.close() == 2
    assert (await Producer.open(channel, device_id)).committed == 2


async def test_repeat_is_acked_and_stored_once(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    producer = await Producer.open(channel, device_id)
    for _ in range(3):
        await producer.send(1, make_batch(device_id))
        assert await producer.acked(1) == []
    assert await producer.close() == 0
    assert stored_samples(server.data_dir)[device_id] == 3


async def test_gap_is_an_error_that_names_the_expected_sequence(
    channel: grpc.aio.Channel, device_id: str
) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id))
    await producer.send(3, make_batch(device_id, START + HOUR))
    assert await producer.acked(1) == [], "what came before the gap is committed and acked"
    error = await failure(producer.to_end())
    assert (error.code, error.reason) == (_PRECONDITION, "SEQUENCE_GAP")
    assert error.metadata == {"expected_sequence": "2"}
    assert (await Producer.open(channel, device_id)).committed == 1


@pytest.mark.parametrize("sequence", [0, -1, -(2**63)])
async def test_sequence_below_one(channel: grpc.aio.Channel, device_id: str, sequence: int) -> None:
    producer = await Producer.open(channel, device_id)
    error = await _failure_after(producer, batch_message(sequence, make_batch(device_id)))
    assert (error.code, error.reason) == (_INVALID, "INVALID_SEQUENCE")
    assert error.field_violations[0].field == "batch.sequence"


async def test_batch_before_start(channel: grpc.aio.Channel, device_id: str) -> None:
    error = await _failure_after(Producer(channel), batch_message(1, make_batch(device_id)))
    assert (error.code, error.reason) == (_PRECONDITION, "START_EXPECTED")


async def test_stream_without_any_message(channel: grpc.aio.Channel) -> None:
    producer = Producer(channel)
    await producer.half_close()
    error = await failure(producer.to_end())
    assert (error.code, error.reason) == (_PRECONDITION, "START_EXPECTED")


async def test_second_start(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.start(device_id)
    error = await failure(producer.to_end())
    assert (error.code, error.reason) == (_PRECONDITION, "ALREADY_STARTED")


@pytest.mark.parametrize("stream_id", ["", "x" * 129, "with blank", "Zürich", "a*", "new\nline"])
async def test_stream_id_that_is_none(channel: grpc.aio.Channel, stream_id: str) -> None:
    producer = Producer(channel)
    await producer.start(stream_id)
    error = await failure(producer.to_end())
    assert (error.code, error.reason) == (_INVALID, "INVALID_STREAM_ID")
    assert error.field_violations[0].field == "start.stream_id"


async def test_longest_ids(channel: grpc.aio.Channel, device_id: str) -> None:
    name = device_id.ljust(128, "x")
    producer = await Producer.open(channel, name)
    await producer.send(1, make_batch(name))
    assert await producer.acked(1) == []
    assert len(times_of(await query(channel, name))) == 3


async def test_empty_message(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    error = await _failure_after(producer, IngestRequest().SerializeToString())
    assert error.code is _INVALID


async def test_dropped_batches_move_the_cursor(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id))
    await producer.send_dropped(2, 500)
    await producer.send(501, make_batch(device_id, START + HOUR))
    # Repeats, one of them with more at its end.
    await producer.send_dropped(2, 500)
    await producer.send_dropped(400, 510)
    await producer.send(511, make_batch(device_id, START + 2 * HOUR))
    assert await producer.close() == 511
    assert stored_samples(server.data_dir)[device_id] == 9
    assert (await Producer.open(channel, device_id)).committed == 511


async def test_dropped_must_follow(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send_dropped(2, 3)
    error = await failure(producer.to_end())
    assert (error.code, error.reason) == (_PRECONDITION, "SEQUENCE_GAP")
    assert error.metadata == {"expected_sequence": "1"}


@pytest.mark.parametrize(("first", "last"), [(0, 1), (-5, 1), (2, 1), (0, 0)])
async def test_dropped_range_that_is_none(
    channel: grpc.aio.Channel, device_id: str, first: int, last: int
) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send_dropped(first, last)
    error = await failure(producer.to_end())
    assert error.code is _INVALID
    assert error.field_violations[0].field == "dropped.first_sequence"


async def test_window_may_be_exceeded(channel: grpc.aio.Channel, device_id: str) -> None:
    """A producer that ignores the window is slowed down, nothing else."""
    producer = await Producer.open(channel, device_id)
    assert producer.ready is not None
    count = 4 * producer.ready.max_unacked_batches
    for sequence in range(1, count + 1):
        await producer.send(sequence, make_batch(device_id, START + HOUR * sequence, count=1))
    assert await producer.close() == count
    assert len(times_of(await query(channel, device_id))) == count


async def test_relay_carries_many_devices(channel: grpc.aio.Channel, device_id: str) -> None:
    producer = await Producer.open(channel, device_id)
    devices = [f"{device_id}/{index}" for index in range(5)]
    for sequence, name in enumerate(devices, 1):
        await producer.send(sequence, make_batch(name))
    assert await producer.close() == 5
    answers = await query(channel, *devices)
    assert [batch.device_id for batch in answers] == devices
    assert all(isinstance(batch, TelemetryBatch) and batch.sequence == 0 for batch in answers)
