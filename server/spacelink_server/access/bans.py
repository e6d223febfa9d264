"""The bans, in memory."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from spacelink_server.access.errors import bans_changed
from spacelink_server.access.periodic import repeat
from spacelink_server.storage import bans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from spacelink_server.access.writes import Database
    from spacelink_server.storage.transactions import Connection

logger = logging.getLogger(__name__)

# A ban made by another server takes effect here within this and the time of a
# reading, well inside the second that is promised.
_POLL_SECONDS = 0.25

# A server that has not heard of bans for so long refuses new calls: long enough
# for a slow disk or the switch to another database, too short to be of use to
# whoever holds a banned token.
_UNKNOWN_AFTER_SECONDS = 5.0


class _TenantBans(NamedTuple):
    digests: frozenset[bytes]
    token_ids: frozenset[str]


class BanList:
    """Knows which tokens are banned, and tells when that changes.

    Attributes:
        version: of the bans that are held; -1 before the first reading.
    """

    def __init__(
        self,
        database: Database,
        on_health: Callable[[bool], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a list; refresh reads it.

        Args:
            database: where the bans are. Its readers must not be kept busy by
                others for seconds.
            on_health: called with False when the bans have been unknown for too
                long, with True when they are known again.
            clock: gives seconds that only count up.
        """
        self.version = -1
        self._database = database
        self._on_health = on_health
        self._clock = clock
        self._known_until = -float("inf")
        self._healthy = True
        self._bans: dict[str, _TenantBans] = {}
        self._listeners: list[Callable[[], None]] = []
        self._reading = asyncio.Lock()

    @property
    def tokens(self) -> int:
        """How many tokens and signatures are banned."""
        return sum(len(found.digests) + len(found.token_ids) for found in self._bans.values())

    @property
    def known(self) -> bool:
        """Whether the list is recent enough to let anybody in."""
        return self._clock() < self._known_until

    def is_banned(self, tenants: Iterable[str], token_id: str, digests: Collection[bytes]) -> bool:
        """Tell whether a token is banned.

        Args:
            tenants: whose bans end it: "*" and the tenants that it is of.
            token_id: its id.
            digests: SHA-256 of all of its prefix signatures.
        """
        for tenant_id in tenants:
            found = self._bans.get(tenant_id)
            if found and (token_id in found.token_ids or not found.digests.isdisjoint(digests)):
                return True
        return False

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have a function called whenever other tokens are banned than before."""
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """Take over the bans in the store; on return they are in force here.

        Raises:
            UnavailableError: they cannot be read.
        """
        # One at a time: an earlier reading must not replace a later one.
        async with self._reading:
            asked = self._clock()
            now = time.time_ns()
            banned = await self._database.read(lambda connection: bans.banned_tokens(connection, now))
            self._know_as_of(asked)
            if banned.version != self.version:
                self._bans = _by_tenant(banned)
                self.version = banned.version
                for listener in self._listeners:
                    listener()

    def require_current(self, connection: Connection) -> None:
        """Make sure, in a transaction that mints, that no ban of the minter is still unheard of here.

        Raises:
            UnavailableError: the bans have changed; the call may be repeated.
        """
        if bans.version(connection) != self.version:
            raise bans_changed()

    async def run(self) -> None:
        """Keep the list up to date and say when it cannot be; runs for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(repeat(_POLL_SECONDS, self._poll, "reading the bans"))
            # By itself, for a reading may hang.
            tasks.create_task(repeat(_POLL_SECONDS, self._report_health, "reporting health"))

    async def _poll(self) -> None:
        asked = self._clock()
        if await self._database.read(bans.version) == self.version:
            self._know_as_of(asked)
        else:
            await self.refresh()

    async def _report_health(self) -> None:
        known = self.known
        if known != self._healthy:
            self._healthy = known
            logger.warning("the bans are %s", "known again" if known else "not known: calls are refused")
            await self._on_health(known)

    def _know_as_of(self, asked: float) -> None:
        # What was read is no older than the moment it was asked for.
        self._known_until = max(self._known_until, asked + _UNKNOWN_AFTER_SECONDS)


def _by_tenant(banned: bans.BannedTokens) -> dict[str, _TenantBans]:
    digests: defaultdict[str, set[bytes]] = defaultdict(set)
    token_ids: defaultdict[str, set[str]] = defaultdict(set)
    for tenant_id, digest in banned.digests:
        digests[tenant_id].add(digest)
    for tenant_id, token_id in banned.token_ids:
        token_ids[tenant_id].add(token_id)
    return {
        tenant_id: _TenantBans(frozenset(digests[tenant_id]), frozenset(token_ids[tenant_id]))
        for tenant_id in {*digests, *token_ids}
    }
