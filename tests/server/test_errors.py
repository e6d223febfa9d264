from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from spacelink_server.errors import InvalidRequestError, RequestError, UnavailableError

if TYPE_CHECKING:
    from google.protobuf.message import Message


def details(error: RequestError) -> list[Message]:
    """Unpack the details of an error's status, in their order."""
    unpacked = []
    for detail in Status.FromString(error.status()).details:
        for kind in (ErrorInfo, RetryInfo, BadRequest):
            message = kind()
            if detail.Unpack(message):
                unpacked.append(message)
    return unpacked


def test_status() -> None:
    error = RequestError(
        grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_GAP", "expected 5", metadata={"expected_sequence": "5"}
    )
    status = Status.FromString(error.status())
    assert (status.code, status.message) == (9, "expected 5")
    assert details(error) == [
        ErrorInfo(reason="SEQUENCE_GAP", domain="spacelink", metadata={"expected_sequence": "5"})
    ]
    assert str(error) == "expected 5"


def test_invalid_request_names_the_field() -> None:
    error = InvalidRequestError("batch.latency_ms", "expected finite values")
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    message = "batch.latency_ms: expected finite values"
    violation = BadRequest.FieldViolation(field="batch.latency_ms", description=message)
    assert details(error) == [
        ErrorInfo(reason="INVALID_ARGUMENT", domain="spacelink"),
        BadRequest(field_violations=[violation]),
    ]
    assert Status.FromString(error.status()).message == message
    assert InvalidRequestError("x", "y", "OTHER").reason == "OTHER"


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (0.25, 250_000_000), (90.5, 90_500_000_000)])
def test_unavailable_says_when_to_retry(seconds: float, nanos: int) -> None:
    error = UnavailableError("STORE_UNAVAILABLE", "not now", seconds)
    assert error.code is grpc.StatusCode.UNAVAILABLE
    info, retry = details(error)
    assert info == ErrorInfo(reason="STORE_UNAVAILABLE", domain="spacelink")
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.ToNanoseconds() == nanos


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_its_number(code: grpc.StatusCode) -> None:
    number = Status.FromString(RequestError(code, "REASON", "text").status()).code
    assert Code.Name(number) == code.name
    assert number == code.value[0]
