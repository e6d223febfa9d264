"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
    from typing import Any

    _T = TypeVar("_T")

_END = object()


class Portal:
    """Runs coroutines to their end for a caller that waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a client that was never closed must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="spacelink-client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(_cancel_others())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine and give its result; an interrupt cancels it.

        Raises:
            RuntimeError: it could never run.
        """
        if self._loop.is_closed():
            coroutine.close()
            raise RuntimeError("the client is closed")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("the client's own thread cannot wait for it; use a client of its own")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[_T]) -> Iterator[_T]:
        """Give the items one by one; each is awaited when it is asked for."""
        steps: list[asyncio.Task[Any]] = []
        try:
            while (item := self.call(_next(items, steps))) is not _END:
                yield item  # type: ignore[misc]  # _END is gone
        finally:
            if not self._loop.is_closed():
                self.call(_close(items, steps))

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine and stop. Calls under way are cancelled."""
        asyncio.run_coroutine_threadsafe(self._stop_after(last), self._loop)
        # A client may be garbage-collected in the loop's own thread.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _stop_after(self, last: Coroutine[Any, Any, None]) -> None:
        try:
            await last
        finally:
            self._loop.stop()


async def _close(items: AsyncGenerator[Any], steps: Sequence[asyncio.Task[Any]]) -> None:
    """End a generator, and first the step of it that was interrupted, if one was."""
    for step in steps:
        # An interrupt may come before call can cancel what it has begun.
        if not step.cancelling():
            step.cancel()
        await asyncio.wait([step])
    await items.aclose()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _next(items: AsyncGenerator[_T], steps: list[asyncio.Task[Any]]) -> _T | object:
    if task := asyncio.current_task():
        steps[:] = [task]
    return await anext(items, _END)
