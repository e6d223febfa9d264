"""The calls under way, which end with their tokens."""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from spacelink_server.access import errors
from spacelink_server.access.verification import good_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from spacelink_server.access.bans import BanList
    from spacelink_server.access.errors import RefusedError
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.verification import VerifiedToken

# Timers run by a clock that nobody sets, expiries by one that may be set: it is
# looked at this often at least.
_LOOK_SECONDS = 60.0


_own: ContextVar[OpenCall | None] = ContextVar("open_call", default=None)


class OpenCalls:
    """Ends calls when their token is banned or expires, or the key that signed it does."""

    def __init__(self, bans: BanList, keys: KeyRing, clock: Callable[[], float] = time.time) -> None:
        """Make it, to be told by both when they change.

        Args:
            bans: the banned tokens.
            keys: the root keys.
            clock: gives Unix seconds.
        """
        self._bans = bans
        self._keys = keys
        self._clock = clock
        self._open: set[OpenCall] = set()
        bans.on_change(self._end_banned)
        keys.on_change(self._watch_expiries)

    def hold(self, token: VerifiedToken) -> OpenCall:
        """Give what the call's task has to enter for as long as it serves the call."""
        return OpenCall(token, self._open, lambda: good_until(token, self._keys), self._clock)

    def __len__(self) -> int:
        return len(self._open)

    def _others(self) -> list[OpenCall]:
        """Give all but the call whose own change is taking effect: it may still tell its outcome."""
        own = _own.get()
        return [call for call in self._open if call is not own]

    def _end_banned(self) -> None:
        for call in self._others():
            token = call.token
            if self._bans.is_banned(token.banned_by, token.identifier.token_id, token.digests):
                call.end(errors.banned())

    def _watch_expiries(self) -> None:
        for call in self._others():
            call.watch_expiry()


class OpenCall:
    """A call under way; a context manager that raises RefusedError where end was called.

    Attributes:
        token: with which it was made.
    """

    def __init__(
        self,
        token: VerifiedToken,
        registry: set[OpenCall],
        good_until: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Make it; see OpenCalls.hold."""
        self.token = token
        self._registry = registry
        self._good_until = good_until
        self._clock = clock
        self._error: RefusedError | None = None
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def error(self) -> RefusedError | None:
        """Why nothing more may be done with the token; None: it is still good."""
        if self._error is None and self._clock() >= self._good_until():
            return errors.expired()
        return self._error

    def end(self, error: RefusedError) -> None:
        """End the call with an error, as soon as its task gets to run."""
        if self._error is None and self._task is not None:
            self._error = error
            self._task.cancel()

    def watch_expiry(self) -> None:
        """End the call once its token expires."""
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._good_until() - self._clock()
        if seconds <= 0:
            self.end(errors.expired())
        elif seconds < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(seconds, _LOOK_SECONDS), self.watch_expiry)

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._registry.add(self)
        # Each call has a task, and so a context, of its own.
        _own.set(self)
        self.watch_expiry()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._registry.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._error is None or self._task is None:
            return
        # As asyncio.timeout does: a caller that has gone cancels the task, too.
        others = self._task.uncancel() > self._cancelling
        if not others and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise self._error from None
