"""Errors as they come out of calls."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from spacelink import TelemetryColumns, errors
from spacelink.errors import (
    FieldViolation,
    RejectedBatch,
    RejectedBatchesError,
    SpaceLinkError,
    from_rpc_error,
)

CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhaustedError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPreconditionError,
    grpc.StatusCode.ABORTED: errors.AbortedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnimplementedError,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.UNKNOWN: errors.InternalError,
    grpc.StatusCode.DATA_LOSS: errors.InternalError,
    grpc.StatusCode.CANCELLED: SpaceLinkError,
}

FULL_STATUS = status_pb2.Status(message="latency_ms: expected finite values")
for detail in (
    error_details_pb2.ErrorInfo(
        reason="VALUE_OUT_OF_RANGE", domain="spacelink", metadata={"field": "latency_ms"}
    ),
    error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field="latency_ms", description="expected finite values"
            )
        ]
    ),
    error_details_pb2.RetryInfo(),
):
    FULL_STATUS.details.add().Pack(detail)

Failure = Callable[[grpc.StatusCode, bytes | None], Any]


@pytest.fixture
async def failure() -> AsyncIterator[Failure]:
    """Give a call that a real server ends with a code and details."""

    async def fail(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        code, _, details = request.partition(b" ")
        trailing = (("grpc-status-details-bin", details),) if details else ()
        await context.abort(grpc.StatusCode[code.decode()], "what happened", trailing)
        raise AssertionError

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/Fail")

        async def failure(code: grpc.StatusCode, details: bytes | None = None) -> SpaceLinkError:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(code.name.encode() + b" " + (details or b""))
            return from_rpc_error(caught.value)

        yield failure
    await server.stop(None)


@pytest.mark.parametrize("code", CLASSES, ids=lambda code: code.name)
async def test_each_code_has_its_class(failure: Failure, code: grpc.StatusCode) -> None:
    error = await failure(code, None)
    assert type(error) is CLASSES[code]
    assert (error.code, error.message) == (code, "what happened")
    assert (error.reason, error.metadata, error.field_violations, error.retry_delay) == ("", {}, (), None)
    assert str(error) == f"{code.name}: what happened"


async def test_details_are_decoded(failure: Failure) -> None:
    status = status_pb2.Status()
    status.CopyFrom(FULL_STATUS)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    status.details[2].Pack(retry)
    error = await failure(grpc.StatusCode.INVALID_ARGUMENT, status.SerializeToString())
    assert error.reason == "VALUE_OUT_OF_RANGE"
    assert error.metadata == {"field": "latency_ms"}
    assert error.field_violations == (FieldViolation("latency_ms", "expected finite values"),)
    assert error.retry_delay == 1.5
    assert str(error) == "INVALID_ARGUMENT VALUE_OUT_OF_RANGE: latency_ms: expected finite values"


async def test_a_delay_of_zero_is_not_a_missing_one(failure: Failure) -> None:
    error = await failure(grpc.StatusCode.UNAVAILABLE, FULL_STATUS.SerializeToString())
    assert error.retry_delay == 0.0


async def test_damaged_details_leave_the_error(failure: Failure) -> None:
    error = await failure(grpc.StatusCode.UNAVAILABLE, b"\xff\xff\xff")
    assert type(error) is errors.UnavailableError
    assert error.message == "what happened"


async def test_a_damaged_detail_leaves_the_others(failure: Failure) -> None:
    status = status_pb2.Status(message="m")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="REASON"))
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff"))
    error = await failure(grpc.StatusCode.UNAVAILABLE, status.SerializeToString())
    assert (error.reason, error.retry_delay) == ("REASON", None)


def test_errors_survive_pickling() -> None:
    error = errors.UnavailableError("gone", reason="DRAINING", retry_delay=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.UnavailableError
    assert vars(copy) == vars(error)


def test_rejected_batches_are_named_and_survive_pickling() -> None:
    samples = TelemetryColumns.from_arrays("dish-01", ["2026-01-31T12:00:00Z"] * 3, latency_ms=[1, -1, 2])
    error = RejectedBatchesError(
        [RejectedBatch(samples, "VALUE_OUT_OF_RANGE", "latency_ms: expected 0 or more")], 7
    )
    assert isinstance(error, errors.InvalidArgumentError)
    assert error.reason == "VALUE_OUT_OF_RANGE"
    for part in (
        "latency_ms: expected 0 or more",
        "dish-01",
        "2026-01-31T12:00:00.000000000Z",
        "rejected: 3",
        ": 7",
    ):
        assert part in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.committed_samples == 7
    assert np.array_equal(copy.rejected[0].samples.metrics["latency_ms"], samples.metrics["latency_ms"])


def test_errors_without_a_call_have_no_code() -> None:
    error = errors.InvalidTokenError("not a token")
    assert error.code is None
    assert str(error) == "not a token"
