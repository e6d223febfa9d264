from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from typing import TYPE_CHECKING

import grpc
import pytest

from spacelink.v1.telemetry_pb2 import IngestReady, IngestRequest, IngestStart, MetricColumn, TelemetryBatch
from spacelink_server.ingest import stream as module
from spacelink_server.storage.store import CommitGroup, StreamKey
from tests import encodings
from tests.server.plane import LIMITS, TENANT, Plane, Producer, running_plane, status_of
from tests.server.samples import SECOND, T0, batch, samples_in, samples_of
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

START = IngestRequest(start=IngestStart(stream_id="s")).SerializeToString()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with running_plane(tmp_path) as plane:
        yield plane


def one(number: int = 0) -> TelemetryBatch:
    return batch("d", [number], latency_ms=[number])


def values(plane: Plane) -> list[float]:
    """Give all stored latencies of the device in time order."""
    stored = [TelemetryBatch.FromString(segment.payload) for segment in plane.segments("d")]
    return [value for message in stored for value in message.latency_ms]


# Opening


async def test_ready_says_where_the_stream_stands(plane: Plane) -> None:
    producer = await plane.started()
    assert producer.ready == IngestReady(
        committed_sequence=0,
        max_unacked_batches=LIMITS.max_unacked_batches,
        max_batch_samples=LIMITS.max_batch_samples,
        max_batch_bytes=LIMITS.max_batch_bytes,
    )
    await producer.batch(1, one())
    await producer.batch(2, one(1))
    await producer.close()
    assert (await plane.started()).ready.committed_sequence == 2
    assert (await plane.started("other")).ready.committed_sequence == 0


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (IngestRequest(batch=TelemetryBatch(sequence=1)), "FAILED_PRECONDITION", "START_EXPECTED"),
        (IngestRequest(), "FAILED_PRECONDITION", "START_EXPECTED"),
        (IngestRequest(start=IngestStart()), "INVALID_ARGUMENT", "INVALID_STREAM_ID"),
        (IngestRequest(start=IngestStart(stream_id="a b")), "INVALID_ARGUMENT", "INVALID_STREAM_ID"),
        (IngestRequest(start=IngestStart(stream_id="a" * 129)), "INVALID_ARGUMENT", "INVALID_STREAM_ID"),
        (b"\xff", "INVALID_ARGUMENT", "MALFORMED_MESSAGE"),
        (encodings.delimited(1, encodings.delimited(1, b"\xff")), "INVALID_ARGUMENT", "MALFORMED_MESSAGE"),
    ],
)
async def test_what_no_stream_starts_with(
    plane: Plane, first: IngestRequest | bytes, code: str, reason: str
) -> None:
    producer = plane.producer()
    await producer.send(first)
    failure = await producer.failure()
    assert (failure["code"].name, failure["reason"]) == (code, reason)
    assert plane.store.groups == []


async def test_a_stream_without_a_start(plane: Plane) -> None:
    producer = plane.producer()
    await producer.call.done_writing()
    assert (await producer.failure())["reason"] == "START_EXPECTED"


async def test_a_longest_stream_id(plane: Plane) -> None:
    producer = await plane.started("a" * 128)
    await producer.batch(1, one())
    await producer.acked(1)


async def test_a_start_may_hold_fields_of_later_versions(plane: Plane) -> None:
    producer = plane.producer()
    await producer.send(
        encodings.delimited(99, b"?") + encodings.delimited(1, encodings.delimited(1, b"s") + b"\x78\x01")
    )
    assert (await producer.read()).WhichOneof("message") == "ready"


# Acks


async def test_an_ack_means_that_it_is_stored(plane: Plane) -> None:
    producer = await plane.started()
    for sequence in range(1, 31):
        await producer.batch(sequence, one(sequence))
        if sequence % 4 == 0:
            await producer.acked(sequence - 2)
            assert len(values(plane)) >= producer.acks[-1].committed_sequence
    await producer.close()
    acked = [ack.committed_sequence for ack in producer.acks]
    assert acked == sorted(set(acked))
    assert acked[-1] == 30
    assert values(plane) == list(range(1, 31))


async def test_nothing_is_acked_before_it_is_committed(plane: Plane) -> None:
    producer = await plane.started()
    plane.store.gate.clear()
    await producer.batch(1, one())
    await plane.store.reached(2)
    reading = asyncio.create_task(producer.read())
    await asyncio.sleep(0.05)
    assert not reading.done()
    plane.store.gate.set()
    assert (await reading).ack.committed_sequence == 1


