"""Answers of the server, also of one that is newer than this client."""

from __future__ import annotations

import pytest

from spacelink import _decode, errors
from spacelink.columns import TelemetryColumns
from spacelink.v1 import telemetry_pb2 as pb

SAMPLES = TelemetryColumns.from_arrays("dish-01", [1, 2], latency_ms=[1.5, 2.5], status="ACTIVE")
BATCH = pb.TelemetryBatch.FromString(SAMPLES.encode())
# Field 1000 of a later version of the contract, a number.
UNKNOWN_FIELD = b"\xc0\x3e\x07"


@pytest.mark.parametrize("surplus", [b"", UNKNOWN_FIELD], ids=["known", "newer"])
def test_query_responses_are_columns(surplus: bytes) -> None:
    data = pb.QueryTelemetryResponse(batch=BATCH).SerializeToString() + surplus
    samples = _decode.query_response(data)
    assert samples.device_id == "dish-01"
    assert samples.time_unix_nano.tolist() == [1, 2]
    assert samples.metrics["latency_ms"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("surplus", [b"", UNKNOWN_FIELD], ids=["known", "newer"])
def test_watch_responses_tell_what_was_lost(surplus: bytes) -> None:
    data = pb.WatchTelemetryResponse(batch=BATCH, lost_batches=300).SerializeToString() + surplus
    update = _decode.watch_response(data)
    assert update.lost_batches == 300
    assert update.samples.metrics["latency_ms"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff",
        pb.QueryTelemetryResponse(
            batch=pb.TelemetryBatch(device_id="d", time_unix_nano=[1], latency_ms=[1, 2])
        ).SerializeToString(),
    ],
    ids=["no message", "unequal columns"],
)
def test_an_answer_that_is_none_is_the_server_s_fault(data: bytes) -> None:
    with pytest.raises(errors.InternalError, match="not readable"):
        _decode.query_response(data)
