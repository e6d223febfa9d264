"""Damaged messages by the ten thousand: the server answers each and stores nothing but what it said.

What it must have stored is told by the generated parser: what is acked and not
rejected reads back as that parser reads the damaged message.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import struct
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from spacelink import METRICS
from spacelink._names import is_identifier, is_metric_name
from spacelink._wire import embed
from spacelink.v1 import telemetry_pb2 as pb
from tests.e2e.batches import HOUR, SECOND, START, make_batch
from tests.e2e.calls import (
    SERVICE,
    assert_clean,
    call_bidi,
    call_stream,
    call_unary,
    check_details,
    query,
    submit,
)
from tests.e2e.mutations import Mutator
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.conftest import ServerProcess, StartServer

_SEED = 20250101
_INGEST_MESSAGES = 15_000
_SUBMIT_MESSAGES = 3_000
_READ_MESSAGES = 2_500
_STREAMS = 16
_GROUP = 8
_CALLS_AT_ONCE = 32
# A refusal that comes later goes unnoticed; one of ours comes at once.
_REFUSAL_SECONDS = 0.2

_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

_EARLIEST = 631_152_000 * SECOND  # 1990-01-01T00:00:00Z
_DAY = 24 * HOUR
_NOT_NEGATIVE = ("latency_ms", "jitter_ms", "downlink_mbps", "uplink_mbps")
_RESERVED = frozenset(("device_id", "sequence", "time_unix_nano", "status", "extra"))

_Row: TypeAlias = tuple[int, frozenset[tuple[str, bytes]], int]
_Samples: TypeAlias = dict[str, set[_Row]]


def _batches(seed: int) -> Iterator[pb.TelemetryBatch]:
    """Make batches of some samples of some columns; no two have a time in common."""
    rng = random.Random(seed)
    first = START
    while True:
        count = rng.randrange(1, 9)
        batch = make_batch(f"dish-{rng.randrange(50)}", first, count)
        first += count * SECOND
        for name in rng.sample(METRICS[1:], rng.randrange(4)):
            getattr(batch, name).extend(rng.choice((0.0, 1.5, 99.0, math.nan)) for _ in range(count))
        for index in range(rng.choice((0, 0, 1, 3))):
            batch.extra.add(name=f"m{index}", values=[rng.random() for _ in range(count)])
        yield batch


def _rows(batch: pb.TelemetryBatch) -> set[_Row]:
    """Give a batch's samples, each with its values bit by bit; missing ones are left out."""
    columns = [(name, getattr(batch, name)) for name in METRICS]
    columns += [(column.name, column.values) for column in batch.extra]
    present = [(name, values) for name, values in columns if values]
    return {
        (
            moment,
            frozenset(
                (name, struct.pack("<f", values[index]))
                for name, values in present
                if not math.isnan(values[index])
            ),
            batch.status[index] if batch.status else 0,
        )
        for index, moment in enumerate(batch.time_unix_nano)
    }


def _collect(batches: Iterable[pb.TelemetryBatch]) -> _Samples:
    samples: _Samples = defaultdict(set)
    for batch in batches:
        samples[batch.device_id] |= _rows(batch)
    return samples


def _is_storable(batch: pb.TelemetryBatch) -> bool:
    """Tell whether a batch keeps to the contract, value by value."""
    count = len(batch.time_unix_nano)
    named = [(name, getattr(batch, name)) for name in METRICS if getattr(batch, name)]
    named += [(column.name, column.values) for column in batch.extra]
    names = [name for name, _ in named]
    return (
        is_identifier(batch.device_id)
        and count > 0
        and all(_EARLIEST <= moment <= time.time_ns() + _DAY for moment in batch.time_unix_nano)
        and len(batch.status) in (0, count)
        and set(batch.status) <= set(pb.DeviceStatus.values())
        and all(is_metric_name(name) and name not in _RESERVED for name in names)
        and len(set(names)) == len(names)
        and len(batch.extra) <= 64
        and all(len(values) == count for _, values in named)
        and all(_is_in_bounds(name, value) for name, values in named for value in values)
    )


def _is_in_bounds(name: str, value: float) -> bool:
    if math.isnan(value):
        return True
    if name in ("packet_loss_percent", "obstruction_percent"):
        return 0 <= value <= 100
    return not math.isinf(value) and (name not in _NOT_NEGATIVE or value >= 0)