async def test_acks_wait_for_batches_that_are_queued_but_not_for_long(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ACKS_PER_WINDOW", 2)
    plane.store.one_at_a_time = True
    producer = await plane.started()
    # Each group gathers while the one before it is being committed.
    await producer.batch(1, one(1))
    await plane.store.reached(2)
    for sequence in range(2, 6):
        await producer.batch(sequence, one(sequence))
    await until(lambda: len(plane.committer._queue) == 4)
    plane.store.gate.set()
    await plane.store.reached(3)
    await producer.batch(6, one(6))
    await until(lambda: len(plane.committer._queue) == 1)
    plane.store.gate.set()
    await plane.store.reached(4)
    plane.store.gate.set()
    await producer.close()
    assert [ack.committed_sequence for ack in producer.acks] == [5, 6]


async def test_a_closed_stream_waits_for_its_last_commit(plane: Plane) -> None:
    producer = await plane.started()
    plane.store.gate.clear()
    await producer.batch(1, one())
    closing = asyncio.create_task(producer.close())
    await plane.store.reached(2)
    await asyncio.sleep(0.05)
    assert not closing.done()
    plane.store.gate.set()
    await closing
    assert producer.acks[-1].committed_sequence == 1


async def test_nothing_sent(plane: Plane) -> None:
    producer = await plane.started()
    await producer.close()
    assert producer.acks == []


async def test_devices_of_one_stream(plane: Plane) -> None:
    producer = await plane.started()
    for sequence, device_id in enumerate(("a", "b", "a"), 1):
        await producer.batch(sequence, batch(device_id, [sequence], latency_ms=[1]))
    await producer.close()
    assert plane.store.device_ids(TENANT) == ["a", "b"]
    assert len(plane.segments("a")) == 2


@pytest.mark.parametrize("encoding", encodings.VARIANTS, ids=lambda encoding: encoding.__name__)
async def test_every_legal_encoding_is_stored_alike(plane: Plane, encoding: Callable[[bytes], bytes]) -> None:
    message = TelemetryBatch(
        device_id="d",
        sequence=1,
        time_unix_nano=[T0, T0 + 1],
        latency_ms=[1.5, float("nan")],
        extra=[MetricColumn(name="snr", values=[-0.0, 9])],
    )
    producer = await plane.started()
    data = encoding(message.SerializeToString())
    await producer.send(encodings.delimited(IngestRequest.BATCH_FIELD_NUMBER, data))
    await producer.close()
    assert producer.rejected() == []
    assert samples_in(segment.payload for segment in plane.segments("d")) == samples_of(message)


# Sequences


async def test_a_repeat_is_acked_and_not_stored(plane: Plane) -> None:
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.batch(2, one(2))
    await producer.acked(2)
    for sequence in (1, 2, 1):
        producer.acks.clear()
        await producer.batch(sequence, one(7))
        await producer.acked(2)
    await producer.batch(3, one(3))
    await producer.close()
    assert values(plane) == [1, 2, 3]


async def test_a_repeat_of_what_is_not_yet_committed(plane: Plane) -> None:
    producer = await plane.started()
    plane.store.gate.clear()
    for sequence in (1, 2, 1, 2):
        await producer.batch(sequence, one(sequence))
    await plane.store.reached(2)
    plane.store.gate.set()
    await producer.close()
    assert [ack.committed_sequence for ack in producer.acks][-1] == 2
    assert values(plane) == [1, 2]


async def test_a_gap_ends_the_stream_and_names_what_was_expected(plane: Plane) -> None:
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.batch(3, one(3))
    failure = await producer.failure()
    assert failure["code"] is grpc.StatusCode.FAILED_PRECONDITION
    assert failure["reason"] == "SEQUENCE_GAP"
    assert failure["ErrorInfo"].metadata == {"expected_sequence": "2"}
    # What came before the gap is stored and acked all the same.
    assert [ack.committed_sequence for ack in producer.acks] == [1]
    assert values(plane) == [1]


@pytest.mark.parametrize("sequence", [0, -1, -(2**63)])
async def test_sequences_count_from_one(plane: Plane, sequence: int) -> None:
    producer = await plane.started()
    await producer.batch(sequence, one())
    failure = await producer.failure()
    assert (failure["code"], failure["reason"]) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SEQUENCE")
    assert failure["BadRequest"].field_violations[0].field == "batch.sequence"


async def test_dropped_moves_the_cursor(plane: Plane) -> None:
    producer = await plane.started()
    await producer.dropped(1, 3)
    await producer.acked(3)
    await producer.batch(4, one(4))
    # Part of it is committed already.
    await producer.dropped(3, 6)
    await producer.acked(6)
    producer.acks.clear()
    await producer.dropped(1, 3)
    await producer.acked(6)
    await producer.batch(7, one(7))
    await producer.close()
    assert values(plane) == [4, 7]
    assert (await plane.started()).ready.committed_sequence == 7


async def test_dropped_must_follow(plane: Plane) -> None:
    producer = await plane.started()
    await producer.dropped(2, 3)
    failure = await producer.failure()
    assert failure["reason"] == "SEQUENCE_GAP"
    assert failure["ErrorInfo"].metadata["expected_sequence"] == "1"


@pytest.mark.parametrize(("first", "last"), [(0, 1), (-5, 1), (2, 1), (0, 0)])
async def test_dropped_that_is_no_range(plane: Plane, first: int, last: int) -> None:
    producer = await plane.started()
    await producer.dropped(first, last)
    failure = await producer.failure()
    assert failure["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert failure["BadRequest"].field_violations[0].field == "dropped.first_sequence"


@pytest.mark.parametrize(
    ("request_bytes", "code", "reason"),
    [
        (START, "FAILED_PRECONDITION", "ALREADY_STARTED"),
        (b"", "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (b"\xff", "INVALID_ARGUMENT", "MALFORMED_MESSAGE"),
        (encodings.delimited(99, b"?"), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    ],
)
async def test_messages_that_end_a_stream(plane: Plane, request_bytes: bytes, code: str, reason: str) -> None:
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.send(request_bytes)
    failure = await producer.failure()
    assert (failure["code"].name, failure["reason"]) == (code, reason)
    assert [ack.committed_sequence for ack in producer.acks] == [1]


# Poison


async def test_a_poison_batch_is_rejected_and_the_stream_goes_on(plane: Plane) -> None:
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.batch(2, batch("d", [2], latency_ms=[float("inf")]))
    await producer.batch(3, one(3))
    await producer.batch(4, TelemetryBatch(device_id="d"))
    await producer.close()
    assert [rejected[:2] for rejected in producer.rejected()] == [
        (2, "VALUE_OUT_OF_RANGE"),
        (4, "NO_SAMPLES"),
    ]
    assert [message.partition(":")[0] for *_, message in producer.rejected()] == [
        "latency_ms",
        "time_unix_nano",
    ]
    assert values(plane) == [1, 3]
    assert (await plane.started()).ready.committed_sequence == 4


async def test_a_rejection_is_acked_once_the_cursor_is_past_it(plane: Plane) -> None:
    """Told any earlier, the producer could forget a batch that is not yet passed."""
    producer = await plane.started()
    plane.store.gate.clear()
    plane.store.one_at_a_time = True
    await producer.batch(1, one(1))
    await plane.store.reached(2)
    await producer.batch(2, TelemetryBatch())
    await asyncio.sleep(0.05)
    plane.store.gate.set()
    await plane.store.reached(3)
    await producer.acked(1)
    assert producer.rejected() == []
    plane.store.gate.set()
    await producer.acked(2)
    assert [rejected[0] for rejected in producer.rejected()] == [2]


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (batch("d", range(LIMITS.max_batch_samples + 1)), "TOO_MANY_SAMPLES"),
        (batch("d", range(90), **{f"m{n}": range(90) for n in range(12)}), "BATCH_TOO_LARGE"),
        (TelemetryBatch(device_id="d", time_unix_nano=[5]), "TIME_OUT_OF_RANGE"),
        (TelemetryBatch(device_id="", time_unix_nano=[T0]), "INVALID_DEVICE_ID"),
        (TelemetryBatch(device_id="d", time_unix_nano=[T0], power_w=[1, 2]), "COLUMN_LENGTH_MISMATCH"),
        (TelemetryBatch(device_id="d", time_unix_nano=[T0], status=[200]), "INVALID_STATUS"),  # type: ignore[list-item]
    ],
)
async def test_reasons(plane: Plane, poison: TelemetryBatch, reason: str) -> None:
    producer = await plane.started()
    await producer.batch(1, poison)
    await producer.batch(2, one(2))
    await producer.close()
    assert [rejected[:2] for rejected in producer.rejected()] == [(1, reason)]
    assert values(plane) == [2]


async def test_a_batch_of_the_largest_size_is_taken(plane: Plane) -> None:
    """The bound is on the batch, not on the message that carries it."""
    message = batch("d", range(95), latency_ms=range(95), **{f"m{n}": range(95) for n in range(7)})
    message.sequence = 1
    message.device_id = "d" * (1 + LIMITS.max_batch_bytes - message.ByteSize())
    assert message.ByteSize() == LIMITS.max_batch_bytes
    producer = await plane.started()
    await producer.send(IngestRequest(batch=message))
    message.device_id += "d"
    await producer.batch(2, message)
    await producer.close()
    assert [rejected[:2] for rejected in producer.rejected()] == [(2, "BATCH_TOO_LARGE")]
    assert len(plane.segments(message.device_id[1:])) == 1


async def test_names_that_are_no_text_are_poison_too(plane: Plane) -> None:
    data = encodings.delimited(1, b"\xff") + encodings.varint(2 << 3) + b"\x01"
    producer = await plane.started()
    await producer.send(encodings.delimited(IngestRequest.BATCH_FIELD_NUMBER, data))
    await producer.batch(2, one(2))
    await producer.close()
    assert [rejected[:2] for rejected in producer.rejected()] == [(1, "INVALID_DEVICE_ID")]


# Fencing


async def test_a_newer_stream_fences_an_older_one(plane: Plane) -> None:
    older = await plane.started()
    await older.batch(1, one(1))
    await older.acked(1)
    newer = await plane.started()
    failure = await older.failure()
    assert (failure["code"], failure["reason"]) == (grpc.StatusCode.ABORTED, "STREAM_FENCED")
    assert newer.ready.committed_sequence == 1
    await newer.batch(1, one(1))
    await newer.batch(2, one(2))
    await newer.close()
    assert values(plane) == [1, 2]


async def test_a_batch_resent_on_both_streams_is_stored_once(plane: Plane) -> None:
    older = await plane.started()
    plane.store.gate.clear()
    await older.batch(1, one(1))
    await plane.store.reached(2)
    newer = plane.producer()
    starting = asyncio.create_task(newer.start("s"))
    await asyncio.sleep(0.02)
    plane.store.gate.set()
    await starting
    assert newer.ready.committed_sequence == 1
    await newer.batch(1, one(1))
    await newer.batch(2, one(2))
    await newer.close()
    assert values(plane) == [1, 2]
    assert (await older.failure())["reason"] == "STREAM_FENCED"


async def test_a_stream_that_was_taken_over_elsewhere_is_fenced_by_the_store(plane: Plane) -> None:
    older = await plane.started()
    await older.batch(1, one(1))
    await older.acked(1)
    plane.store.commit(CommitGroup(opens=[StreamKey(TENANT, "s")]))
    # The stream may end before all of them are written.
    with contextlib.suppress(grpc.aio.AioRpcError):
        for sequence in (2, 3, 4):
            await older.batch(sequence, one(sequence))
    failure = await older.failure()
    assert (failure["code"], failure["reason"]) == (grpc.StatusCode.ABORTED, "STREAM_FENCED")
    assert [ack.committed_sequence for ack in older.acks] == [1]
    assert values(plane) == [1]


# Faults


async def test_a_store_that_fails_ends_the_stream_and_loses_nothing(plane: Plane) -> None:
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.acked(1)
    plane.store.break_down()
    with contextlib.suppress(grpc.aio.AioRpcError):
        for sequence in (2, 3):
            await producer.batch(sequence, one(sequence))
    failure = await producer.failure()
    assert (failure["code"], failure["reason"]) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert failure["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert "secret" not in str(failure)
    assert [ack.committed_sequence for ack in producer.acks] == [1]
    refused = plane.producer()
    await refused.send(START)
    assert (await refused.failure())["reason"] == "STORE_UNAVAILABLE"
    plane.store.error = None
    again = await plane.started()
    assert again.ready.committed_sequence == 1
    for sequence in (2, 3):
        await again.batch(sequence, one(sequence))
    await again.close()
    assert values(plane) == [1, 2, 3]


async def test_streams_do_not_fail_with_each_other(plane: Plane) -> None:
    fenced, good = await plane.started("fenced"), await plane.started("good")
    plane.store.commit(CommitGroup(opens=[StreamKey(TENANT, "fenced")]))
    await fenced.batch(1, one(1))
    await good.batch(1, one(2))
    await good.acked(1)
    assert (await fenced.failure())["reason"] == "STREAM_FENCED"
    await good.batch(2, one(3))
    await good.close()
    assert values(plane) == [2, 3]


async def test_a_producer_that_vanishes_leaves_nothing_behind(plane: Plane) -> None:
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.acked(1)
    producer.call.cancel()
    # Ends only when no stream is open.
    await asyncio.wait_for(plane.streams.drain(), 30)


# Windows


async def test_no_more_is_taken_than_the_window(plane: Plane) -> None:
    producer = await plane.started()
    plane.store.gate.clear()
    sending = asyncio.create_task(send_many(producer, 3 * LIMITS.max_unacked_batches))
    await plane.store.reached(2)
    # Time for the server to take too many.
    await asyncio.sleep(0.1)
    plane.store.gate.set()
    await sending
    await producer.close()
    taken = plane.store.groups[2].advances[0].sequence
    assert taken == LIMITS.max_unacked_batches
    assert len(values(plane)) == 3 * LIMITS.max_unacked_batches


async def send_many(producer: Producer, count: int) -> None:
    for sequence in range(1, count + 1):
        await producer.batch(sequence, one(sequence))


async def test_a_full_queue_stops_the_reading(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane.committer, "_queue_bytes", 1)
    producer = await plane.started()
    plane.store.gate.clear()
    sending = asyncio.create_task(send_many(producer, 3))
    await plane.store.reached(2)
    await asyncio.sleep(0.05)
    plane.store.gate.set()
    await sending
    await producer.close()
    # Never did a second batch gather while one was on its way.
    assert [group.advances[0].sequence for group in plane.store.groups if group.advances] == [1, 2, 3]


# Draining


async def test_drain(plane: Plane) -> None:
    producer, idle = await plane.started(), await plane.started("idle")
    plane.store.gate.clear()
    await producer.batch(1, one(1))
    await plane.store.reached(3)
    draining = asyncio.create_task(plane.streams.drain())
    assert (await producer.read()).WhichOneof("message") == "drain"
    assert (await idle.read()).WhichOneof("message") == "drain"
    await idle.close()
    # What was on its way when the drain came is taken still.
    await producer.batch(2, one(2))
    assert not draining.done()
    plane.store.gate.set()
    await producer.close()
    assert producer.acks[-1].committed_sequence == 2
    await draining
    refused = plane.producer()
    await refused.send(START)
    failure = await refused.failure()
    assert (failure["code"], failure["reason"]) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert failure["RetryInfo"].retry_delay.ToMilliseconds() > 0


async def test_a_drained_producer_that_does_not_close(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DRAIN_SECONDS", 0.05)
    silent, noisy = await plane.started("silent"), await plane.started("noisy")
    await silent.batch(1, one(1))
    sending = asyncio.create_task(send_for_ever(noisy))
    await until(lambda: noisy.acks)
    await plane.streams.drain()
    await silent.ended()
    assert await silent.call.code() is grpc.StatusCode.OK
    assert silent.acks[-1].committed_sequence == 1
    await sending
    await noisy.ended()
    reopened = plane.store.commit(CommitGroup(opens=[StreamKey(TENANT, "noisy")])).positions[0]
    assert 0 < noisy.acks[-1].committed_sequence <= reopened.committed_sequence
    assert len(plane.segments("noisy")) == reopened.committed_sequence


async def send_for_ever(producer: Producer) -> None:
    """Send until the server ends the stream, and read acks."""
    for sequence in itertools.count(1):
        try:
            await producer.batch(sequence, batch("noisy", [sequence]))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return
        if sequence % 4 == 0 and not producer.drained:
            await producer.acked(sequence - 3)


# Rubbish


async def test_mutated_messages(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(1)
    good = IngestRequest(
        batch=batch("d", [0, SECOND], status=[1, 2], latency_ms=[1, 2], snr=[1, 2])
    ).SerializeToString()
    for number in range(150):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        producer = await plane.started(f"s{number}")
        await producer.send(bytes(data[: chance.randrange(1, len(data) + 1)]))
        await producer.call.done_writing()
        await producer.ended()
        if (code := await producer.call.code()) is not grpc.StatusCode.OK:
            assert status_of(code, await producer.call.trailing_metadata())["reason"] != "INTERNAL"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    producer = await plane.started()
    await producer.batch(1, one(1))
    await producer.acked(1)


async def test_many_streams_at_once(plane: Plane) -> None:
    producers = [await plane.started(f"s{number}") for number in range(20)]
    for sequence in range(1, 4):
        for number, producer in enumerate(producers):
            await producer.batch(sequence, batch(f"d{number}", [sequence], latency_ms=[sequence]))
    await asyncio.gather(*(producer.close() for producer in producers))
    assert {producer.acks[-1].committed_sequence for producer in producers} == {3}
    await until(lambda: len(plane.store.device_ids(TENANT)) == 20)
    assert {len(plane.segments(f"d{number}")) for number in range(20)} == {3}
