"""Calls that are tried again while the server cannot serve them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import grpc.aio

from spacelink._credentials import ANONYMOUS
from spacelink._retry import backoff_delays, is_retryable, retry_delay_from
from spacelink.errors import DeadlineExceededError, SpaceLinkError, from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Any

    from spacelink._credentials import Credentials

    _Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take and be tried again.

    Attributes:
        timeout: seconds for a call, its retries included.
        retry_for: seconds for which a call that could not be served is tried
            again.
    """

    timeout: float
    retry_for: float


class _Attempts:
    """Decides after each failure whether to wait and try again."""

    def __init__(self, patience: Patience) -> None:
        self._now = asyncio.get_running_loop().time
        self._end = self._now() + patience.timeout
        self._last_start = self._now() + min(patience.timeout, patience.retry_for)
        self._delays = backoff_delays()

    def remaining(self) -> float:
        return max(0.0, self._end - self._now())

    async def wait_or_raise(self, error: SpaceLinkError) -> None:
        delay = next(self._delays)
        wanted = retry_delay_from(error)
        delay = delay if wanted is None else wanted
        if not is_retryable(error) or self._now() + delay > self._last_start:
            raise error
        await asyncio.sleep(delay)


async def unary(
    call: Callable[..., grpc.aio.UnaryUnaryCall[Any, _Answer]],
    request: object,
    patience: Patience,
    credentials: Credentials = ANONYMOUS,
    *,
    repeatable: bool = True,
) -> _Answer:
    """Make a unary call.

    Args:
        call: starts the call.
        request: what to ask for.
        patience: for how long to wait and try again.
        credentials: what to present.
        repeatable: the call may be made again after a failure that leaves open
            whether it was served.

    Raises:
        SpaceLinkError: the call failed for good, or its time ran out.
    """
    attempts = _Attempts(patience)
    while True:
        try:
            return await call(request, timeout=attempts.remaining(), metadata=credentials.metadata())
        except grpc.aio.AioRpcError as rpc_error:
            error = from_rpc_error(rpc_error)
        if not repeatable:
            raise error
        await attempts.wait_or_raise(error)


async def stream(
    call: Callable[..., grpc.aio.UnaryStreamCall[Any, _Answer]],
    request: object,
    patience: Patience,
    credentials: Credentials = ANONYMOUS,
    *,
    is_live: bool = False,
) -> AsyncGenerator[_Answer]:
    """Read a server's stream; tried again only until its first message came.

    Later the caller has seen part of the answer, and the rest of another
    attempt's answer need not fit to it.

    Args:
        call: starts the call.
        request: what to ask for.
        patience: for how long to wait for the first message.
        credentials: what to present.
        is_live: the first message may take any time.

    Raises:
        SpaceLinkError: the call failed for good, or nothing came in time.
    """
    attempts = _Attempts(patience)
    while True:
        started_call = call(request, metadata=credentials.metadata())
        messages = _messages(started_call, None if is_live else attempts.remaining())
        started = False
        try:
            async with aclosing(messages):
                async for message in messages:
                    started = True
                    yield message
            return  # noqa: TRY300 - only a failed attempt goes on
        except grpc.aio.AioRpcError as rpc_error:
            error = from_rpc_error(rpc_error)
        if started:
            raise error
        await attempts.wait_or_raise(error)


async def _messages(
    call: grpc.aio.UnaryStreamCall[Any, _Answer], first_within: float | None
) -> AsyncGenerator[_Answer]:
    try:
        async with asyncio.timeout(first_within):
            message = await call.read()
        while message is not grpc.aio.EOF:
            yield message  # type: ignore[misc]  # EOF is gone
            message = await call.read()
    except TimeoutError:
        raise DeadlineExceededError(f"no answer within {first_within:.0f} s") from None
    finally:
        call.cancel()
