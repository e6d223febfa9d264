"""What stands before every method: credential, token, tenant, caveats, limits."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink_server.access import call, guard
from spacelink_server.access.guard import Guard
from spacelink_server.access.rules import PUBLIC
from spacelink_server.errors import RequestError, UnavailableError
from spacelink_server.rpc import kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spacelink_server.access.allowances import Allowances
    from spacelink_server.access.authentication import Authenticator
    from spacelink_server.access.authorization import Authorizer
    from spacelink_server.access.devices import DeviceLimits
    from spacelink_server.access.limits import Limiter
    from spacelink_server.access.lineage import Lineage
    from spacelink_server.access.open_calls import OpenCall, OpenCalls
    from spacelink_server.access.refusals import Refusals
    from spacelink_server.access.rules import Rule, Rules
    from spacelink_server.access.verification import VerifiedToken

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gate:
    """All that it takes to let calls in.

    Attributes:
        authenticator: gives their tokens.
        authorizer: holds these against what they ask for.
        allowances: finds their limits.
        limiter: has the units.
        devices: has room for them.
        open_calls: ends them when their tokens end.
        lineage: counts the tokens presented.
        refusals: counts the calls refused.
    """

    authenticator: Authenticator
    authorizer: Authorizer
    allowances: Allowances
    limiter: Limiter
    devices: DeviceLimits
    open_calls: OpenCalls
    lineage: Lineage
    refusals: Refusals


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Lets calls in, or raises the RequestError that CallInterceptor, outside of it, answers.

    A handler finds its call and its guard with call.current and guard.current.
    """

    def __init__(self, rules: Rules, gate: Gate) -> None:
        """Make it.

        Args:
            rules: what each method asks for, by "/package.Service/Method"; nobody
                may call a method that is not there.
            gate: lets calls in.
        """
        self._rules = rules
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        rule = self._rules.get(method)
        if handler is None or rule is PUBLIC:
            return handler  # type: ignore[no-any-return]
        entry = _Entry(self._gate, method, rule, counted=not handler.request_streaming)
        wrapped: Handler = handler._replace(**{kind(handler): _wrap(handler, entry)})
        return wrapped


@dataclass(frozen=True, slots=True)
class _Entry:
    """The way into one method.

    Attributes:
        counted: whether the call itself is a unit of rate; of a stream of
            requests, batches are.
    """

    gate: Gate
    method: str
    rule: Rule | None
    counted: bool

    async def authenticate(self, context: Context) -> VerifiedToken:
        try:
            token = await self.gate.authenticator.authenticate(context.invocation_metadata() or ())
        except RequestError as error:
            self._refused(error, None)
            raise
        self.gate.lineage.count(token)
        return token

    async def let_in(self, open_call: OpenCall, request: Any, context: Context) -> None:
        token = open_call.token
        try:
            await self._let_in(token, open_call, request, context)
        except RequestError as error:
            self._refused(error, token)
            raise

    async def _let_in(
        self, token: VerifiedToken, open_call: OpenCall, request: Any, context: Context
    ) -> None:
        gate = self.gate
        metadata = context.invocation_metadata() or ()
        entered = gate.authorizer.authorize(self.rule, token, request, metadata, context.peer())
        limits = await gate.allowances.limits(entered)
        if self.counted and (keys := limits.in_force()):
            await gate.limiter.take(keys, 1, 0)
        call.enter(entered)
        guard.enter(Guard(entered, open_call, limits, gate.limiter, gate.devices))

    def _refused(self, error: RequestError, token: VerifiedToken | None) -> None:
        cause = getattr(error, "cause", error.message)
        logger.debug("%s refused: %s (%s)", self.method, error.reason, cause)
        if not isinstance(error, UnavailableError):
            self.gate.refusals.count(token.tenant if token else None, self.method, error.reason)


def _wrap(handler: Any, entry: _Entry) -> Callable[..., Any]:
    """Wrap the behaviour, keeping its shape."""
    behaviour = getattr(handler, kind(handler))

    async def unary_response(request: Any, context: Context) -> Any:
        with entry.gate.open_calls.hold(await entry.authenticate(context)) as open_call:
            await entry.let_in(open_call, request, context)
            return await behaviour(request, context)

    async def stream_response(request: Any, context: Context) -> None:
        with entry.gate.open_calls.hold(await entry.authenticate(context)) as open_call:
            await entry.let_in(open_call, request, context)
            answer = behaviour(request, context)
            if hasattr(answer, "__aiter__"):
                async with contextlib.aclosing(answer):
                    async for message in answer:
                        await context.write(message)
            else:
                await answer

    return stream_response if handler.response_streaming else unary_response
