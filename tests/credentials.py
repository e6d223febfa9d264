"""Channels on which every call presents a token."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tests.leaks import WATCH

if TYPE_CHECKING:
    from collections.abc import Callable


class AuthorizedChannel:
    """A channel, blocking or of asyncio, whose calls present a token."""

    def __init__(self, channel: Any, token: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {WATCH.token(token)}"),)
        self.unary_unary = self._with_token(channel.unary_unary)
        self.unary_stream = self._with_token(channel.unary_stream)
        self.stream_unary = self._with_token(channel.stream_unary)
        self.stream_stream = self._with_token(channel.stream_stream)

    def _with_token(self, make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: partial(make(*args, **options), metadata=self._metadata)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def __enter__(self) -> Self:
        self._channel.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.__exit__(*error)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._channel.__aexit__(*error)
