"""What a server holds of its limits in memory, and who waits for more."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spacelink_server.storage.limits import LeaseRequest, UnusedUnits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Sequence

    from spacelink_server.access.limits import LimitKey
    from spacelink_server.storage.limits import Lease

# The share of a limit that is leased at once: a server that dies takes at most
# a sixteenth of a window with it, and a window costs a busy server sixteen
# transactions. Limits below 32 are leased one by one.
_LEASES_PER_WINDOW = 16

# How long a store that had too few units is not asked again: what others give
# back is found a second later, and a used-up limit costs a transaction a second.
_DRY_SECONDS = 1.0

# A ticket behind all that are ever drawn.
NEWCOMER = math.inf


@dataclass(slots=True, eq=False)
class Waiter:
    """A call or batch that waits for its units.

    Attributes:
        ticket: who waits for a limit is served in this order.
        keys: the limits it draws from.
        rate_units: how many of each limit of calls and batches.
        quota_units: how many of each limit of samples.
        deadline: when it stops waiting, on time.monotonic.
        answer: done when it is served or refused, cancelled with its call.
        served_at: the clock's time when its units were taken.
    """

    ticket: int
    keys: Sequence[LimitKey]
    rate_units: int
    quota_units: int
    deadline: float
    answer: asyncio.Future[None]
    served_at: float = 0.0

    def units(self, key: LimitKey) -> int:
        """Tell how many units it needs of a limit."""
        return self.rate_units if key.kind == "rate" else self.quota_units


@dataclass(slots=True, eq=False)
class LimitState:
    """What a server holds of a limit.

    Attributes:
        key: the limit; of several tokens' equal keys the first one.
        start: the window, from here…
        end: …up to before here, seconds since 1970 UTC.
        held: units leased and not used.
        waiters: whom this limit keeps waiting, by ticket.
    """

    key: LimitKey
    start: int = 0
    end: int = 0
    held: int = 0
    waiters: list[Waiter] = field(default_factory=list)
    _left: int = 0
    _dry_until: float = 0.0
    _held_before: int = 0

    def is_open(self, now: float) -> bool:
        """Tell whether now is in the window."""
        return self.start <= now < self.end

    def open_window(self, now: float) -> None:
        """Go to the window of now, be it a later or an earlier one."""
        self.start = int(now) // self.key.window_seconds * self.key.window_seconds
        self.end = self.start + self.key.window_seconds
        self.held = self._held_before = 0
        self._dry_until = 0.0

    def front(self) -> Waiter | None:
        """Give the first waiter whose call still wants an answer."""
        while self.waiters and self.waiters[0].answer.done():
            del self.waiters[0]
        return self.waiters[0] if self.waiters else None

    def refuse(self, error: Exception, late_at: float = math.inf) -> None:
        """Refuse the waiters whose deadline has come."""
        for waiter in self.waiters:
            if waiter.deadline <= late_at and not waiter.answer.done():
                waiter.answer.set_exception(error)

    def is_dry(self, units: int) -> bool:
        """Tell whether the store is known to have too few for so many units to be held."""
        return units - self.held > self._left and time.monotonic() < self._dry_until

    def request(self) -> LeaseRequest:
        """Ask for what the first waiter needs at least, at most for all of them or a share of the limit."""
        needed = [waiter.units(self.key) for waiter in self.waiters if not waiter.answer.done()]
        return LeaseRequest(
            self.key.tenant_id,
            self.key.digest,
            self.start,
            self.key.window_seconds,
            self.key.amount,
            least=needed[0] - self.held,
            most=max(sum(needed) - self.held, self.key.amount // _LEASES_PER_WINDOW),
            is_told=self.key.is_told,
        )

    def add(self, lease: Lease, window_start: int) -> None:
        """Hold what was leased for a window."""
        if window_start == self.start:
            self.held += lease.units
            self._left = lease.left
            self._dry_until = time.monotonic() + _DRY_SECONDS

    def is_idle(self) -> bool:
        """Tell whether as much is held as when it was asked before."""
        idle = self.held == self._held_before
        self._held_before = self.held
        return idle

    def give_up(self) -> list[UnusedUnits]:
        """Let go of what is held, to be given back; forget what the store had."""
        units, self.held = self.held, 0
        self._dry_until = 0.0
        return [UnusedUnits(self.key.tenant_id, self.key.digest, self.start, units)] if units else []


class HeldUnits:
    """The states of all limits that calls lately drew from."""

    def __init__(self) -> None:
        self._states: dict[bytes, LimitState] = {}
        self._unused: list[UnusedUnits] = []

    def take(
        self,
        keys: Sequence[LimitKey],
        rate_units: int,
        quota_units: int,
        now: float,
        ticket: float = NEWCOMER,
    ) -> LimitKey | None:
        """Take what is held, of all limits or of none; give the first that has too few.

        For whoever comes behind those that wait for a limit it has none.
        """
        for index, key in enumerate(keys):
            units = rate_units if key.kind == "rate" else quota_units
            if not units:
                continue
            state = self._states.get(key.digest)
            if (
                state is None
                or state.held < units
                or not state.start <= now < state.end
                or state.key.amount != key.amount
                or (state.waiters and state.waiters[0].ticket < ticket)
            ):
                self.put_back(keys[:index], rate_units, quota_units, now)
                return key
            state.held -= units
        return None

    def put_back(self, keys: Sequence[LimitKey], rate_units: int, quota_units: int, taken_at: float) -> None:
        """Undo a take, as far as its windows are still open."""
        for key in keys:
            state = self._states.get(key.digest)
            if state is not None and state.is_open(taken_at):
                state.held += rate_units if key.kind == "rate" else quota_units

    def state(self, key: LimitKey, now: float) -> LimitState:
        """Give the state of a limit in the window of now."""
        state = self._states.get(key.digest)
        if state is None:
            state = self._states[key.digest] = LimitState(key)
        if state.key.amount != key.amount:
            # What was leased under another amount may be too much for this one.
            self._unused += state.give_up()
            state.key = key
        if not state.is_open(now):
            state.open_window(now)
        return state

    def give_up_idle(self, now: float, busy: Collection[LimitState]) -> list[UnusedUnits]:
        """Let go of what was not touched since the last time; forget windows that are over."""
        for digest, state in list(self._states.items()):
            if state in busy:
                continue
            if not state.held or not state.is_open(now):
                del self._states[digest]
            elif state.is_idle():
                self._unused += state.give_up()
        unused, self._unused = self._unused, []
        return unused

    def give_up_all(self) -> list[UnusedUnits]:
        """Let go of everything."""
        unused = self._unused + [units for state in self._states.values() for units in state.give_up()]
        self._states, self._unused = {}, []
        return unused
