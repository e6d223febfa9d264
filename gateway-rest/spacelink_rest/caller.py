"""Calls in the name of whoever made a request."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import grpc.aio
from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from spacelink.errors import FieldViolation, InvalidArgumentError, UnauthenticatedError, from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from google.protobuf.message import Message

    Metadata: TypeAlias = tuple[tuple[str, str], ...]

_TENANT = "x-spacelink-tenant"
# Every value is passed on, so that the server sees two credentials where there are two.
_CREDENTIALS = ("authorization", "x-api-key")

# gRPC refuses more than 8 KiB of metadata at random. Half a kilobyte of it is
# what gRPC itself adds.
_MAX_METADATA = 8 * 1024 - 512

# What gRPC takes as a value.
_PRINTABLE = re.compile(r"[ -~]*", re.ASCII)

# A summary over months may take this long; whoever waits longer is gone.
_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True, repr=False)
class Caller:
    """Whoever made a request.

    Attributes:
        metadata: what goes with each call: the credential, the address, the
            tenant and the request's id.
    """

    metadata: Metadata

    def about(self, tenant_id: str) -> Caller:
        """Make the calls about a tenant, whatever the request's header says."""
        if not _PRINTABLE.fullmatch(tenant_id):
            raise _bad_tenant()
        others = tuple(item for item in self.metadata if item[0] != _TENANT)
        return replace(self, metadata=(*others, (_TENANT, tenant_id)))

    async def call(self, method: Callable[..., Awaitable[Any]], request: Message) -> Any:
        """Make a unary call.

        Raises:
            SpaceLinkError: as the server answered.
        """
        try:
            return await method(request, metadata=self.metadata, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def stream(self, method: Callable[..., Any], request: Message) -> AsyncGenerator[Any]:
        """Read a server's stream; whoever stops reading ends the call.

        Raises:
            SpaceLinkError: as the server answered.
        """
        call = method(request, metadata=self.metadata)
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()


async def started(messages: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """Wait for a stream's first message, so that a call that is refused is an error, not an answer."""
    first = await anext(messages, None)

    async def all_of_them() -> AsyncGenerator[Any]:
        async with aclosing(messages):
            if first is not None:
                yield first
            async for message in messages:
                yield message

    return all_of_them()


def _caller(request: Request) -> Caller:
    headers = request.headers
    metadata = [(name, value) for name in _CREDENTIALS for value in headers.getlist(name)]
    if not all(_PRINTABLE.fullmatch(value) for _, value in metadata):
        # gRPC cannot carry it to the server, whose answer to it this is.
        raise UnauthenticatedError("the credential is not valid", reason="INVALID_TOKEN")
    if tenant := headers.get(_TENANT):
        if not _PRINTABLE.fullmatch(tenant):
            raise _bad_tenant()
        metadata.append((_TENANT, tenant))
    if request.client is not None and _PRINTABLE.fullmatch(request.client.host):
        metadata.append(("x-forwarded-for", request.client.host))
    metadata.append(("x-request-id", request.state.request_id))
    if sum(len(name) + len(value) for name, value in metadata) > _MAX_METADATA:
        raise HTTPException(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"credential and tenant: expected at most {_MAX_METADATA} bytes together",
        )
    return Caller(tuple(metadata))


def _bad_tenant() -> InvalidArgumentError:
    violation = FieldViolation(_TENANT, "expected printable ASCII characters")
    return InvalidArgumentError(
        f"{violation.field}: {violation.description}", reason="INVALID_ARGUMENT", field_violations=[violation]
    )


CallerParam: TypeAlias = Annotated[Caller, Depends(_caller)]
