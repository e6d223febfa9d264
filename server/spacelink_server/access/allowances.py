"""Which limits a call draws from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from spacelink._caveats import parse
from spacelink_server.access.verification import limit_of
from spacelink_server.storage import tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink.token import TokenIdentifier
    from spacelink_server.access.call import Call
    from spacelink_server.access.limits import LimitKey
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.tokens import MintedToken

# Minted tokens, not their descendants: most installations have fewer. Entries
# take less than 500 bytes but for tokens that were minted in many turns.
_CACHE_SIZE = 16_384


class CallLimits:
    """The limits of a call: of its token and minter for good, of its tenant as they are now."""

    def __init__(self, own: tuple[LimitKey, ...], quotas: Callable[[], tuple[LimitKey, ...]]) -> None:
        """Join them.

        Args:
            own: of the token's chain and its minter's.
            quotas: gives the tenant's; the same object until they change.
        """
        self._own = own
        self._quotas = quotas
        self._seen = quotas()
        self._keys = _joined(self._seen, own)

    def in_force(self) -> tuple[LimitKey, ...]:
        """Give all of them, each once, an ancestor's before its descendants'."""
        quotas = self._quotas()
        if quotas is not self._seen:
            self._seen, self._keys = quotas, _joined(quotas, self._own)
        return self._keys


class Allowances:
    """Finds the limits of calls: of the token's chain, of its minter's, of the tenant."""

    def __init__(self, database: Database, quotas: Callable[[str], tuple[LimitKey, ...]]) -> None:
        """Make it.

        Args:
            database: where it is kept which limits minted tokens inherit.
            quotas: gives a tenant's own limits.
        """
        self._database = database
        self._quotas = quotas
        self._inherited: dict[tuple[str, str], tuple[LimitKey, ...]] = {}

    async def limits(self, call: Call) -> CallLimits:
        """Give the limits of a call.

        Raises:
            UnavailableError: the store failed.
        """
        identifier = call.principal.identifier
        inherited = self._inherited.get((identifier.tenant, identifier.token_id))
        if inherited is None:
            inherited = await self._read(identifier)
        own = (*inherited, *call.principal.limits)
        return CallLimits(own, partial(self._quotas, call.tenant_id))

    async def _read(self, identifier: TokenIdentifier) -> tuple[LimitKey, ...]:
        name = (identifier.tenant, identifier.token_id)
        minted = await self._database.read(lambda connection: tokens.get(connection, *name))
        if len(self._inherited) >= _CACHE_SIZE:
            self._inherited.clear()
        self._inherited[name] = _inherited(minted) if minted else ()
        return self._inherited[name]


def _joined(quotas: tuple[LimitKey, ...], own: tuple[LimitKey, ...]) -> tuple[LimitKey, ...]:
    return tuple(dict.fromkeys((*quotas, *own)))


def _inherited(minted: MintedToken) -> tuple[LimitKey, ...]:
    found = (
        limit_of(tenant_id, digest, parse(caveat.encode("ascii")))
        for tenant_id, digest, caveat in minted.inherited_limits
    )
    return tuple(limit for limit in found if limit is not None)
