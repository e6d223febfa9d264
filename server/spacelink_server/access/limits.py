"""Rate limits and quotas that hold across servers.

A server leases units of a limit from the store, a share of the window at a
time, and calls take them from memory. What a server does not use it gives back;
what it takes with it when it dies is lost until the next window.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import math
import time
from bisect import insort
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from spacelink_server.access._limit_state import HeldUnits, Waiter
from spacelink_server.access.errors import ExhaustedError
from spacelink_server.access.periodic import repeat
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spacelink_server.access._limit_state import LimitState
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.limits import LeaseRequest, UnusedUnits

logger = logging.getLogger(__name__)

# How late waiters see that a window has begun or their time is up: at a limit
# per second they still have nine tenths of each window.
_POLL_SECONDS = 0.1

# Units that were not touched for so long are given back. Seen idle after 3 s at
# most and found by others 1 s later, they still reach an Ingest stream elsewhere
# that waits its 5 s.
_IDLE_SECONDS = 1.5

# Leases in one transaction: on two busy cores each takes 0.1 to 1 ms, and commits
# of telemetry wait behind them.
_LEASES_AT_ONCE = 32

_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class LimitKey:
    """A limit and its place in a chain.

    Attributes:
        tenant_id: the tenant that issued the token, "*" for the installation.
            Not the tenant that a call is about: that would multiply the limit.
        digest: SHA-256 of the prefix signature that ends with the limit.
        amount: how many units a window has, at least 1.
        window_seconds: windows start at its multiples since 1970 UTC.
        kind: what is counted: "rate" calls and batches, "quota" samples.
        caveat: its text, such as "quota = 10000/day".
        is_told: whether the tenant's webhooks hear when it runs low.
    """

    tenant_id: str
    digest: bytes
    amount: int
    window_seconds: int
    kind: Literal["rate", "quota"]
    caveat: str
    is_told: bool = False


def samples_per_day(tenant_id: str, amount: int) -> LimitKey:
    """Give the limit of all of a tenant's samples, whichever token they come with."""
    digest = hashlib.sha256(f"samples_per_day of tenant {tenant_id}".encode()).digest()
    caveat = f"samples_per_day = {amount}"
    return LimitKey(tenant_id, digest, amount, _DAY_SECONDS, "quota", caveat, is_told=True)


