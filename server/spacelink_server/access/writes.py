"""The store for whoever runs on the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from spacelink_server.errors import store_unavailable
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from spacelink_server.storage.transactions import Connection, Transactions


_T = TypeVar("_T")


class Database:
    """Runs transactions in threads."""

    def __init__(self, store: Transactions, writer: Executor, readers: Executor) -> None:
        """Make a bridge to a store.

        Args:
            store: where the transactions run.
            writer: the one thread that also commits telemetry: writes of
                access and of telemetry take turns.
            readers: threads for reading.
        """
        self._store = store
        self._writer = writer
        self._readers = readers

    async def write(self, work: Callable[[Connection], _T], *then: Callable[[], Awaitable[object]]) -> _T:
        """Run work in a write transaction, on disk on return.

        Args:
            work: called with a connection; what it raises undoes the transaction.
            then: called one after the other once it is committed, also if the
                caller has gone by then: what makes the change take effect in
                this process.

        Raises:
            UnavailableError: the store failed.
        """
        return await asyncio.shield(self._write(work, then))

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """Run work in a read transaction.

        Raises:
            UnavailableError: the store failed.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._store.read, work)
        except StoreUnavailableError:
            raise store_unavailable() from None

    async def _write(
        self, work: Callable[[Connection], _T], then: tuple[Callable[[], Awaitable[object]], ...]
    ) -> _T:
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._writer, self._store.transact, work)
        except StoreUnavailableError:
            raise store_unavailable() from None
        for follow_up in then:
            await follow_up()
        return answer