class _Fleet:
    """Producers of damaged batches, and what the server said of them.

    Attributes:
        answered: how many messages the server has decided on.
        stored: the batches that were acked and not rejected.
        in_doubt: batches that were or were not: their acks were lost with the stream.
        rejected: the batches that were rejected, with the reason.
        endings: how streams ended.
    """

    def __init__(self, messages: Iterable[bytes]) -> None:
        self._messages = deque(messages)
        self.answered = 0
        self.stored: list[pb.TelemetryBatch] = []
        self.in_doubt: list[pb.TelemetryBatch] = []
        self.rejected: list[tuple[bytes, str]] = []
        self.endings: Counter[str] = Counter()

    async def produce(self, channel: grpc.aio.Channel, stream_id: str) -> None:
        """Send messages until there are none; a stream that ends is opened anew."""
        sent: dict[int, bytes] = {}
        while self._messages or sent:
            producer = await Producer.open(channel, stream_id)
            self._settle(sent, producer.committed)
            sent = await self._use(producer)

    async def _use(self, producer: Producer) -> dict[int, bytes]:
        """Send group by group until the stream ends; give what has no ack then."""
        cursor = producer.committed
        while self._messages:
            sent, is_last = self._next_group(cursor)
            cursor += len(sent)
            for sequence, data in sent.items():
                await producer.send_bytes(
                    embed(pb.IngestRequest.BATCH_FIELD_NUMBER, _numbered(data, sequence))
                )
            try:
                if is_last:
                    await producer.half_close()
                if await self._read(producer, sent, is_last):
                    return sent
            except grpc.aio.AioRpcError as error:
                check_details(error)
                self.endings[error.code().name] += 1
                return sent
        return {}

    def _next_group(self, cursor: int) -> tuple[dict[int, bytes], bool]:
        """Take messages up to one that cannot be the next of its stream."""
        sent: dict[int, bytes] = {}
        while self._messages and len(sent) < _GROUP:
            sequence = cursor + len(sent) + 1
            sent[sequence] = self._messages.popleft()
            if _sequence(_numbered(sent[sequence], sequence)) != sequence:
                return sent, True
        return sent, False

    async def _read(self, producer: Producer, sent: dict[int, bytes], is_last: bool) -> bool:
        """Read acks until all is acked, or to the stream's end; tell whether it has ended."""
        while sent or is_last:
            response = await producer.read()
            if response is None:
                self.endings["OK"] += 1
                return True
            for rejected in response.ack.rejected:
                self.rejected.append((sent.pop(rejected.sequence), rejected.reason))
                self.answered += 1
            for sequence in [each for each in sent if each <= response.ack.committed_sequence]:
                self.stored.append(pb.TelemetryBatch.FromString(sent.pop(sequence)))
                self.answered += 1
        return False

    def _settle(self, sent: dict[int, bytes], committed: int) -> None:
        """Sort out what had no ack when its stream ended; what was not looked at is sent again."""
        for sequence, data in reversed(sent.items()):
            if sequence > committed + 1:
                self._messages.appendleft(data)
                continue
            self.answered += 1
            if sequence <= committed:
                self.in_doubt.append(pb.TelemetryBatch.FromString(data))
        sent.clear()


def _numbered(data: bytes, sequence: int) -> bytes:
    """Give a batch its sequence; the last one given counts."""
    return data + pb.TelemetryBatch(sequence=sequence).SerializeToString()


def _sequence(data: bytes) -> int:
    """Give the sequence that the generated parser reads, 0 if it reads nothing."""
    try:
        return pb.TelemetryBatch.FromString(data).sequence
    except DecodeError:
        return 0


def _damaged_batches(count: int) -> list[bytes]:
    batches = list(itertools.islice(_batches(_SEED), count))
    mutator = Mutator(_SEED, [batch.SerializeToString() for batch in batches[:100]])
    ways: tuple[Callable[[pb.TelemetryBatch], bytes], ...] = (
        mutator.disguise,
        mutator.disguise,
        lambda batch: mutator.flip(mutator.disguise(batch)),
        lambda batch: mutator.flip(batch.SerializeToString()),
        lambda batch: mutator.mutate(batch.SerializeToString()),
    )
    return [ways[index % len(ways)](batch) for index, batch in enumerate(batches)]


async def _in_parallel(calls: Iterable[Awaitable[None]]) -> None:
    """Make calls, some at a time."""
    limit = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def one(call: Awaitable[None]) -> None:
        async with limit:
            await call

    await asyncio.gather(*map(one, calls))


