"""What every call goes through: decoding of requests, and errors to statuses."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc

from spacelink_server.errors import InvalidRequestError, RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    # Takes the method and the caller's metadata; gives what takes the status code's name at the end.
    BeginSpan: TypeAlias = Callable[[str, Iterable[tuple[str, str | bytes]]], Callable[[str], None]]

logger = logging.getLogger(__name__)

_TELEMETRY = "/spacelink.v1.TelemetryService/"

# Methods that take or give encoded messages, to spare the hot path a decoding
# that it does in its own way, or does not need.
_RAW_REQUESTS = frozenset({_TELEMETRY + "Ingest", _TELEMETRY + "SubmitTelemetry"})
_RAW_RESPONSES = frozenset(_TELEMETRY + name for name in ("Ingest", "QueryTelemetry", "WatchTelemetry"))


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Decodes requests and answers every failure with a status of ours.

    Left to grpcio, a request that is no protobuf and any exception become
    UNKNOWN, with the exception's text for the caller to read.

    Attributes:
        ended: how many calls ended, by method and name of the status code; calls
            of methods that do not exist are those of the method "unknown".
    """

    def __init__(self, begin_span: BeginSpan | None = None) -> None:
        """Make it.

        Args:
            begin_span: called when a call begins; None: nobody traces calls.
        """
        self.ended: Counter[tuple[str, str]] = Counter()
        self._begin_span = begin_span

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            # Anybody can make up names; grpcio answers them by itself.
            self.ended["unknown", "UNIMPLEMENTED"] += 1
            return None
        decode = None if method in _RAW_REQUESTS else handler.request_deserializer
        changes: dict[str, Any] = {
            "request_deserializer": None,
            kind(handler): self._counted(method, _wrap(handler, method, decode)),
        }
        if method in _RAW_RESPONSES:
            changes["response_serializer"] = None
        wrapped: Handler = handler._replace(**changes)
        return wrapped

    def _counted(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def count(request: Any, context: Context) -> Any:
            # What neither answers nor raises an exception was cancelled: the caller
            # has gone, its deadline is over, or the server stops. A stream of
            # requests just ends then, so that its method may answer as ever.
            code = "CANCELLED"
            begin_span = self._begin_span
            end_span = begin_span(method, context.invocation_metadata() or ()) if begin_span else None
            try:
                answer = await behaviour(request, context)
                code = "OK"
            except Exception:
                code = context.code().name
                raise
            finally:
                self.ended[method, code] += 1
                if end_span is not None:
                    end_span(code)
            return answer

        return count


def kind(handler: Any) -> str:
    """Give the name of the handler's behaviour, which says the shape of its calls."""
    requests = "stream" if handler.request_streaming else "unary"
    responses = "stream" if handler.response_streaming else "unary"
    return f"{requests}_{responses}"


def _wrap(handler: Any, method: str, decode: Callable[[bytes], Any] | None) -> Callable[..., Any]:
    """Wrap the behaviour, keeping its shape."""
    behaviour = getattr(handler, kind(handler))

    def decoded(request: Any) -> Any:
        if decode is None:
            return request
        if handler.request_streaming:
            return (_decode(decode, data) async for data in request)
        return _decode(decode, request)

    async def unary_response(request: Any, context: Context) -> Any:
        try:
            return await behaviour(decoded(request), context)
        except Exception as error:
            await _abort(context, method, error)

    async def stream_response(request: Any, context: Context) -> None:
        try:
            answer = behaviour(decoded(request), context)
            if hasattr(answer, "__aiter__"):
                async for message in answer:
                    await context.write(message)
            else:
                await answer
        except Exception as error:
            await _abort(context, method, error)

    return stream_response if handler.response_streaming else unary_response


def _decode(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except Exception:
        # Generated deserialisers raise DecodeError, others what they like.
        raise InvalidRequestError(
            "request", "not a message of the method's request type", "MALFORMED_MESSAGE"
        ) from None


async def _abort(context: Context, method: str, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, grpc.aio.InternalError):
        # A message could not be sent, as when the caller has gone.
        logger.info("%s ended: %s", method, error)
        error = RequestError(grpc.StatusCode.CANCELLED, "CANCELLED", "the caller has gone")
    elif not isinstance(error, RequestError):
        logger.error("%s failed", method, exc_info=error)
        error = RequestError(grpc.StatusCode.INTERNAL, "INTERNAL", "the server failed to serve the call")
    details = (("grpc-status-details-bin", error.status()),)
    await context.abort(error.code, error.message, details)
    raise AssertionError  # abort raises
