"""The exceptions of the SDK.

    SpaceLinkError
      InvalidArgumentError        an argument is wrong; field_violations name it
        RejectedBatchesError      ingest went through, but some batches can never be stored
      NotFoundError
      AlreadyExistsError
      UnauthenticatedError        no credential, or one that is not valid
      PermissionDeniedError       the credential does not allow this
      ResourceExhaustedError      a limit or a quota is used up; retry_delay says for how long
      FailedPreconditionError     the state of things does not allow this
      AbortedError                somebody else went first
      UnavailableError            the server cannot be reached or cannot serve now
        UntrustedServerError      what answers there has no good certificate, or does not speak TLS
      DeadlineExceededError       the call's time ran out
      UnimplementedError          the server does not know this call
      InternalError               the server failed
      InvalidTokenError           a token's text or bytes are not a token; raised offline

A code without a class of its own is raised as SpaceLinkError.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from spacelink._times import rfc3339
from spacelink._tls import handshake_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from spacelink.columns import TelemetryColumns

    _Detail = TypeVar("_Detail", bound=Message)

_STATUS_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that is wrong, and what would be right."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class RejectedBatch:
    """A batch of an ingest that can never be stored.

    Attributes:
        samples: the batch, as it was given.
        reason: machine-readable, such as "INVALID_BATCH".
        message: what is wrong with which field, and what would be right.
    """

    samples: TelemetryColumns
    reason: str
    message: str


class SpaceLinkError(Exception):
    """The parent of every error that SpaceLink raises.

    Attributes:
        message: what went wrong, for people.
        code: the gRPC status code; None where no call was made.
        reason: what went wrong, for programs: UPPER_SNAKE, or empty where the
            server did not say.
        metadata: facts that belong to the reason, such as expected_sequence.
        field_violations: the fields that are wrong.
        retry_delay: seconds after which the server wants to be asked again, or
            None where it did not say.
    """

    default_code: ClassVar[grpc.StatusCode | None] = None

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        field_violations: Sequence[FieldViolation] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.reason = reason
        self.metadata = dict(metadata)
        self.field_violations = tuple(field_violations)
        self.retry_delay = retry_delay

    def __str__(self) -> str:
        label = " ".join(filter(None, (self.code.name if self.code else "", self.reason)))
        return f"{label}: {self.message}" if label else self.message


class InvalidArgumentError(SpaceLinkError):
    """An argument is wrong; field_violations name it."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class RejectedBatchesError(InvalidArgumentError):
    """Some batches of an ingest can never be stored; all others are committed.

    Attributes:
        rejected: the batches and what is wrong with them, at least one.
        committed_samples: how many samples are committed.
    """

    def __init__(self, rejected: Sequence[RejectedBatch], committed_samples: int) -> None:
        first = rejected[0]
        count = sum(len(batch.samples) for batch in rejected)
        begin = rfc3339(first.samples.time_unix_nano[:1])[0]
        super().__init__(
            f"{first.message} (device {first.samples.device_id}, batch that begins at {begin}; "
            f"samples rejected: {count}, committed: {committed_samples})",
            reason=first.reason,
        )
        self.rejected = tuple(rejected)
        self.committed_samples = committed_samples

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.rejected, self.committed_samples)


class NotFoundError(SpaceLinkError):
    """What was asked for does not exist."""

    default_code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(SpaceLinkError):
    """What was to be created exists."""

    default_code = grpc.StatusCode.ALREADY_EXISTS


class UnauthenticatedError(SpaceLinkError):
    """The call has no credential, or one that is not valid."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(SpaceLinkError):
    """The credential does not allow the call."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhaustedError(SpaceLinkError):
    """A limit or a quota is used up."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(SpaceLinkError):
    """The state of things does not allow the call."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(SpaceLinkError):
    """Somebody else went first, such as a newer stream with the same stream_id."""

    default_code = grpc.StatusCode.ABORTED


class UnavailableError(SpaceLinkError):
    """The server cannot be reached or cannot serve now."""

    default_code = grpc.StatusCode.UNAVAILABLE


class UntrustedServerError(UnavailableError):
    """What answers at the server's address has no certificate that is good there, or does not speak TLS."""


class DeadlineExceededError(SpaceLinkError):
    """The call's time ran out."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnimplementedError(SpaceLinkError):
    """The server does not know the call."""

    default_code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(SpaceLinkError):
    """The server failed."""

    default_code = grpc.StatusCode.INTERNAL


class InvalidTokenError(SpaceLinkError):
    """A token's text or bytes are not a token. Raised offline."""


_CLASSES: Mapping[grpc.StatusCode, type[SpaceLinkError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}


def from_rpc_error(error: grpc.RpcError) -> SpaceLinkError:
    """Translate what a gRPC call raised; grpc.aio.AioRpcError is a grpc.RpcError.

    Details that are missing or damaged are left out: the error itself matters
    more.
    """
    call: Any = error  # grpc.RpcError has no methods; what calls raise is a grpc.Call too.
    code: grpc.StatusCode = call.code()
    status = _status_of(call)
    # Of a server that could not be reached there are no details of its own.
    if not status.details and (problem := handshake_problem(call.details() or "")):
        return UntrustedServerError(problem)
    info = _detail(status, error_details_pb2.ErrorInfo)
    bad_request = _detail(status, error_details_pb2.BadRequest)
    retry = _detail(status, error_details_pb2.RetryInfo)
    return _CLASSES.get(code, SpaceLinkError)(
        status.message or call.details() or code.name,
        code=code,
        reason=info.reason if info else "",
        metadata=info.metadata if info else {},
        field_violations=[
            FieldViolation(violation.field, violation.description)
            for violation in (bad_request.field_violations if bad_request else ())
        ],
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _status_of(call: Any) -> status_pb2.Status:
    for key, value in call.trailing_metadata() or ():
        if key == _STATUS_DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _detail(status: status_pb2.Status, kind: type[_Detail]) -> _Detail | None:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            detail = kind()
            try:
                packed.Unpack(detail)
            except DecodeError:
                return None
            return detail
    return None
