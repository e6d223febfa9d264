"""Errors as problem details (RFC 9457), with the reason of the gRPC error."""

from __future__ import annotations

import math
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

import grpc
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from spacelink.errors import SpaceLinkError
from spacelink_rest.names import in_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"

_STATUS: Mapping[grpc.StatusCode | None, HTTPStatus] = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.UNPROCESSABLE_ENTITY,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    # A server that stops ends its calls so.
    grpc.StatusCode.CANCELLED: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}

# What the bridge itself refuses, by HTTP status.
_REASONS = {
    HTTPStatus.BAD_REQUEST: "MALFORMED_MESSAGE",
    HTTPStatus.NOT_FOUND: "ROUTE_NOT_FOUND",
    HTTPStatus.METHOD_NOT_ALLOWED: "METHOD_NOT_ALLOWED",
    HTTPStatus.NOT_ACCEPTABLE: "NOT_ACCEPTABLE",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "BODY_TOO_LARGE",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "HEADERS_TOO_LARGE",
}

# What is told where gRPC itself failed a call, whose text names hosts and layers
# that are not the caller's business.
_DETAILS: Mapping[grpc.StatusCode | None, str] = {
    grpc.StatusCode.UNAVAILABLE: "the server cannot be reached",
    grpc.StatusCode.UNIMPLEMENTED: (
        "the server does not know this call: the bridge's --server must name its data plane and "
        "--admin-server its admin plane; or the server is older than the bridge"
    ),
}

# In one answer; who has more failures than this looks at the first ones anyway.
_MAX_FAILURES = 100


class PartialFailureError(Exception):
    """Some devices' samples were not stored; the others' were.

    Attributes:
        committed: how many samples were.
        errors: why the others were not, by device.
    """

    def __init__(self, committed: int, errors: Mapping[str, SpaceLinkError]) -> None:
        super().__init__(f"{committed} samples committed, {len(errors)} devices failed")
        self.committed = committed
        self.errors = errors


def http_status(code: grpc.StatusCode | None) -> HTTPStatus:
    """Give the HTTP status that stands for a gRPC status."""
    return _STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    status: int,
    reason: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> JSONResponse:
    """Make the answer to a request that failed.

    Args:
        status: the HTTP status.
        reason: UPPER_SNAKE, for programs.
        detail: for people.
        headers: further headers.
        members: further members; those that are empty are left out.
    """
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "reason": reason,
        **{name: value for name, value in members.items() if value},
    }
    return JSONResponse(jsonable_encoder(content), status, headers, MEDIA_TYPE)


def of_error(error: SpaceLinkError, **members: object) -> JSONResponse:
    """Make the answer that tells what a gRPC call was answered."""
    status = http_status(error.code)
    own = None if error.reason else _DETAILS.get(error.code)
    return problem(
        status,
        error.reason or (error.code.name if error.code else "INTERNAL"),
        own or error.message,
        headers=_headers(status, error),
        errors=[{"field": v.field, "description": v.description} for v in error.field_violations],
        metadata=error.metadata,
        **members,
    )


def _headers(status: HTTPStatus, error: SpaceLinkError) -> dict[str, str]:
    headers = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_delay is not None:
        # Whole seconds only; less would be too early.
        headers["Retry-After"] = str(math.ceil(error.retry_delay))
    return headers


def install(app: FastAPI) -> None:
    """Let an application answer all its failures with problem details."""
    app.add_exception_handler(SpaceLinkError, _answer_error)
    app.add_exception_handler(PartialFailureError, _answer_partial)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_failure)


def _answer_error(request: Request, error: Any) -> JSONResponse:
    return of_error(in_parameters(error) if request.method == "GET" else error)


def _answer_partial(request: Request, error: Any) -> JSONResponse:
    failures = [
        {"device_id": device_id, "reason": failure.reason, "detail": failure.message}
        for device_id, failure in islice(error.errors.items(), _MAX_FAILURES)
    ]
    first = next(iter(error.errors.values()))
    return of_error(first, committed_sample_count=error.committed, failures=failures)


def _answer_invalid(request: Request, error: Any) -> JSONResponse:
    # Without the input: it may be a password.
    errors = [{"field": _field(item["loc"]), "description": item["msg"]} for item in error.errors()]
    first = errors[0]
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "INVALID_ARGUMENT",
        f"{first['field']}: {first['description']}",
        errors=errors,
    )


def _field(location: tuple[str | int, ...]) -> str:
    """Name a place as in device_ids[3]; the part of the request goes without saying."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location[1:])
    return text.removeprefix(".") or str(location[0])


def _answer_http(request: Request, error: Any) -> JSONResponse:
    status = HTTPStatus(error.status_code)
    reason = _REASONS.get(status, status.name)
    headers = error.headers
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        # The router tells of the first route on this path only.
        headers = {"Allow": ", ".join(_allowed(request)) or headers["Allow"]}
    return problem(status, reason, str(error.detail), headers=headers)


def _allowed(request: Request) -> list[str]:
    """Give the documented methods on the path of the route that a request came to."""
    paths = request.app.openapi()["paths"]
    return sorted(method.upper() for method in paths.get(request.scope["route"].path_format, ()))


def _answer_failure(request: Request, error: Exception) -> JSONResponse:
    # The server, which gets the exception next, logs it.
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", "the bridge failed to serve the request")
