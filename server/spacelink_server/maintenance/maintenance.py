"""The background work on what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from spacelink_server.maintenance import making
from spacelink_server.storage import intake, maintained, pending, retention
from spacelink_server.storage.maintained import StaleError
from spacelink_server.storage.retention import Cutoffs
from spacelink_server.storage.rollups import DAY, HOUR
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spacelink_server.storage.transactions import Connection, Transactions

logger = logging.getLogger(__name__)

# Between two looks for what is past its time.
_RETENTION_SECONDS = 3600.0

_SECOND = 1_000_000_000

_T = TypeVar("_T")
_Loaded = TypeVar("_Loaded")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to do what, in seconds.

    Attributes:
        interval: between two passes; so old are the youngest rollups.
        settle: how long after its end a window is still left open; what arrives
            later is compacted anew.
        rest: after each piece of work, for so many times as long as it took.
    """

    interval: float = 60.0
    # A terminal that was cut off for this long delivers before its hours are
    # compacted.
    settle: float = 900.0
    # Half of the time is left to those who wait for answers.
    rest: float = 1.0


class Maintenance:
    """Compacts, rolls up and deletes; any number of servers may run it on one store.

    Attributes:
        failures: how many passes ended early, because the store failed or for a fault.
    """

    def __init__(
        self,
        store: Transactions,
        schedule: Schedule | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Make the work; run does it.

        Args:
            store: what it works on.
            schedule: when to do what.
            clock: gives nanoseconds since 1970 UTC.
        """
        self.failures = 0
        self._store = store
        self._schedule = schedule or Schedule()
        self._clock = clock
        self._stopping = threading.Event()
        self._retained_at = -_RETENTION_SECONDS
        self._caught_up_at = time.monotonic()

    @property
    def lag_seconds(self) -> float:
        """How old what was committed may be and still wait: since the last pass that left nothing began."""
        return time.monotonic() - self._caught_up_at

    async def run(self) -> None:
        """Do a pass after each interval until cancelled; then no work is under way any more."""
        with ThreadPoolExecutor(1, "maintenance") as thread:
            try:
                while True:
                    await asyncio.sleep(self._schedule.interval)
                    await asyncio.get_running_loop().run_in_executor(thread, self._try_pass)
            finally:
                self._stopping.set()

    def run_pass(self) -> None:
        """Do all that is to be done now.

        Raises:
            StoreUnavailableError: the store failed; what was done stays done.
        """
        start = time.monotonic()
        retains = start - self._retained_at >= _RETENTION_SECONDS
        leaves_nothing = True
        for tenant_id in self._tenants():
            leaves_nothing &= self._maintain(tenant_id)
            if retains:
                self._retain(tenant_id)
        if retains:
            self._retained_at = time.monotonic()
        if leaves_nothing:
            self._caught_up_at = start

    def _try_pass(self) -> None:
        try:
            self.run_pass()
        except StoreUnavailableError as error:
            self.failures += 1
            # Whoever commits says so, louder.
            logger.debug("maintenance: %s", error)
        except Exception:
            self.failures += 1
            logger.exception("maintenance failed")

    def _tenants(self) -> Iterator[str]:
        after = ""
        while tenant_id := self._store.read(partial(maintained.next_tenant, after=after)):
            yield tenant_id
            after = tenant_id

    def _maintain(self, tenant_id: str) -> bool:
        """Do a tenant's work; tell whether nothing is left."""
        limits = self._store.read(partial(retention.cutoffs, tenant_id=tenant_id, now=self._clock()))
        leaves_nothing = self._take_in(tenant_id, limits)
        for window_seconds in (HOUR, DAY):
            self._close(tenant_id, window_seconds, limits)
        return leaves_nothing

    def _take_in(self, tenant_id: str, limits: Cutoffs) -> bool:
        """Take in what has arrived, device by device, until nothing is left; False: until the time is up."""
        # More may arrive all the time; the other work must have its turn.
        deadline = time.monotonic() + self._schedule.interval
        after, is_complete = "", True
        while not self._stopping.is_set() and time.monotonic() < deadline:
            arrivals = self._step(
                partial(intake.load, tenant_id=tenant_id, after=after),
                partial(making.take_in, cutoff=limits.samples),
                partial(intake.store, tenant_id=tenant_id),
            )
            if arrivals is not None:
                is_complete &= arrivals.is_complete
                after = arrivals.reached
            elif is_complete:
                return True
            else:
                after, is_complete = "", True
        return False

    def _close(self, tenant_id: str, window_seconds: int, limits: Cutoffs) -> None:
        """Close the windows that ended a while ago."""
        end = self._clock() // _SECOND - int(self._schedule.settle)
        span = limits.samples // _SECOND, end
        after = pending.FIRST_WINDOW
        while not self._stopping.is_set():
            opened = self._step(
                partial(
                    pending.load, tenant_id=tenant_id, window_seconds=window_seconds, span=span, after=after
                ),
                making.close,
                partial(pending.close, tenant_id=tenant_id),
            )
            if opened is None:
                return
            after = opened.reached

    def _step(
        self,
        load: Callable[[Connection], _Loaded | None],
        make: Callable[[_Loaded], _Made],
        store: Callable[[Connection, _Made], None],
    ) -> _Loaded | None:
        """Do a little work; give what was loaded for it, if there was any."""
        seen: list[_Loaded] = []

        def remember(loaded: _Loaded) -> _Made:
            seen.append(loaded)
            return make(loaded)

        with self._paced():
            try:
                return self._store.process(load, remember, store)
            except StaleError:
                logger.debug("another worker was faster")
                return seen[0]

    @contextlib.contextmanager
    def _paced(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._stopping.wait((time.monotonic() - start) * self._schedule.rest)

    def _retain(self, tenant_id: str) -> None:
        """Delete what is past its time."""
        now = self._clock()
        limits = self._store.read(partial(retention.cutoffs, tenant_id=tenant_id, now=now))
        self._write(partial(retention.delete_pending, tenant_id=tenant_id, limits=limits))
        for device_id in self._expired_devices(tenant_id, limits):
            is_more = True
            while is_more and not self._stopping.is_set():
                with self._paced():
                    is_more = self._write(
                        partial(
                            retention.delete_expired, tenant_id=tenant_id, device_id=device_id, limits=limits
                        )
                    )
        self._forget_requests(tenant_id, now)

    def _write(self, work: Callable[[Connection], _T]) -> _T:
        # Whatever it deletes, it does not matter which of two workers did so.
        return self._store.transact(work, alone=False)

    def _expired_devices(self, tenant_id: str, limits: Cutoffs) -> Iterator[str]:
        after = ""
        while limits != Cutoffs() and not self._stopping.is_set():
            page = self._store.read(
                partial(retention.expired_devices, tenant_id=tenant_id, limits=limits, after=after)
            )
            if not page:
                return
            yield from page
            after = page[-1]

    def _forget_requests(self, tenant_id: str, now: int) -> None:
        while not self._stopping.is_set():
            old = self._store.read(partial(retention.old_requests, tenant_id=tenant_id, now=now))
            if not old:
                return
            with self._paced():
                self._write(partial(retention.delete_requests, tenant_id=tenant_id, request_ids=old))
