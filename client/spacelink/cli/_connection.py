"""What all client commands share: where the server is, and how errors are told."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import grpc

from spacelink import AsyncSpaceLinkClient, SpaceLinkClient
from spacelink._channel import DEFAULT_TARGET
from spacelink.cli.settings import setting
from spacelink.errors import SpaceLinkError

if TYPE_CHECKING:
    from collections.abc import Callable

# A server that restarts is back within a second or two; without one, nobody
# wants to wait longer to be told.
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Connection:
    """The server that a command speaks to."""

    server: str

    def client(self, retry_for: float = RETRY_SECONDS) -> SpaceLinkClient:
        """Make a blocking client."""
        return SpaceLinkClient(self.server, retry_for=retry_for)

    def async_client(self) -> AsyncSpaceLinkClient:
        """Make an asyncio client."""
        return AsyncSpaceLinkClient(self.server, retry_for=RETRY_SECONDS)


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the client options as a Connection, and tell its errors in one line."""

    @setting(
        "--server",
        default=DEFAULT_TARGET,
        show_default=True,
        metavar="HOST:PORT",
        callback=_check_address,
        help="The server.",
    )
    @functools.wraps(function)
    def command(*args: Any, server: str, **kwargs: Any) -> None:
        # The SDK's warnings would repeat what the command tells.
        logging.getLogger("spacelink").addHandler(logging.NullHandler())
        try:
            function(*args, connection=Connection(server), **kwargs)
        except SpaceLinkError as error:
            raise click.ClickException(describe(error, server)) from None

    return command


def describe(error: SpaceLinkError, server: str) -> str:
    """Say in one line what went wrong."""
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        # gRPC's text names its layers first and the cause last.
        cause = error.message.rpartition(": ")[2]
        return f"cannot reach the server at {server}: {cause}"
    return " ".join(error.message.split())


def _check_address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{value!r}: expected HOST:PORT, such as {DEFAULT_TARGET}", ctx, param)
    return value
