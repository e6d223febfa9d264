"""All parts of access, tied together."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from spacelink_server.access.allowances import Allowances
from spacelink_server.access.api_keys import ApiKeys
from spacelink_server.access.authentication import Authenticator
from spacelink_server.access.authorization import Authorizer
from spacelink_server.access.bans import BanList
from spacelink_server.access.devices import DeviceLimits
from spacelink_server.access.interceptor import AccessInterceptor, Gate
from spacelink_server.access.limits import Limiter
from spacelink_server.access.lineage import Lineage
from spacelink_server.access.minting import Minter
from spacelink_server.access.open_calls import OpenCalls
from spacelink_server.access.passwords import Passwords
from spacelink_server.access.refusals import Refusals
from spacelink_server.access.sessions import Sessions
from spacelink_server.access.tenancy import TenantDirectory
from spacelink_server.access.verification import TokenVerifier
from spacelink_server.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine

    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.peers import AddressRange
    from spacelink_server.access.rules import Rules
    from spacelink_server.access.writes import Database

logger = logging.getLogger(__name__)


class AccessControl:
    """Decides about every call, and has what the services need that manage it.

    Attributes:
        database: the store, for transactions of access.
        keys: the tenants' keys.
        bans: what is banned.
        tenants: the tenants' quotas, and what keeps the keys up to date.
        minter: signs tokens.
        passwords: hashes and checks them.
        sessions: begins sessions.
        api_keys: knows which tokens they stand for.
        limiter: has the units of limits.
        allowances: finds the limits of calls.
        lineage: counts the tokens presented.
        refusals: counts the calls refused.
        verifier: tells authentic tokens.
        open_calls: ends calls when their tokens end.
        gate: lets calls in.
        interceptor: stands before every method of both planes.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        rules: Rules,
        *,
        on_health: Callable[[bool], Awaitable[None]],
        trusted_proxies: Collection[AddressRange] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Tie the parts together; load reads what they need.

        Args:
            database: where tokens, bans, limits and the rest are kept.
            keys: as first_start gives them.
            rules: what each method asks for.
            on_health: see BanList.
            trusted_proxies: whose word for the caller's address is taken.
            clock: gives Unix seconds.
        """
        self.database = database
        self.keys = keys
        self.bans = BanList(database, on_health)
        self.tenants = TenantDirectory(database, keys)
        self.minter = Minter(keys)
        self.passwords = Passwords()
        self.sessions = Sessions(database, self.minter, self.passwords)
        self.api_keys = ApiKeys(database, self.minter, self.bans, clock)
        self.limiter = Limiter(database, clock)
        self.allowances = Allowances(database, self.tenants.quotas)
        self.lineage = Lineage(database)
        self.refusals = Refusals(database)
        self.verifier = TokenVerifier(keys, self.bans, clock)
        self.open_calls = OpenCalls(self.bans, keys, clock)
        self.gate = Gate(
            Authenticator(self.verifier, self.api_keys.token_of),
            Authorizer(keys, self.tenants.admits, trusted_proxies, clock),
            self.allowances,
            self.limiter,
            DeviceLimits(database, self.tenants.max_devices),
            self.open_calls,
            self.lineage,
            self.refusals,
        )
        self.interceptor = AccessInterceptor(rules, self.gate)

    async def load(self) -> None:
        """Read the bans and the tenants; before it nobody is let in.

        Raises:
            MasterKeyError: the master key is not the one that the store was made with.
            UnavailableError: the store failed.
        """
        await self.bans.refresh()
        await self.tenants.refresh()

    def background(self) -> tuple[Coroutine[None, None, None], ...]:
        """Give what has to run as long as calls are taken."""
        return (
            self.bans.run(),
            self.tenants.run(),
            self.limiter.run(),
            self.lineage.run(),
            self.refusals.run(),
            self.api_keys.run(),
        )

    async def close(self) -> None:
        """Write what is still in memory, and give back what was leased; no call is served any more."""
        for flush in (self.lineage.flush, self.refusals.flush, self.api_keys.settle):
            try:
                await flush()
            except UnavailableError as error:
                logger.warning("uses and refusals of the last moments are not written down: %s", error)
        await self.limiter.close()
        self.passwords.close()
