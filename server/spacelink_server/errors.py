"""What a call is answered when it cannot be served.

RequestError
 ├── InvalidRequestError    a field of the request is wrong (INVALID_ARGUMENT)
 └── UnavailableError       the server cannot serve now (UNAVAILABLE, with RetryInfo)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOMAIN = "spacelink"

# A store that failed is tried again every so often; so callers are told to come
# back then, too.
STORE_RETRY_SECONDS = 1.0


class RequestError(Exception):
    """Ends a call with a gRPC status.

    Attributes:
        code: the status code.
        reason: UPPER_SNAKE, machine-readable, unique for each kind of failure.
        message: for people: what is wrong and what would be right.
        metadata: further facts for machines.
        retry_seconds: when the call may be tried again; None: not as it is.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_seconds = retry_seconds

    def status(self) -> bytes:
        """Encode the google.rpc.Status for the grpc-status-details-bin trailer."""
        status = Status(code=Code.Value(self.code.name), message=self.message)
        status.details.add().Pack(ErrorInfo(reason=self.reason, domain=_DOMAIN, metadata=self.metadata))
        if self.retry_seconds is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_seconds * 1e9))
            status.details.add().Pack(RetryInfo(retry_delay=delay))
        self._add_details(status)
        data: bytes = status.SerializeToString()
        return data

    def _add_details(self, status: Status) -> None:
        """Let a subclass add a detail of its own type."""


class InvalidRequestError(RequestError):
    """A field of the request is wrong.

    Attributes:
        field: the field's path in the request.
    """

    def __init__(self, field: str, message: str, reason: str = "INVALID_ARGUMENT") -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, reason, f"{field}: {message}")
        self.field = field

    def _add_details(self, status: Status) -> None:
        violation = BadRequest.FieldViolation(field=self.field, description=self.message)
        status.details.add().Pack(BadRequest(field_violations=[violation]))


class UnavailableError(RequestError):
    """The server cannot serve the call now, but will."""

    def __init__(self, reason: str, message: str, retry_seconds: float) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, reason, message, retry_seconds=retry_seconds)


def store_unavailable() -> UnavailableError:
    """Make the answer for when the store fails."""
    return UnavailableError(
        "STORE_UNAVAILABLE", "the store is not available now; nothing was changed", STORE_RETRY_SECONDS
    )
