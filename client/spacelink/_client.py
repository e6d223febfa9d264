"""What all clients share: the connection and the credential; and blocking clients made of asyncio ones."""

from __future__ import annotations

import functools
import weakref
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
)

from spacelink import _calls
from spacelink._channel import Security, open_channel
from spacelink._credentials import credentials
from spacelink._portal import Portal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from pathlib import Path

    import grpc.aio

    from spacelink.token import Token

# As many entries as the server puts into one page.
_PAGE_SIZE = 1000

_P = ParamSpec("_P")
_T = TypeVar("_T")

if TYPE_CHECKING:
    _Unary: TypeAlias = Callable[..., grpc.aio.UnaryUnaryCall[Any, _T]]
    _Stream: TypeAlias = Callable[..., grpc.aio.UnaryStreamCall[Any, _T]]


class ConnectionOptions(TypedDict, total=False):
    """How a client connects; see AsyncSpaceLinkClient."""

    token: Token | str | None
    token_file: Path | str | None
    api_key: str | None
    api_key_file: Path | str | None
    tenant: str | None
    tls_ca: Path | str | None
    tls_cert: Path | str | None
    tls_key: Path | str | None
    insecure: bool
    timeout: float
    retry_for: float


class AsyncClient:
    """A connection to one of a server's planes; its arguments are those of AsyncSpaceLinkClient."""

    def __init__(self, target: str, **options: Unpack[ConnectionOptions]) -> None:
        self._target = target
        self._patience = _calls.Patience(options.pop("timeout", 30.0), options.pop("retry_for", 30.0))
        self._security = Security.from_files(
            tls_ca=options.pop("tls_ca", None),
            tls_cert=options.pop("tls_cert", None),
            tls_key=options.pop("tls_key", None),
            insecure=options.pop("insecure", False),
        )
        self._credentials = credentials(**options)  # type: ignore[misc]  # the others are taken out
        self._open_channel: grpc.aio.Channel | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and close the connection. Closing twice does nothing."""
        self._is_closed = True
        if self._open_channel is not None:
            await self._open_channel.close()

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        # A channel belongs to the event loop that is running when it is made.
        if self._open_channel is None:
            self._open_channel = open_channel(self._target, self._security)
        return self._open_channel

    async def _unary(self, call: _Unary[_T], request: object, *, repeatable: bool = True) -> _T:
        return await _calls.unary(call, request, self._patience, self._credentials, repeatable=repeatable)

    def _stream(self, call: _Stream[_T], request: object, *, is_live: bool = False) -> AsyncGenerator[_T]:
        return _calls.stream(call, request, self._patience, self._credentials, is_live=is_live)

    async def _pages(self, call: _Unary[_T], request: Any) -> AsyncGenerator[_T]:
        """Give all pages of a list, each when it is asked for."""
        request.page_size = _PAGE_SIZE
        while True:
            page: Any = await self._unary(call, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


_Client = TypeVar("_Client", bound=AsyncClient)
_Client_co = TypeVar("_Client_co", bound=AsyncClient, covariant=True)


class BlockingClient(Generic[_Client_co]):
    """Runs an asyncio client in a thread and waits for its answers.

    Use it as a context manager, or call close. It may be shared by threads.
    """

    def __init__(self, client: _Client_co) -> None:
        self._client = client
        self._portal = Portal()
        # Also at exit, and when the client is dropped without being closed.
        self._close = weakref.finalize(self, _close, self._portal, client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and close the connection. Closing twice does nothing."""
        self._close()


def _close(portal: Portal, client: AsyncClient) -> None:
    portal.close(client.close())


def waiting(
    method: Callable[Concatenate[_Client, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[BlockingClient[_Client], _P], _T]:
    """Make the blocking client's method of the asyncio client's."""

    @functools.wraps(method)
    def call(self: BlockingClient[_Client], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._portal.call(method(self._client, *args, **kwargs))

    return call


def iterating(
    method: Callable[Concatenate[_Client, _P], AsyncGenerator[_T]],
) -> Callable[Concatenate[BlockingClient[_Client], _P], Iterator[_T]]:
    """Make the blocking client's method, a plain iterator, of the asyncio client's."""

    @functools.wraps(method)
    def iterate(self: BlockingClient[_Client], /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        return self._portal.iterate(method(self._client, *args, **kwargs))

    return iterate