class LimitExceededError(ExhaustedError):
    """A limit has too few units left; retry_seconds is None where it never has enough."""

    def __init__(self, key: LimitKey, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(
            "RATE_LIMITED" if key.kind == "rate" else "QUOTA_EXCEEDED",
            f"tenant:{key.tenant_id}",
            f"{key.caveat}: {message}",
            metadata={"limit": key.caveat},
            retry_seconds=retry_seconds,
        )
        self.key = key


class Remaining(NamedTuple):
    """Where a limit stands.

    Attributes:
        units: what is left of the window, but for what other servers hold.
        reset_time: when the next window starts, seconds since 1970 UTC.
    """

    units: int
    reset_time: float


class Limiter:
    """The limits of all calls of a server. Used on one event loop."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """Make a limiter; run gives idle units back, close the rest.

        Args:
            database: where the units are leased.
            clock: tells windows apart, seconds since 1970 UTC.
        """
        self._database = database
        self._clock = clock
        self._held = HeldUnits()
        # Limits with waiters; a dict, to serve them in turn.
        self._waited_for: dict[LimitState, None] = {}
        self._tickets = itertools.count()
        self._attendant: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def try_take(self, keys: Sequence[LimitKey], rate_units: int, quota_units: int) -> bool:
        """Take from memory: all that is asked for, or nothing.

        Returns:
            False where take must be asked, which may have to lease.
        """
        return self._held.take(keys, rate_units, quota_units, self._clock()) is None

    async def take(
        self, keys: Sequence[LimitKey], rate_units: int, quota_units: int, wait_seconds: float = 0.0
    ) -> None:
        """Take units of every limit, or of none.

        Args:
            keys: the limits, an ancestor's before its descendants'.
            rate_units: how many of each limit of calls and batches.
            quota_units: how many of each limit of samples.
            wait_seconds: how long to wait for units that others give back, or
                for the next window. Whoever came first is served first.

        Raises:
            LimitExceededError: a limit has too few.
            UnavailableError: the store failed, so nobody knows how many it has.
        """
        now = self._clock()
        lacking = self._held.take(keys, rate_units, quota_units, now)
        if lacking is None:
            return
        _require_possible(keys, rate_units, quota_units)
        deadline = time.monotonic() + wait_seconds
        answer = asyncio.get_running_loop().create_future()
        waiter = Waiter(next(self._tickets), keys, rate_units, quota_units, deadline, answer)
        state = self._held.state(lacking, now)
        if wait_seconds <= 0 and _is_dry(state, state.front() or waiter):
            raise _exceeded(state, now)
        self._park(waiter, state)
        try:
            await answer
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    async def remaining(self, key: LimitKey) -> Remaining:
        """Tell where a limit stands.

        Raises:
            UnavailableError: the store failed.
        """
        state = self._held.state(key, self._clock())
        start, end = state.start, state.end
        used = await self._database.read(
            lambda connection: limits.used(connection, key.tenant_id, key.digest, start)
        )
        return Remaining(max(key.amount - used, 0) + state.held, end)

    async def run(self) -> None:
        """Give idle units back, for ever."""
        await repeat(_IDLE_SECONDS, self.give_back_idle, "giving back units of limits")

    async def give_back_idle(self) -> None:
        """Give back what was not touched since the last time."""
        await self._give_back(self._held.give_up_idle(self._clock(), self._waited_for))

    async def close(self) -> None:
        """Give everything back; called when no call is served any more."""
        if self._attendant is not None:
            self._attendant.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._attendant
        await self._give_back(self._held.give_up_all())

    def _park(self, waiter: Waiter, state: LimitState) -> None:
        insort(state.waiters, waiter, key=attrgetter("ticket"))
        self._waited_for[state] = None
        self._changed.set()
        if self._attendant is None or self._attendant.done():
            self._attendant = asyncio.create_task(self._attend())

    def _abandon(self, waiter: Waiter) -> None:
        """Let go of a waiter whose call was cancelled, maybe just after it was served."""
        if not waiter.answer.cancelled() and waiter.answer.exception() is None:
            self._held.put_back(waiter.keys, waiter.rate_units, waiter.quota_units, waiter.served_at)
        self._changed.set()

    async def _attend(self) -> None:
        """Serve and refuse waiters as long as there are any."""
        while self._waited_for:
            self._changed.clear()
            lacking = (state for state in list(self._waited_for) if self._serve(state))
            leases = [(state, state.request()) for state in itertools.islice(lacking, _LEASES_AT_ONCE)]
            if leases:
                await self._lease(leases)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._changed.wait()

    def _serve(self, state: LimitState) -> bool:
        """Serve waiters from the front; tell whether a lease may help the first one left."""
        now = self._clock()
        while waiter := state.front():
            lacking = self._held.take(waiter.keys, waiter.rate_units, waiter.quota_units, now, waiter.ticket)
            if lacking is None:
                waiter.served_at = now
                waiter.answer.set_result(None)
                continue
            found = self._held.state(lacking, now)
            if found is not state:
                self._park(state.waiters.pop(0), found)
            elif not _is_dry(state, waiter):
                return True
            else:
                state.refuse(_exceeded(state, now), late_at=time.monotonic())
                if not waiter.answer.done():
                    return False
        del self._waited_for[state]
        return False

    async def _lease(self, leases: Sequence[tuple[LimitState, LeaseRequest]]) -> None:
        requests = [request for _, request in leases]
        try:
            answers = await self._database.write(
                lambda connection: limits.lease(connection, requests), alone=False
            )
        except Exception as error:
            # Nobody knows what is left, so nobody is let through.
            for state, _ in leases:
                state.refuse(error)
        else:
            for (state, request), answer in zip(leases, answers, strict=True):
                state.add(answer, request.window_start)

    async def _give_back(self, unused: Sequence[UnusedUnits]) -> None:
        if not unused:
            return
        # Where this fails the units are lost until the next window: trying once
        # more might give them back twice.
        try:
            await self._database.write(lambda connection: limits.give_back(connection, unused), alone=False)
        except UnavailableError as error:
            logger.warning("leased units cannot be given back: %s", error)


def _require_possible(keys: Sequence[LimitKey], rate_units: int, quota_units: int) -> None:
    for key in keys:
        units = rate_units if key.kind == "rate" else quota_units
        if units > key.amount:
            raise LimitExceededError(key, f"never has {units} units; send fewer samples at a time")


def _is_dry(state: LimitState, waiter: Waiter) -> bool:
    return state.is_dry(waiter.units(state.key))


def _exceeded(state: LimitState, now: float) -> LimitExceededError:
    seconds = state.end - now
    message = f"too few units are left; the next window starts in {math.ceil(seconds)} s"
    return LimitExceededError(state.key, message, seconds)
