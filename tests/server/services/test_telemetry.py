from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.columns import TelemetryColumns
from spacelink.v1 import telemetry_pb2 as pb
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub
from spacelink_server.ingest import live
from spacelink_server.storage.store import StoreUnavailableError
from tests import encodings
from tests.credentials import AuthorizedChannel
from tests.server.plane import LIMITS, TENANT, Plane, running_plane, status_of
from tests.server.samples import DAY, HOUR, SECOND, T0, batch, columns, samples_in, samples_of, segment
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from numpy.typing import ArrayLike

    from tests.conftest import ServerProcess

SERVICE = "/spacelink.v1.TelemetryService/"


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with AuthorizedChannel(grpc.insecure_channel(server.address), server.token) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> TelemetryServiceStub:
    return TelemetryServiceStub(channel)


def at(offset: int) -> Timestamp:
    time = Timestamp()
    time.FromNanoseconds(T0 + offset)
    return time


def submit(stub: TelemetryServiceStub, batch: pb.TelemetryBatch, request_id: str = "") -> int:
    request = pb.SubmitTelemetryRequest(batch=batch, request_id=request_id)
    return stub.SubmitTelemetry(request, timeout=30).sample_count


def query(stub: TelemetryServiceStub, *device_ids: str, **request: Any) -> list[pb.TelemetryBatch]:
    request["device_ids"] = device_ids
    answers = stub.QueryTelemetry(pb.QueryTelemetryRequest(**request), timeout=30)
    return [answer.batch for answer in answers]


def summarize(stub: TelemetryServiceStub, *device_ids: str, **request: Any) -> list[pb.TelemetrySummary]:
    request["device_ids"] = device_ids
    return list(stub.SummarizeTelemetry(pb.SummarizeTelemetryRequest(**request), timeout=30).summaries)


def latest(stub: TelemetryServiceStub, *device_ids: str, **request: Any) -> pb.ListLatestTelemetryResponse:
    request["device_ids"] = device_ids
    return stub.ListLatestTelemetry(pb.ListLatestTelemetryRequest(**request), timeout=30)


def latencies(batches: list[pb.TelemetryBatch]) -> list[float]:
    return [value for message in batches for value in message.latency_ms]


