from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spacelink import _wire
from spacelink.columns import METRICS, TelemetryColumns
from spacelink.v1.telemetry_pb2 import (
    DEVICE_STATUS_ACTIVE,
    DEVICE_STATUS_MAINTENANCE,
    DEVICE_STATUS_UNSPECIFIED,
    IngestRequest,
    IngestStart,
    MetricColumn,
    QueryTelemetryResponse,
    SubmitTelemetryRequest,
    TelemetryBatch,
    WatchTelemetryResponse,
)
from tests import encodings
from tests.properties import UNTIMED

FULL = TelemetryBatch(
    device_id="dish-1",
    sequence=7,
    time_unix_nano=[1, 2**62, -3],
    status=[DEVICE_STATUS_ACTIVE, DEVICE_STATUS_UNSPECIFIED, DEVICE_STATUS_MAINTENANCE],
    extra=[MetricColumn(name="snr", values=[1.5, float("nan"), -0.0])],
)
for number, metric in enumerate(METRICS):
    getattr(FULL, metric).extend([number, number + 0.5, float("nan")])
DATA = FULL.SerializeToString(deterministic=True)


def parsed(data: bytes) -> Any:
    view = _wire.BatchView()
    view.ParseFromString(data)
    return view


def test_view_holds_the_columns_as_bytes() -> None:
    view = parsed(DATA)
    assert view.device_id == b"dish-1"
    assert view.sequence == 7
    assert view.time_unix_nano == np.array([1, 2**62, -3], "<i8").tobytes()
    assert view.status == b"\x01\x00\x04"
    for metric in METRICS:
        assert getattr(view, metric) == np.array(getattr(FULL, metric), "<f4").tobytes()
    assert [(column.name, len(column.values)) for column in view.extra] == [(b"snr", 12)]


def test_view_is_written_as_it_was_read() -> None:
    assert parsed(DATA).SerializeToString() == DATA
    assert _wire.is_exact(parsed(DATA), DATA)


def test_view_is_not_part_of_the_published_contract() -> None:
    assert TelemetryBatch.DESCRIPTOR.fields_by_name["latency_ms"].is_repeated
    assert (
        "view"
        not in TelemetryBatch.DESCRIPTOR.file.pool.FindFileContainingSymbol(
            "spacelink.v1.TelemetryBatch"
        ).package
    )
    with pytest.raises(KeyError):
        TelemetryBatch.DESCRIPTOR.file.pool.FindMessageTypeByName("spacelink.view.v1.TelemetryBatch")


@pytest.mark.parametrize("variant", encodings.VARIANTS, ids=lambda variant: variant.__name__)
def test_other_encodings_are_read_as_the_public_parser_reads_them(variant: Any) -> None:
    data = variant(DATA)
    message = TelemetryBatch.FromString(data)
    assert np.array(message.time_unix_nano).tolist() == [1, 2**62, -3], "the variant itself is wrong"
    message.DiscardUnknownFields()
    columns = TelemetryColumns.decode(data)
    assert columns.encode(sequence=message.sequence) == message.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "variant",
    [
        encodings.unpacked,
        encodings.in_pieces,
        encodings.with_unknown_fields,
        encodings.with_overwritten_fields,
        encodings.with_empty_columns,
        encodings.with_long_sequence,
    ],
)
def test_a_view_that_lost_something_is_not_exact(variant: Any) -> None:
    data = variant(DATA)
    assert not _wire.is_exact(parsed(data), data)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_batch_that_comes_in_pieces_is_not_exact(pieces: int) -> None:
    whole = encodings.delimited(IngestRequest.BATCH_FIELD_NUMBER, DATA)
    view = _wire.IngestRequestView()
    view.ParseFromString(whole * pieces)
    assert _wire.is_exact(view, whole * pieces) == (pieces == 1)


def test_unknown_fields_in_extra_columns_are_not_exact() -> None:
    column = MetricColumn(name="snr", values=[1.0]).SerializeToString() + encodings.varint(99 << 3) + b"\x01"
    data = TelemetryBatch(device_id="d", time_unix_nano=[1]).SerializeToString()
    data += encodings.delimited(TelemetryBatch.EXTRA_FIELD_NUMBER, column)
    assert not _wire.is_exact(parsed(data), data)
    assert TelemetryColumns.decode(data).metrics["snr"].tolist() == [1.0]


def test_names_need_not_be_utf8() -> None:
    data = encodings.delimited(1, b"\xff\xfe")
    assert parsed(data).device_id == b"\xff\xfe"
    with pytest.raises(DecodeError):
        TelemetryBatch.FromString(data)


def test_other_messages_keep_their_texts() -> None:
    data = IngestRequest(start=IngestStart(stream_id="s")).SerializeToString()
    view = _wire.IngestRequestView()
    view.ParseFromString(data)
    assert (view.WhichOneof("message"), view.start.stream_id) == ("start", "s")
    request = _wire.SubmitRequestView()
    request.ParseFromString(SubmitTelemetryRequest(batch=FULL, request_id="r").SerializeToString())
    assert (request.request_id, request.batch.sequence) == ("r", 7)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (_wire.QueryResponseView, QueryTelemetryResponse(batch=FULL)),
        (_wire.WatchResponseView, WatchTelemetryResponse(batch=FULL, lost_batches=3)),
    ],
)
def test_answers(view: Any, message: Any) -> None:
    read = view.FromString(message.SerializeToString())
    assert read.batch.SerializeToString() == DATA


@UNTIMED
@given(st.integers(1, 15), st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes)))
def test_embed(number: int, data: bytes) -> None:
    assert _wire.embed(number, data) == encodings.delimited(number, data)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_embedded_batches_are_read_by_the_public_message(size: int) -> None:
    batch = TelemetryBatch(device_id="x" * size)
    data = _wire.embed(QueryTelemetryResponse.BATCH_FIELD_NUMBER, batch.SerializeToString())
    assert QueryTelemetryResponse.FromString(data).batch == batch
