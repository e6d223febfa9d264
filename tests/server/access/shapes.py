"""A service with a method of each shape, behind the interceptors of the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc

from spacelink._caveats import ANY
from spacelink.admin.v1.governance_pb2 import GetTokenGraphRequest
from spacelink.v1.telemetry_pb2 import QueryTelemetryRequest
from spacelink_server.access import call, guard
from spacelink_server.access.interceptor import AccessInterceptor
from spacelink_server.access.rules import AUTHENTICATED, PUBLIC, Access, any_tenant
from spacelink_server.errors import InvalidRequestError
from spacelink_server.rpc import CallInterceptor
from tests.server.plane import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spacelink_server.access.interceptor import Gate
    from spacelink_server.access.rules import Rules

SERVICE = "/test.Shapes/"
# A method of each shape, all with the same rule.
SHAPES = ("UnaryUnary", "UnaryStream", "UnaryWrites", "StreamUnary", "StreamStream")

_READ = Access("things:read")
RULES: Rules = {
    **{SERVICE + name: _READ for name in SHAPES},
    SERVICE + "Hang": _READ,
    SERVICE + "Fail": _READ,
    SERVICE + "Devices": Access("things:read", devices=lambda request: request.device_ids or (ANY,)),
    SERVICE + "Networks": Access("things:read", networks=lambda request: request.device_ids or (ANY,)),
    SERVICE + "Named": _READ,
    SERVICE + "AnyTenant": Access("tenants:write", tenant=any_tenant),
    SERVICE + "Public": PUBLIC,
    SERVICE + "Myself": AUTHENTICATED,
}


def who() -> bytes:
    """Tell which call is served."""
    served = call.current()
    return f"{served.tenant_id} {served.principal.identifier.token_id} {served.peer}".encode()


class Shapes:
    """The service.

    Attributes:
        open: how many calls each method serves now.
    """

    def __init__(self, gate: Gate) -> None:
        self.open: Counter[str] = Counter()
        self.server = grpc.aio.server(interceptors=(CallInterceptor(), AccessInterceptor(RULES, gate)))
        self.server.add_generic_rpc_handlers((self._handlers(),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    def _handlers(self) -> grpc.GenericRpcHandler:
        query = QueryTelemetryRequest.FromString
        return grpc.method_handlers_generic_handler(
            SERVICE.strip("/"),
            {
                "UnaryUnary": grpc.unary_unary_rpc_method_handler(self._unary),
                "UnaryStream": grpc.unary_stream_rpc_method_handler(self._stream),
                "UnaryWrites": grpc.unary_stream_rpc_method_handler(self._writes),
                "StreamUnary": grpc.stream_unary_rpc_method_handler(self._collect),
                "StreamStream": grpc.stream_stream_rpc_method_handler(self._echo),
                "Hang": grpc.unary_unary_rpc_method_handler(self._hang),
                "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
                "Devices": grpc.unary_unary_rpc_method_handler(self._unary, query),
                "Networks": grpc.unary_unary_rpc_method_handler(self._unary, query),
                "Named": grpc.unary_unary_rpc_method_handler(self._unary, GetTokenGraphRequest.FromString),
                "AnyTenant": grpc.unary_unary_rpc_method_handler(self._unary),
                "Public": grpc.unary_unary_rpc_method_handler(self._public),
                "Myself": grpc.unary_unary_rpc_method_handler(self._unary),
                "Undeclared": grpc.unary_unary_rpc_method_handler(self._unary),
            },
        )

    @contextlib.contextmanager
    def _serving(self, method: str) -> Any:
        self.open[method] += 1
        try:
            yield
        finally:
            self.open[method] -= 1

    async def _unary(self, request: Any, context: Any) -> bytes:
        return who()

    async def _public(self, request: Any, context: Any) -> bytes:
        try:
            return who()
        except LookupError:
            return b"nobody"

    async def _stream(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        with self._serving("UnaryStream"):
            yield who()
            if request:
                await asyncio.Event().wait()

    async def _writes(self, request: Any, context: Any) -> None:
        with self._serving("UnaryWrites"):
            await context.write(who())
            if request:
                await asyncio.Event().wait()

    async def _collect(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        with self._serving("StreamUnary"):
            count = len([request async for request in requests])
            return who() + f" {count}".encode()

    async def _echo(self, requests: AsyncIterator[bytes], context: Any) -> None:
        with self._serving("StreamStream"):
            async for request in requests:
                if refusal := guard.current().refusal(request.decode()):
                    await context.write(refusal.reason.encode())
                    continue
                guard.current().check()
                await guard.current().take_batch(1)
                await context.write(who())

    async def _hang(self, request: Any, context: Any) -> bytes:
        with self._serving("Hang"):
            await asyncio.Event().wait()
        return b""

    async def _fail(self, request: Any, context: Any) -> bytes:
        if request:
            raise InvalidRequestError("thing", "expected another")
        raise RuntimeError("a fault with slk_secrets")


class Caller:
    """Calls the service with a credential."""

    def __init__(self, shapes: Shapes, *metadata: tuple[str, str]) -> None:
        self._channel = shapes.channel
        self._metadata = metadata

    def unary(self, method: str, request: Any = b"") -> Any:
        """Begin a call of a method with one request and one answer."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        return self._channel.unary_unary(SERVICE + method)(data, metadata=self._metadata)

    def stream(self, method: str, request: bytes = b"open") -> Any:
        """Begin a call of a method with one request and many answers."""
        return self._channel.unary_stream(SERVICE + method)(request, metadata=self._metadata)

    def requests(self, method: str) -> Any:
        """Begin a call of a method with many requests."""
        shape = self._channel.stream_unary if method == "StreamUnary" else self._channel.stream_stream
        return shape(SERVICE + method)(metadata=self._metadata)

    def begin(self, method: str) -> Any:
        """Begin a call of a method of any shape."""
        if method.startswith("Unary"):
            return self.unary(method) if method == "UnaryUnary" else self.stream(method, b"")
        return self.requests(method)

    async def answer(self, method: str) -> bytes:
        """Call a method of any shape, and give its first answer."""
        call = self.begin(method)
        if method.startswith("Stream"):
            await call.write(b"dev-1")
            await call.done_writing()
        answer = await (call if method in ("UnaryUnary", "StreamUnary") else call.read())
        assert isinstance(answer, bytes)
        return answer

    async def refused(self, method: str) -> dict[str, Any]:
        """Call a method of any shape, and give what the status says with which it must fail."""
        # Nothing is written: grpc's client calls it an error of its own where a
        # call ends in the middle of a write.
        return await end_of(self.begin(method))


def bearing(shapes: Shapes, token: object, *metadata: tuple[str, str]) -> Caller:
    """Give a caller with a token."""
    return Caller(shapes, ("authorization", f"Bearer {token}"), *metadata)


async def end_of(call: Any) -> dict[str, Any]:
    """Wait until a call ends, which must be in an error, and give what its status says."""
    code = await call.code()
    assert code is not grpc.StatusCode.OK
    return status_of(code, await call.trailing_metadata())


@contextlib.asynccontextmanager
async def running_shapes(gate: Gate) -> AsyncIterator[Shapes]:
    """Run the service."""
    shapes = Shapes(gate)
    await shapes.server.start()
    try:
        yield shapes
    finally:
        await shapes.channel.close()
        await shapes.server.stop(0)
