"""Reading back: ranges, order, overlaps, filters."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.v1 import telemetry_pb2 as pb
from tests.e2e.batches import HOUR, SECOND, START, latency_of, make_batch, times_of
from tests.e2e.calls import DEADLINE, query, sample_count, stub, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import StartServer


def _timestamp(nanos: int) -> Timestamp:
    time = Timestamp()
    time.FromNanoseconds(nanos)
    return time


async def _between(
    channel: grpc.aio.Channel, device_id: str, start: int, end: int
) -> list[pb.TelemetryBatch]:
    return await query(channel, device_id, start_time=_timestamp(start), end_time=_timestamp(end))


async def test_stored_batches_come_as_they_were_sent(channel: grpc.aio.Channel, device_id: str) -> None:
    """Each as a batch of its own, with every column it had."""
    batches = [make_batch(device_id, START + index * HOUR, count=4) for index in range(5)]
    for index, field in enumerate(name for name in _columns() if name != "latency_ms"):
        getattr(batches[index % 5], field).extend([1.5, math.nan, 0.0, 99.25])
    batches[2].extra.add(name="snr_db", values=[1.0, math.nan, -3.0, 1e30])
    batches[3].ClearField("status")
    producer = await Producer.open(channel, device_id)
    for sequence, batch in enumerate(batches, 1):
        await producer.send(sequence, batch)
    await producer.close()
    answers = await query(channel, device_id)
    assert [batch.SerializeToString() for batch in answers] == [
        batch.SerializeToString() for batch in batches
    ]


def _columns() -> list[str]:
    fields = pb.TelemetryBatch.DESCRIPTOR.fields
    return [field.name for field in fields if field.cpp_type == field.CPPTYPE_FLOAT]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 100, range(10)),
        (0, 10, range(10)),
        (0, 9, range(9)),
        (3, 4, [3]),
        (3, 3, []),
        (9, 10, [9]),
        (10, 20, []),
        (-10, 0, []),
        (-10, 1, [0]),
        (3.5, 6.5, [4, 5, 6]),
    ],
)
async def test_ranges_are_half_open(
    channel: grpc.aio.Channel, device_id: str, start: float, end: float, expected: Sequence[int]
) -> None:
    await submit(channel, make_batch(device_id, count=10))
    answers = await _between(channel, device_id, START + int(start * SECOND), START + int(end * SECOND))
    assert times_of(answers) == [START + SECOND * index for index in expected]
    assert latency_of(answers) == [20 + index / 8 for index in expected]


async def test_bounds_to_the_nanosecond(channel: grpc.aio.Channel, device_id: str) -> None:
    await submit(channel, make_batch(device_id, START + 1, count=3, step=1))
    assert times_of(await _between(channel, device_id, START + 1, START + 3)) == [START + 1, START + 2]
    assert times_of(await _between(channel, device_id, START + 2, START + 4)) == [START + 2, START + 3]


async def test_open_ended_ranges(channel: grpc.aio.Channel, device_id: str) -> None:
    await submit(channel, make_batch(device_id, count=4))
    cut = _timestamp(START + 2 * SECOND)
    assert len(times_of(await query(channel, device_id, start_time=cut))) == 2
    assert len(times_of(await query(channel, device_id, end_time=cut))) == 2
    assert len(times_of(await query(channel, device_id, start_time=Timestamp(seconds=-1)))) == 4


async def test_overlapping_batches_are_merged_in_time_order(
    channel: grpc.aio.Channel, device_id: str
) -> None:
    """Shuffled, interleaved and nested batches; the values stay with their times."""
    rng = random.Random(7)
    order = list(range(600))
    rng.shuffle(order)
    producer = await Producer.open(channel, device_id)
    for sequence in range(1, 41):
        chosen = order[(sequence - 1) * 15 : sequence * 15]
        batch = pb.TelemetryBatch(
            device_id=device_id,
            time_unix_nano=[START + SECOND * index for index in chosen],
            latency_ms=chosen,
        )
        await producer.send(sequence, batch)
    assert await producer.close() == 40
    answers = await query(channel, device_id)
    assert times_of(answers) == [START + SECOND * index for index in range(600)]
    assert latency_of(answers) == list(range(600))
    some = await _between(channel, device_id, START + 100 * SECOND, START + 200 * SECOND)
    assert latency_of(some) == list(range(100, 200))


async def test_exact_duplicates_come_once(channel: grpc.aio.Channel, device_id: str) -> None:
    batch = make_batch(device_id, count=5)
    batch.extra.add(name="snr_db", values=[1, math.nan, 3, 4, 5])
    for _ in range(3):
        await submit(channel, batch)
    # The same times with one other value: another sample.
    batch.extra[0].values[3] = 40
    await submit(channel, batch)
    answers = await query(channel, device_id)
    assert times_of(answers) == [START + SECOND * index for index in (0, 1, 2, 3, 3, 4)]
    assert [value for part in answers for value in part.extra[0].values][3:] == [4, 40, 5]
    assert await sample_count(channel, device_id) == 6


async def test_duplicates_within_a_batch(channel: grpc.aio.Channel, device_id: str) -> None:
    batch = pb.TelemetryBatch(
        device_id=device_id, time_unix_nano=[START + 1, START, START + 1, START], latency_ms=[2, 1, 2, 9]
    )
    await submit(channel, batch)
    answers = await query(channel, device_id)
    assert times_of(answers) == [START, START, START + 1]
    assert sorted(latency_of(answers)[:2]) == [1, 9]


async def test_merged_batches_with_other_columns(channel: grpc.aio.Channel, device_id: str) -> None:
    """What one of them did not measure is missing there."""
    one = pb.TelemetryBatch(device_id=device_id, time_unix_nano=[START, START + 2], latency_ms=[1, 3])
    other = pb.TelemetryBatch(device_id=device_id, time_unix_nano=[START + 1], power_w=[50])
    other.status.append(pb.DeviceStatus.DEVICE_STATUS_DEGRADED)
    await submit(channel, one)
    await submit(channel, other)
    rows = [
        row
        for batch in await query(channel, device_id)
        for row in zip(batch.time_unix_nano, batch.latency_ms, batch.power_w, batch.status, strict=True)
    ]
    nan = pytest.approx(math.nan, nan_ok=True)
    assert rows == [(START, 1, nan, 0), (START + 1, nan, 50, 2), (START + 2, 3, nan, 0)]


@pytest.mark.parametrize("reverse", [False, True])
async def test_batch_that_spans_days(channel: grpc.aio.Channel, device_id: str, reverse: bool) -> None:
    """Every sample of it is found by every range that holds it."""
    times = [START + index * 7 * HOUR // 2 for index in range(48)]
    values = list(range(48))
    if reverse:
        times.reverse()
        values.reverse()
    producer = await Producer.open(channel, device_id)
    await producer.send(1, pb.TelemetryBatch(device_id=device_id, time_unix_nano=times, latency_ms=values))
    assert await producer.acked(1) == []
    answers = await query(channel, device_id)
    assert latency_of(answers) == sorted(values)
    for index, time in enumerate(sorted(times)):
        assert latency_of(await _between(channel, device_id, time, time + 1)) == [index]
    middle = await _between(channel, device_id, sorted(times)[10], sorted(times)[20])
    assert latency_of(middle) == list(range(10, 20))


async def test_metrics_filter(channel: grpc.aio.Channel, device_id: str) -> None:
    batch = make_batch(device_id)
    batch.power_w.extend([50, 51, 52])
    batch.extra.add(name="snr_db", values=[1, 2, 3])
    await submit(channel, batch)
    await submit(channel, make_batch(device_id, START + HOUR))

    (answer,) = await query(channel, device_id, metrics=["snr_db", "power_w"])
    assert (list(answer.power_w), list(answer.extra[0].values)) == ([50, 51, 52], [1, 2, 3])
    assert not answer.latency_ms
    assert not answer.status
    assert list(answer.time_unix_nano) == list(batch.time_unix_nano)
    answers = await query(channel, device_id, metrics=["latency_ms", "status"])
    assert len(latency_of(answers)) == 6
    assert all(len(part.status) == 3 and not part.extra for part in answers)
    assert await query(channel, device_id, metrics=["nothing"]) == []


async def test_devices_come_in_order(channel: grpc.aio.Channel, device_id: str) -> None:
    names = [f"{device_id}/{index}" for index in (3, 1, 2)]
    for name in names:
        await submit(channel, make_batch(name))
        await submit(channel, make_batch(name, START + HOUR))
    answers = await query(channel, *names, names[0], "nobody")
    assert [batch.device_id for batch in answers] == [name for name in sorted(names) for _ in range(2)]
    assert await query(channel, "nobody") == []


async def test_long_history_is_read_whole(channel: grpc.aio.Channel, device_id: str) -> None:
    """More segments than are fetched at once, some of them overlapping."""
    producer = await Producer.open(channel, device_id)
    for sequence in range(1, 1001):
        first = START + sequence * 10 * SECOND
        count = 15 if sequence % 7 == 0 else 10  # reaches into the next one, with other values
        batch = make_batch(device_id, first, count, latency=sequence)
        await producer.send(sequence, batch)
    assert await producer.close() == 1000
    times = times_of(await query(channel, device_id))
    assert len(times) == 10_000 + 5 * 142
    assert times == sorted(times)


async def test_queries_while_batches_come_in(channel: grpc.aio.Channel, device_id: str) -> None:
    """A query sees all that was acked before it began, in order."""
    producer = await Producer.open(channel, device_id)
    for sequence in range(1, 101):
        await producer.send(sequence, make_batch(device_id, START + sequence * 5 * SECOND, 5))
        if sequence % 10 == 0:
            await producer.acked(sequence)
            times = times_of(await query(channel, device_id))
            assert times == [START + SECOND * index for index in range(5, 5 + 5 * sequence)]


class TestLatest:
    """ListLatestTelemetry."""

    async def test_newest_sample_of_each_device(self, channel: grpc.aio.Channel, device_id: str) -> None:
        one, other = f"{device_id}/1", f"{device_id}/2"
        await submit(channel, make_batch(one, START + HOUR, count=3, latency=5))
        await submit(channel, make_batch(one, START, count=3))
        await submit(channel, make_batch(other))
        batches = await _latest(channel, other, one, "nobody")
        assert [batch.device_id for batch in batches] == [one, other]
        assert times_of(batches) == [START + HOUR + 2 * SECOND, START + 2 * SECOND]
        assert latency_of(batches) == [5.25, 20.25]
        assert [list(batch.status) for batch in batches] == [[1], [1]]

    async def test_long_old_batch_that_reaches_furthest(
        self, channel: grpc.aio.Channel, device_id: str
    ) -> None:
        await submit(channel, make_batch(device_id, START, count=3500))
        await submit(channel, make_batch(device_id, START + 2000 * SECOND, count=10))
        (batch,) = await _latest(channel, device_id)
        assert times_of([batch]) == [START + 3499 * SECOND]

    async def test_of_two_with_one_time_the_later_stored(
        self, channel: grpc.aio.Channel, device_id: str
    ) -> None:
        for value in (3, 1, 2):
            await submit(channel, make_batch(device_id, count=1, latency=value))
        (batch,) = await _latest(channel, device_id)
        assert latency_of([batch]) == [2]


async def test_all_devices(tmp_path: Path, servers: StartServer) -> None:
    """No device_ids means all there are, from none to several pages."""
    async with servers(tmp_path).channel() as channel:
        assert await query(channel) == []
        assert await sample_count(channel) == 0
        assert await _pages(channel) == [[]]
        names = sorted(f"dish-{index}" for index in range(250))
        producer = await Producer.open(channel, "relay")
        for sequence, name in enumerate(reversed(names), 1):
            await producer.send(sequence, make_batch(name))
        await producer.close()
        assert [batch.device_id for batch in await query(channel)] == names
        assert await sample_count(channel) == 750
        assert await _pages(channel) == [names[:100], names[100:200], names[200:]]
        assert await _pages(channel, page_size=125) == [names[:125], names[125:]]
        assert await _pages(channel, page_size=5000) == [names]
        assert await _pages(channel, page_size=2, device_ids=names[:3]) == [names[:2], names[2:3]]


async def _latest(channel: grpc.aio.Channel, *device_ids: str) -> Sequence[pb.TelemetryBatch]:
    request = pb.ListLatestTelemetryRequest(device_ids=device_ids)
    answer = await stub(channel).ListLatestTelemetry(request, timeout=DEADLINE)
    assert not answer.next_page_token
    return answer.batches


async def _pages(channel: grpc.aio.Channel, **fields: Any) -> list[list[str]]:
    """List all pages, as the devices on each."""
    pages = []
    token = ""
    while True:
        request = pb.ListLatestTelemetryRequest(page_token=token, **fields)
        answer = await stub(channel).ListLatestTelemetry(request, timeout=DEADLINE)
        pages.append([batch.device_id for batch in answer.batches])
        token = answer.next_page_token
        if not token:
            return pages
