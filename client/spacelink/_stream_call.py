"""A call with streams both ways that tells the server's own status, whatever becomes of a write.

When a write fails because the server has ended the call, grpc.aio puts an
INTERNAL of its own over the server's status, before or after that comes, and
gives out no more of what was received (https://github.com/grpc/grpc/issues/36066).
The server's status would be lost, and with it why it ended the call and when to
come back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Coroutine

    _T = TypeVar("_T")

# How grpc.aio's own status is told from a server's INTERNAL.
_OWN_DETAILS = "Internal error from Core"

# The server's status follows a failed write at once, for the call is over by
# then. Should it ever not, a producer must not wait for it.
_STATUS_SECONDS = 5.0
_LOOK_SECONDS = 0.01


class StreamCall:
    """Messages, encoded, to and from the server.

    Args:
        call: a call without a serializer and a deserializer.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        self._call = call
        self._status: grpc.aio.AioRpcError | None = None
        # At once: the next status put over this one would hide it.
        call.add_done_callback(self._keep_status)

    async def write(self, data: bytes) -> bool:
        """Send a message; False: the call is over, and read tells why."""
        try:
            await self._call.write(data)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True

    async def done_writing(self) -> None:
        """Send no more."""
        await self._call.done_writing()

    async def read(self) -> bytes | None:
        """Receive a message; None at the end of a call that ended well.

        Raises:
            grpc.aio.AioRpcError: it ended otherwise.
        """
        try:
            data: Any = await self._call.read()
        except grpc.aio.AioRpcError as error:
            data = await self._read_on(error)
        return None if data is grpc.aio.EOF else data

    def cancel(self) -> None:
        """End the call, if it is not over."""
        self._call.cancel()

    async def _read_on(self, error: grpc.aio.AioRpcError) -> Any:
        """Receive below what grpc.aio gives out; the status comes behind all messages."""
        if self._status is None:
            data = await self._call._cython_call.receive_serialized_message()  # type: ignore[attr-defined]
            if data is not grpc.aio.EOF:
                return data
        try:
            async with asyncio.timeout(_STATUS_SECONDS):
                status = await self._servers_status()
        except TimeoutError:
            raise error from None
        if status.code() is not grpc.StatusCode.OK:
            raise status
        return grpc.aio.EOF

    async def _servers_status(self) -> grpc.aio.AioRpcError:
        while self._status is None:
            # Nothing is called for a second status.
            await asyncio.sleep(_LOOK_SECONDS)
            self._keep_status(self._call)
        return self._status

    def _keep_status(self, call: Any) -> None:
        """Keep the status of an ended call if it is not grpc.aio's own."""
        code, details = _immediately(call.code()), _immediately(call.details())
        if details != _OWN_DETAILS and self._status is None:
            trailers = _immediately(call.trailing_metadata())
            self._status = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details)


def _immediately(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise AssertionError("it waits")