def refused(call: Callable[[], Any]) -> dict[str, Any]:
    """Give what the status of a call says that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    return status_of(error.code(), error.trailing_metadata())


# Submitting


def test_what_is_submitted_can_be_queried(stub: TelemetryServiceStub, device_id: str) -> None:
    message = batch(device_id, (0, SECOND), latency_ms=[31.5, np.nan], snr=[-0.0, 9])
    message.sequence = 99
    assert submit(stub, message) == 2
    (answer,) = query(stub, device_id)
    message.sequence = 0
    assert answer.SerializeToString() == message.SerializeToString()


def test_a_request_id_stores_once(stub: TelemetryServiceStub, device_id: str) -> None:
    request_id = str(uuid.uuid4())
    for _ in range(2):
        assert submit(stub, batch(device_id, latency_ms=[1]), request_id) == 1
    assert latencies(query(stub, device_id)) == [1]
    submit(stub, batch(device_id, latency_ms=[2]), str(uuid.uuid4()))
    assert sorted(latencies(query(stub, device_id))) == [1, 2]


def test_sample_count_is_that_of_the_batch(stub: TelemetryServiceStub, device_id: str) -> None:
    assert submit(stub, batch(device_id, (0, 0, 1), latency_ms=[1, 1, 2])) == 3
    assert latencies(query(stub, device_id)) == [1, 2]


@pytest.mark.parametrize("encoding", encodings.VARIANTS, ids=lambda encoding: encoding.__name__)
def test_every_legal_encoding(
    stub: TelemetryServiceStub,
    channel: grpc.Channel,
    device_id: str,
    encoding: Callable[[bytes], bytes],
) -> None:
    message = batch(device_id, (0, 1), latency_ms=[1.5, np.nan], snr=[2, 3])
    data = encodings.delimited(1, encoding(message.SerializeToString()))
    raw: Any = channel.unary_unary(SERVICE + "SubmitTelemetry")
    assert pb.SubmitTelemetryResponse.FromString(raw(data, timeout=30)).sample_count == 2
    assert samples_in(m.SerializeToString() for m in query(stub, device_id)) == samples_of(message)


@pytest.mark.parametrize(
    ("request_message", "reason", "field"),
    [
        (pb.SubmitTelemetryRequest(), "INVALID_DEVICE_ID", "batch.device_id"),
        (
            pb.SubmitTelemetryRequest(batch=pb.TelemetryBatch(device_id="d")),
            "NO_SAMPLES",
            "batch.time_unix_nano",
        ),
        (
            pb.SubmitTelemetryRequest(batch=batch("d", packet_loss_percent=[100.5])),
            "VALUE_OUT_OF_RANGE",
            "batch.packet_loss_percent",
        ),
        (pb.SubmitTelemetryRequest(batch=batch("d"), request_id="a b"), "INVALID_ARGUMENT", "request_id"),
        (pb.SubmitTelemetryRequest(batch=batch("d"), request_id="a" * 129), "INVALID_ARGUMENT", "request_id"),
    ],
)
def test_submissions_that_are_refused(
    stub: TelemetryServiceStub, request_message: pb.SubmitTelemetryRequest, reason: str, field: str
) -> None:
    status = refused(lambda: stub.SubmitTelemetry(request_message, timeout=30))
    assert status["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert status["reason"] == reason
    (violation,) = status["BadRequest"].field_violations
    assert violation.field == field
    assert status["message"].startswith(f"{field}: expected")


@pytest.mark.parametrize(
    "method",
    ["SubmitTelemetry", "QueryTelemetry", "ListLatestTelemetry", "SummarizeTelemetry", "WatchTelemetry"],
)
def test_requests_that_are_no_messages(channel: grpc.Channel, method: str) -> None:
    kind: Any = (
        channel.unary_stream if method in ("QueryTelemetry", "WatchTelemetry") else channel.unary_unary
    )
    for data in (b"\xff", b"\x0a\x7f"):
        answer = kind(SERVICE + method)(data, timeout=30) if kind == channel.unary_stream else None
        status = refused(
            lambda answer=answer, data=data: (
                list(answer) if answer else kind(SERVICE + method)(data, timeout=30)
            )  # type: ignore[misc]
        )
        assert status["reason"] == "MALFORMED_MESSAGE"


# Querying


def test_samples_come_in_time_order_and_once(stub: TelemetryServiceStub, device_id: str) -> None:
    submit(stub, batch(device_id, (0, 20, 40), latency_ms=[0, 2, 4]))
    submit(stub, batch(device_id, (10, 20, 30), latency_ms=[1, 2, 3]))
    assert latencies(query(stub, device_id)) == [0, 1, 2, 3, 4]


def test_the_range_is_half_open(stub: TelemetryServiceStub, device_id: str) -> None:
    submit(stub, batch(device_id, range(5), latency_ms=range(5)))
    assert latencies(query(stub, device_id, start_time=at(1), end_time=at(3))) == [1, 2]
    assert latencies(query(stub, device_id, start_time=at(3))) == [3, 4]
    assert latencies(query(stub, device_id, end_time=at(2))) == [0, 1]
    assert query(stub, device_id, start_time=at(2), end_time=at(2)) == []
    assert query(stub, device_id, start_time=at(5)) == []
    far = Timestamp(seconds=-9_223_372_036)
    assert latencies(query(stub, device_id, start_time=far)) == [0, 1, 2, 3, 4]


def test_metrics_are_selected(stub: TelemetryServiceStub, device_id: str) -> None:
    submit(stub, batch(device_id, (0, 1), status="ACTIVE", latency_ms=[1, 2], power_w=[3, 4], snr=[5, 6]))
    (answer,) = query(stub, device_id, metrics=["snr", "power_w", "unheard_of"])
    assert list(answer.time_unix_nano) == [T0, T0 + 1]
    assert list(answer.power_w) == [3, 4]
    assert [(column.name, list(column.values)) for column in answer.extra] == [("snr", [5, 6])]
    assert not answer.latency_ms
    assert not answer.status
    (answer,) = query(stub, device_id, metrics=["status"])
    assert len(answer.status) == 2
    assert not answer.power_w
    assert query(stub, device_id, metrics=["unheard_of"]) == []


def test_devices_come_one_after_the_other(stub: TelemetryServiceStub, device_id: str) -> None:
    ids = [f"{device_id}-{letter}" for letter in "bac"]
    for name in ids:
        submit(stub, batch(name, (0, 1), latency_ms=[1, 2]))
    answers = query(stub, *ids, ids[0], f"{device_id}-unknown")
    assert [answer.device_id for answer in answers] == sorted(ids)
    everything = [answer.device_id for answer in query(stub)]
    assert set(ids) <= set(everything)
    assert everything == sorted(everything)


def test_a_query_goes_on_behind_a_device(stub: TelemetryServiceStub, device_id: str) -> None:
    ids = [f"{device_id}-{letter}" for letter in "abc"]
    for name in ids:
        submit(stub, batch(name, (0,), latency_ms=[1]))
    assert [answer.device_id for answer in query(stub, *ids, after_device_id=ids[0])] == ids[1:]
    assert query(stub, *ids, after_device_id=ids[2]) == []
    everything = [answer.device_id for answer in query(stub)]
    behind = [answer.device_id for answer in query(stub, after_device_id=ids[0])]
    assert behind == everything[everything.index(ids[1]) :]
    status = refused(lambda: query(stub, after_device_id="no good"))
    assert (status["reason"], status["BadRequest"].field_violations[0].field) == (
        "INVALID_DEVICE_ID",
        "after_device_id",
    )


def test_many_segments(stub: TelemetryServiceStub, device_id: str) -> None:
    times = np.arange(300) * HOUR * 2
    written = columns(device_id, times.tolist(), latency_ms=np.arange(300))
    submit(stub, pb.TelemetryBatch.FromString(written.encode()))
    answers = query(stub, device_id)
    assert len(answers) == 300
    assert latencies(answers) == list(range(300))


@pytest.mark.parametrize("method", [query, summarize])
def test_ranges_that_are_refused(stub: TelemetryServiceStub, method: Callable[..., Any]) -> None:
    backwards = refused(lambda: method(stub, start_time=at(1), end_time=at(0)))
    assert backwards["BadRequest"].field_violations[0].field == "end_time"
    for time in (
        Timestamp(seconds=10**11),
        Timestamp(nanos=-1),
        Timestamp(nanos=10**9),
        Timestamp(seconds=-(10**11)),
    ):
        status = refused(lambda time=time: method(stub, start_time=time))  # type: ignore[misc]
        assert status["code"] is grpc.StatusCode.INVALID_ARGUMENT
        assert status["BadRequest"].field_violations[0].field == "start_time"


@pytest.mark.parametrize("method", [query, summarize, latest])
def test_device_ids_that_are_refused(stub: TelemetryServiceStub, method: Callable[..., Any]) -> None:
    many = refused(lambda: method(stub, *(f"d{number}" for number in range(1001))))
    assert many["BadRequest"].field_violations[0].field == "device_ids"
    assert "1000" in many["message"]
    wrong = refused(lambda: method(stub, "good", "no good"))
    assert wrong["BadRequest"].field_violations[0].field == "device_ids[1]"
    assert wrong["reason"] == "INVALID_DEVICE_ID"


# Latest


def test_the_newest_sample_of_each_device(stub: TelemetryServiceStub, device_id: str) -> None:
    ids = [f"{device_id}-{letter}" for letter in "ba"]
    for name in ids:
        submit(stub, batch(name, (HOUR, 5), status=["ACTIVE", "OFFLINE"], latency_ms=[2, 1], snr=[4, 3]))
        submit(stub, batch(name, (7,), power_w=[9]))
    answers = latest(stub, *ids, f"{device_id}-unknown").batches
    assert [answer.device_id for answer in answers] == sorted(ids)
    for answer in answers:
        expected = batch(answer.device_id, (HOUR,), status="ACTIVE", latency_ms=[2], snr=[4])
        assert answer == expected


def test_latest_is_paged(stub: TelemetryServiceStub, device_id: str) -> None:
    ids = sorted(f"{device_id}-{number}" for number in range(7))
    for name in ids:
        submit(stub, batch(name, latency_ms=[1]))
    for wanted in (ids, []):
        found: list[str] = []
        token = ""
        while True:
            page = latest(stub, *wanted, page_size=3, page_token=token)
            assert len(page.batches) <= 3
            found += [answer.device_id for answer in page.batches]
            token = page.next_page_token
            if not token:
                break
        assert [name for name in found if name in ids] == ids
        assert found == sorted(set(found))


@pytest.mark.parametrize("token", ["x", "a b", "é", "====", "IA==", "YSBi", "//8="])
def test_page_tokens_that_are_refused(stub: TelemetryServiceStub, token: str) -> None:
    status = refused(lambda: latest(stub, page_token=token))
    assert status["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert status["BadRequest"].field_violations[0].field == "page_token"


def test_page_sizes(stub: TelemetryServiceStub) -> None:
    status = refused(lambda: latest(stub, page_size=-1))
    assert status["BadRequest"].field_violations[0].field == "page_size"
    latest(stub, page_size=2**31 - 1)


# Summaries


def test_summaries(stub: TelemetryServiceStub, device_id: str) -> None:
    values = np.array([10, 20, 30, 40, np.nan], np.float32)
    submit(stub, batch(device_id, range(5), latency_ms=values, power_w=[np.nan] * 5, snr=range(5)))
    (summary,) = summarize(stub, device_id, per_device=True)
    assert (summary.device_id, summary.sample_count) == (device_id, 5)
    assert (summary.first_time, summary.last_time) == (at(0), at(4))
    # power_w has no value at all.
    assert [metric.name for metric in summary.metrics] == ["latency_ms", "snr"]
    metric = summary.metrics[0]
    assert (metric.count, metric.mean, metric.min, metric.max) == (4, 25, 10, 40)
    exact = np.quantile([10.0, 20, 30, 40], [0.5, 0.95, 0.99])
    assert [metric.p50, metric.p95, metric.p99] == pytest.approx(exact.tolist(), rel=1e-12)
    assert metric.percentile_relative_error == 0


def test_summaries_of_several_devices(stub: TelemetryServiceStub, device_id: str) -> None:
    ids = [f"{device_id}-{letter}" for letter in "ba"]
    for number, name in enumerate(ids):
        submit(stub, batch(name, (number, number + 10), latency_ms=[number, number + 2]))
    both = summarize(stub, *ids, f"{device_id}-unknown", per_device=True)
    assert [(summary.device_id, summary.sample_count) for summary in both] == [(ids[1], 2), (ids[0], 2)]
    (total,) = summarize(stub, *ids)
    assert (total.device_id, total.sample_count) == ("", 4)
    assert (total.first_time, total.last_time) == (at(0), at(11))
    assert (total.metrics[0].count, total.metrics[0].mean) == (4, 1.5)


def test_summaries_of_a_range_and_of_chosen_metrics(stub: TelemetryServiceStub, device_id: str) -> None:
    submit(stub, batch(device_id, range(10), latency_ms=range(10), power_w=range(10)))
    chosen = {"metrics": ["latency_ms"], "start_time": at(2), "end_time": at(5)}
    (summary,) = summarize(stub, device_id, **chosen)
    assert summary.sample_count == 3
    assert [(metric.name, metric.mean) for metric in summary.metrics] == [("latency_ms", 3)]


def test_nothing_to_summarize(stub: TelemetryServiceStub, device_id: str) -> None:
    for per_device in (False, True):
        assert summarize(stub, device_id, per_device=per_device) == []
    submit(stub, batch(device_id, (0,), latency_ms=[1]))
    assert summarize(stub, device_id, start_time=at(DAY)) == []


def test_repeats_count_once(stub: TelemetryServiceStub, device_id: str) -> None:
    for _ in range(3):
        submit(stub, batch(device_id, (0, 1), latency_ms=[1, 2]))
    (summary,) = summarize(stub, device_id)
    assert summary.sample_count == summary.metrics[0].count == 2


# Watching, and faults


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with running_plane(tmp_path) as plane:
        yield plane


@pytest.mark.parametrize("room", [3_000_000, 250])
async def test_pages_of_summaries(plane: Plane, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Room for two summaries of a hundred bytes each, where it is short.
    monkeypatch.setattr("spacelink_server.services.telemetry._PAGE_BYTES", room)
    ids = [f"d-{number}" for number in range(7)]
    for name in ids[:3] + ids[5:]:
        await plane.stub.SubmitTelemetry(
            pb.SubmitTelemetryRequest(batch=batch(name, range(3), latency_ms=range(3)))
        )
    found: list[str] = []
    pages, token = 0, ""
    while token or not pages:
        request = pb.SummarizeTelemetryRequest(device_ids=ids, per_device=True, page_size=3, page_token=token)
        answer = await plane.stub.SummarizeTelemetry(request)
        assert len(answer.summaries) <= 3
        found += [summary.device_id for summary in answer.summaries]
        pages, token = pages + 1, answer.next_page_token
    assert found == ids[:3] + ids[5:]
    assert pages == 3
    whole = await plane.stub.SummarizeTelemetry(pb.SummarizeTelemetryRequest(per_device=True))
    assert bool(whole.next_page_token) == (room == 250)


class Watch:
    """A call of WatchTelemetry that misses nothing from now on."""

    def __init__(self, plane: Plane, **request: Any) -> None:
        self.call = plane.stub.WatchTelemetry(pb.WatchTelemetryRequest(**request))

    async def started(self) -> Watch:
        await self.call.initial_metadata()
        return self

    async def read(self) -> pb.WatchTelemetryResponse:
        answer = await self.call.read()
        assert isinstance(answer, pb.WatchTelemetryResponse)
        return answer


async def send(plane: Plane, device_id: str = "d", **metrics: ArrayLike) -> pb.TelemetryBatch:
    message = batch(device_id, (0, 1), **metrics)
    await plane.stub.SubmitTelemetry(pb.SubmitTelemetryRequest(batch=message))
    return message


async def test_watchers_get_what_is_committed(plane: Plane) -> None:
    everything = await Watch(plane).started()
    one = await Watch(plane, device_ids=["b"], metrics=["latency_ms"]).started()
    first = await send(plane, "a", latency_ms=[1, 2])
    await send(plane, "b", power_w=[1, 2])
    third = await send(plane, "b", latency_ms=[3, 4], power_w=[1, 2])
    assert (await everything.read()).batch == first
    await everything.read()
    assert (await everything.read()).batch == third
    answer = await one.read()
    assert answer.batch == batch("b", (0, 1), latency_ms=[3, 4])
    assert answer.lost_batches == 0


async def test_a_slow_watcher_is_told_how_many_it_lost(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = [segment("d", number, number) for number in range(10)]
    monkeypatch.setattr(live, "MAX_LAG_BYTES", 3 * len(segments[1].payload))
    watch = await Watch(plane).started()
    plane.feed.publish(TENANT, segments)
    answers = [await watch.read() for _ in range(3)]
    assert latencies([answer.batch for answer in answers]) == [7, 8, 9]
    assert [answer.lost_batches for answer in answers] == [7, 0, 0]


async def test_what_was_lost_is_told_with_the_next_batch_that_is_wanted(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_LAG_BYTES", 1)
    watch = await Watch(plane, metrics=["power_w"]).started()
    plane.feed.publish(TENANT, [segment("d", number) for number in range(4)])
    await send(plane, power_w=[1, 2])
    answer = await watch.read()
    assert list(answer.batch.power_w) == [1, 2]
    assert answer.lost_batches >= 3


async def test_watchers_that_leave_are_forgotten(plane: Plane) -> None:
    watches = [await Watch(plane).started() for _ in range(3)]
    assert len(plane.feed._watchers) == 3
    for watch in watches:
        watch.call.cancel()
    await until(lambda: not plane.feed._watchers)


async def test_watches_end_with_the_server(plane: Plane) -> None:
    watch = await Watch(plane).started()
    plane.feed.close()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await watch.read()
    status = status_of(raised.value.code(), raised.value.trailing_metadata())
    assert (status["code"], status["reason"]) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_watches_that_are_refused(plane: Plane) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await Watch(plane, device_ids=["a", ""]).read()
    status = status_of(raised.value.code(), raised.value.trailing_metadata())
    assert status["BadRequest"].field_violations[0].field == "device_ids[1]"
    assert not plane.feed._watchers


async def test_a_store_that_cannot_be_written(plane: Plane) -> None:
    plane.store.break_down()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await send(plane, latency_ms=[1, 2])
    status = status_of(raised.value.code(), raised.value.trailing_metadata())
    assert (status["code"], status["reason"]) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert status["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert "secret" not in str(status)
    plane.store.error = None
    await send(plane, latency_ms=[1, 2])


@pytest.mark.parametrize("method", ["QueryTelemetry", "ListLatestTelemetry", "SummarizeTelemetry"])
async def test_a_store_that_cannot_be_read(
    plane: Plane, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(plane, latency_ms=[1, 2])

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("disk on fire at /dev/secret")

    monkeypatch.setattr(plane.store, "read", fail)
    request: Any = getattr(pb, f"{method}Request")()
    call: Any = getattr(plane.stub, method)(request)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (call.read() if method == "QueryTelemetry" else call)
    status = status_of(raised.value.code(), raised.value.trailing_metadata())
    assert (status["code"], status["reason"]) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert "secret" not in str(status)


async def test_a_submission_of_the_largest_size(plane: Plane) -> None:
    message = batch("d", range(95), latency_ms=range(95), **{f"m{n}": range(95) for n in range(7)})
    message.device_id = "d" * (1 + LIMITS.max_batch_bytes - message.ByteSize())
    assert message.ByteSize() == LIMITS.max_batch_bytes
    request = pb.SubmitTelemetryRequest(batch=message, request_id="r" * 128)
    assert (await plane.stub.SubmitTelemetry(request)).sample_count == 95


async def test_a_query_gives_stored_bytes_on(plane: Plane) -> None:
    written = await send(plane, latency_ms=[1, 2])
    (stored,) = plane.segments("d")
    raw: Any = plane.channel.unary_stream(SERVICE + "QueryTelemetry")
    (answer,) = [data async for data in raw(b"")]
    assert answer == encodings.delimited(1, stored.payload)
    assert TelemetryColumns.decode(stored.payload).encode() == written.SerializeToString()