async def _code(call: Awaitable[Any]) -> str:
    """Wait for a call; give its status, whose details must be in order."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:  # the standard health service's own
            check_details(error)
        return error.code().name
    return "OK"


def _reads() -> dict[str, Message]:
    """Give a request for every method but those that write."""
    start, end = Timestamp(seconds=START // SECOND + 1, nanos=5), Timestamp(seconds=START // SECOND + 9)
    some = ["dish-1", "dish-2"]
    return {
        f"{SERVICE}QueryTelemetry": pb.QueryTelemetryRequest(
            device_ids=some, start_time=start, end_time=end, metrics=["latency_ms", "m0"]
        ),
        f"{SERVICE}ListLatestTelemetry": pb.ListLatestTelemetryRequest(
            device_ids=some, page_size=1, page_token="ZGlzaC0x"
        ),
        f"{SERVICE}SummarizeTelemetry": pb.SummarizeTelemetryRequest(
            device_ids=some, start_time=start, end_time=end, per_device=True
        ),
        f"{SERVICE}WatchTelemetry": pb.WatchTelemetryRequest(device_ids=some, metrics=["power_w"]),
        "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest(
            service="spacelink.v1.TelemetryService"
        ),
        _REFLECTION: reflection_pb2.ServerReflectionRequest(
            host="h", file_containing_symbol="spacelink.v1.TelemetryBatch"
        ),
    }


async def _read(channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    if method.endswith("WatchTelemetry"):
        await _watch_briefly(call_stream(channel, method, data))
    elif method == _REFLECTION:
        call = call_bidi(channel, method)
        await call.write(data)
        await call.read()
        call.cancel()
    elif method.endswith("QueryTelemetry"):
        async for _ in call_stream(channel, method, data):
            pass
    else:
        await call_unary(channel, method, data)


async def _watch_briefly(call: Any) -> None:
    """See whether a watch is accepted: nothing else ends it here."""
    await call.initial_metadata()
    read = asyncio.ensure_future(call.read())
    await asyncio.wait([read], timeout=_REFUSAL_SECONDS)
    if not read.done():
        call.cancel()
        read.cancel()
        await asyncio.wait([read])
        return
    await read


async def test_reading_methods(channel: grpc.aio.Channel, server: ServerProcess) -> None:
    for batch in itertools.islice(_batches(1), 200):
        await submit(channel, batch)
    requests = _reads()
    mutator = Mutator(_SEED, [request.SerializeToString() for request in requests.values()])
    statuses: Counter[str] = Counter()

    async def one(method: str, data: bytes) -> None:
        statuses[await _code(_read(channel, method, data))] += 1

    await _in_parallel(
        one(method, mutator.mutate(requests[method].SerializeToString()))
        for method, _ in zip(itertools.cycle(requests), range(_READ_MESSAGES), strict=False)
    )
    assert set(statuses) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}, statuses
    assert min(statuses.values()) > _READ_MESSAGES / 100, statuses
    assert statuses.total() == _READ_MESSAGES
    assert_clean(server.log)


async def test_submit(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    stored: list[pb.TelemetryBatch] = []
    refused: list[bytes] = []
    statuses: Counter[str] = Counter()
    async with server.channel() as channel:

        async def one(data: bytes) -> None:
            status = await _code(call_unary(channel, f"{SERVICE}SubmitTelemetry", data))
            statuses[status] += 1
            if status == "OK":
                stored.append(pb.SubmitTelemetryRequest.FromString(data).batch)
            else:
                refused.append(data)

        await _in_parallel(one(embed(1, data)) for data in _damaged_batches(_SUBMIT_MESSAGES))
        assert set(statuses) == {"OK", "INVALID_ARGUMENT"}
        assert min(statuses.values()) > _SUBMIT_MESSAGES / 10
        assert all(map(_is_storable, stored))
        assert _collect(await query(channel)) == _collect(stored)
    assert_clean(server.log)


async def test_ingest(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    fleet = _Fleet(_damaged_batches(_INGEST_MESSAGES))
    async with server.channel() as channel:
        await asyncio.gather(*[fleet.produce(channel, f"stream-{index}") for index in range(_STREAMS)])
        assert fleet.answered == _INGEST_MESSAGES
        assert set(fleet.endings) <= {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION"}
        assert min(len(fleet.stored), len(fleet.rejected), fleet.endings.total()) > _INGEST_MESSAGES / 20
        assert all(map(_is_storable, fleet.stored))
        assert [data for data, _ in fleet.rejected if _is_wrongly_rejected(data)] == []
        got = _collect(await query(channel))
    acked, possible = _collect(fleet.stored), _collect(fleet.stored + fleet.in_doubt)
    assert all(rows <= got[device_id] for device_id, rows in acked.items())
    assert all(rows <= possible[device_id] for device_id, rows in got.items())
    assert_clean(server.log)


def _is_wrongly_rejected(data: bytes) -> bool:
    try:
        return _is_storable(pb.TelemetryBatch.FromString(data))
    except DecodeError:
        return False
