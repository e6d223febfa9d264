"""Transactions, for the rooms that hand a connection on without knowing SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connection", "Transactions"]

_T = TypeVar("_T")


class Transactions(Protocol):
    """The part of a store that runs work in transactions.

    Both methods block, and raise StoreUnavailableError where the store fails them.
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
