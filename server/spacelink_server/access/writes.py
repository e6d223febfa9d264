"""The store for whoever runs on the event loop."""

from __future__ import annotations

import asyncio
from functools import partial
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
            writer: threads for writing; with a store that has one writer at a
                time the one that also commits telemetry.
            readers: threads for reading.
        """
        self._store = store
        self._writer = writer
        self._readers = readers

    async def write(
        self,
        work: Callable[[Connection], _T],
        *then: Callable[[], Awaitable[object]],
        alone: bool = True,
    ) -> _T:
        """Run work in a write transaction, on disk on return.

        Args:
            work: called with a connection; what it raises undoes the transaction.
            then: called one after the other once it is committed, also if the
                caller has gone by then: what makes the change take effect in
                this process.
            alone: see Transactions.transact.

        Raises:
            UnavailableError: the store failed.
        """
        return await asyncio.shield(self._write(work, then, alone))

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
        self,
        work: Callable[[Connection], _T],
        then: tuple[Callable[[], Awaitable[object]], ...],
        alone: bool,
    ) -> _T:
        transact = partial(self._store.transact, work, alone=alone)
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._writer, transact)
        except StoreUnavailableError:
            raise store_unavailable() from None
        for follow_up in then:
            await follow_up()
        return answer
