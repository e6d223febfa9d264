"""Transactions, for the rooms that hand a connection on without knowing SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connection", "Transactions"]

_T = TypeVar("_T")
_Loaded = TypeVar("_Loaded")
_Made = TypeVar("_Made")


class Transactions(Protocol):
    """The part of a store that runs work in transactions.

    All methods block, are called by any thread, and raise StoreUnavailableError where the store fails them.
    """

    def transact(self, work: Callable[[Connection], _T], *, alone: bool = True) -> _T:
        """Run work in a write transaction; on disk on return, undone if it raises.

        Args:
            work: called with a connection.
            alone: no other such transaction runs meanwhile, on any server; False
                for work that locks the rows it looks at.
        """

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Run work in a read transaction."""

    def process(
        self,
        load: Callable[[Connection], _Loaded | None],
        make: Callable[[_Loaded], _Made],
        store: Callable[[Connection, _Made], None],
    ) -> _Loaded | None:
        """Make something out of what is stored, and store it.

        Rows that load locks stay locked until all is on disk, where the database
        has row locks. Elsewhere, and so everywhere, store has to see whether
        what was loaded is still so; what it raises undoes it. Writers wait for
        store alone.

        Returns:
            What load gave; where that was None, nothing was made.
        """
