"""Whether a token allows a call."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spacelink._caveats import ANY, CallContext, Device, Failure, Network, Scope
from spacelink_server.access import errors
from spacelink_server.access.call import Call
from spacelink_server.access.metadata import values
from spacelink_server.access.peers import FORWARDED_FOR, peer_address
from spacelink_server.access.rules import AUTHENTICATED, Access

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container

    from spacelink._caveats import Caveat
    from spacelink_server.access.errors import RefusedError
    from spacelink_server.access.metadata import Metadata
    from spacelink_server.access.peers import Address, AddressRange
    from spacelink_server.access.rules import Rule
    from spacelink_server.access.verification import VerifiedToken

# The tenant of calls that name none, with a token that is good for all.
DEFAULT_TENANT = "default"

_TENANT_HEADER = "x-spacelink-tenant"

_REASONS = {
    "tenant": "WRONG_TENANT",
    "scope": "SCOPE_DENIED",
    "device": "DEVICE_DENIED",
    "network": "NETWORK_DENIED",
    "ip": "ADDRESS_DENIED",
}

# Scopes do not depend on it.
_NO_TIME = datetime.fromtimestamp(0, UTC)

# Any token may ask about itself: no tenant but its own, no names, no scope.
_ABOUT_ITSELF = Access("")


class Authorizer:
    """Holds the caveats of tokens against calls."""

    def __init__(
        self,
        tenants: Container[str],
        admits: Callable[[str, Address | None], bool],
        trusted_proxies: Collection[AddressRange],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make an authorizer.

        Args:
            tenants: those that exist, and "*".
            admits: tells whether a tenant's tokens are good from an address.
            trusted_proxies: see peer_address.
            clock: gives Unix seconds.
        """
        self._tenants = tenants
        self._admits = admits
        self._trusted_proxies = trusted_proxies
        self._clock = clock

    def authorize(
        self, rule: Rule | None, token: VerifiedToken, request: Any, metadata: Metadata, peer: str
    ) -> Call:
        """Let a call in.

        Args:
            rule: what the method asks for; None: nobody may call it.
            token: the caller's.
            request: as rules.Access takes it.
            metadata: the call's.
            peer: as gRPC names the other end.

        Raises:
            RefusedError: the token does not allow it.
            RequestError: it is about a tenant that does not exist.
        """
        if rule is AUTHENTICATED:
            rule = _ABOUT_ITSELF
        if not isinstance(rule, Access):
            raise errors.denied("SCOPE_DENIED", "no token is good for this method")
        named = rule.tenant(request)
        tenant_id = named or next(iter(values(metadata, _TENANT_HEADER)), "")
        if not tenant_id and token.tenant == ANY and rule.everywhere(request):
            tenant_id = named = ANY
        tenant_id = tenant_id or _own_tenant(token)
        address = self.address(metadata, peer)
        context = CallContext(
            datetime.fromtimestamp(self._clock(), UTC),
            tenant_id,
            rule.scope,
            rule.devices(request),
            rule.networks(request),
            address,
        )
        if refusal := refusal_of(token.caveats, context):
            raise refusal
        self._require_admitted(token, address)
        # Only now: whether a tenant exists is not for everybody. The installation
        # has no data, so it must be meant, not just named for any method.
        if tenant_id not in self._tenants or (tenant_id == ANY and named != ANY):
            raise errors.tenant_not_found(tenant_id)
        return Call(tenant_id, token, address)

    def address(self, metadata: Metadata, peer: str) -> Address | None:
        """Give the address that a call comes from; None where it is not known.

        Args:
            metadata: the call's.
            peer: as gRPC names the other end.
        """
        return peer_address(peer, values(metadata, FORWARDED_FOR), self._trusted_proxies)

    def _require_admitted(self, token: VerifiedToken, address: Address | None) -> None:
        # Operators' tokens are the installation's, for which there is no list.
        if not self._admits(token.identifier.tenant, address):
            message = f"tokens of tenant {token.identifier.tenant} are not good from this address"
            raise errors.denied("ADDRESS_DENIED", message)


def _own_tenant(token: VerifiedToken) -> str:
    return DEFAULT_TENANT if token.tenant == ANY else token.tenant


def refusal_of(caveats: Collection[Caveat], context: CallContext) -> RefusedError | None:
    """Give why caveats do not allow a call; None where all hold.

    Scopes are left out where the context has none.
    """
    for caveat in caveats:
        if type(caveat) is Scope and not context.scope:
            continue
        answer = caveat.check(context)
        if isinstance(answer, Failure):
            return _refusal(caveat, context, answer)
    return None


def has_scope(token: VerifiedToken, scope: str) -> bool:
    """Tell whether all of a token's scope caveats hold for a scope."""
    context = CallContext(_NO_TIME, token.tenant, scope)
    return refusal_of([caveat for caveat in token.caveats if type(caveat) is Scope], context) is None


def _refusal(caveat: Caveat, context: CallContext, failure: Failure) -> RefusedError:
    if caveat.key == "expires":
        return errors.expired(f"the token {failure.reason}")
    if caveat.key == "not_before":
        return errors.not_yet_valid(f"the token is {failure.reason}")
    if (type(caveat) is Device and ANY in context.devices) or (
        type(caveat) is Network and ANY in context.networks
    ):
        message = (
            f"the call is about all {caveat.key}s, but the token is for {caveat.value!r} only: name them"
        )
        return errors.denied(_REASONS[caveat.key], message)
    return errors.denied(_REASONS[caveat.key], failure.reason)
