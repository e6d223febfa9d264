"""Tells authentic tokens from others, and what they are good for.

In this order, so that nothing is believed before its signature is known good:
size and form, the chain of signatures, bans on any prefix, and only then what
the caveats say. Whether they hold is a question about a call; see interceptor.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from spacelink._caveats import (
    ANY,
    Device,
    Expires,
    Ip,
    Label,
    Network,
    NotBefore,
    Quota,
    RateLimit,
    Scope,
    Tenant,
    parse,
)
from spacelink.errors import InvalidTokenError
from spacelink.macaroon import decode
from spacelink.token import TokenIdentifier, to_data
from spacelink_server.access import errors
from spacelink_server.access.limits import LimitKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink._caveats import Caveat
    from spacelink_server.access.bans import BanList
    from spacelink_server.access.keys import KeyRing

# Entries take about 3 kB: 25 MB at most, for as many callers as call again
# before as many others did. Streams are verified once, when they open.
_CACHE_SIZE = 8192

# Caveats that say nothing before there is a call.
_FOR_CALLS = frozenset((Scope, Device, Network, NotBefore, Ip))


class VerifiedToken(NamedTuple):
    """An authentic token that is neither banned nor expired.

    Attributes:
        identifier: who issued it, and which token it descends from.
        caveats: in their order; the first is the tenant's.
        digests: SHA-256 of every prefix signature, the bare token's first; one
            more than there are caveats. The last is its own.
        tenant: the only tenant it is good for; ANY where it is good for all.
        banned_by: the tenants whose bans end it.
        expires: Unix seconds of the earliest expiry; None where there is none.
        limits: of its own chain.
        labels: from the first holder to the last.
    """

    identifier: TokenIdentifier
    caveats: tuple[Caveat, ...]
    digests: tuple[bytes, ...]
    tenant: str
    banned_by: tuple[str, ...]
    expires: float | None
    limits: tuple[LimitKey, ...]
    labels: tuple[str, ...]

    @property
    def actor(self) -> str:
        """Who acts with it, for the audit trail."""
        return "/".join((f"token:{self.identifier.token_id}", *self.labels))


class TokenVerifier:
    """Verifies tokens, and remembers the good ones."""

    def __init__(self, keys: KeyRing, bans: BanList, clock: Callable[[], float] = time.time) -> None:
        """Make a verifier.

        Args:
            keys: the root keys.
            bans: the banned tokens.
            clock: gives Unix seconds.
        """
        self._keys = keys
        self._bans = bans
        self._clock = clock
        # By SHA-256 of the text: no secret is kept. With the time up to which
        # neither the token nor its key has expired.
        self._cache: OrderedDict[bytes, tuple[float, VerifiedToken]] = OrderedDict()
        self._bans_version = bans.version
        self._keys_version = keys.version

    def verify(self, text: str) -> VerifiedToken:
        """Give what a presented token's text stands for.

        Raises:
            RefusedError: it is not authentic, not one of SpaceLink's, banned or expired.
            UnavailableError: the bans are not known.
        """
        if not self._bans.known:
            raise errors.bans_unknown()
        self._drop_outdated()
        now = self._clock()
        key = sha256(text.encode("utf-8", "replace")).digest()
        entry = self._cache.get(key)
        if entry is not None:
            if now < entry[0]:
                self._cache.move_to_end(key)
                return entry[1]
            del self._cache[key]
        token = self._verify(text, now)
        self._remember(key, token)
        return token

    def _verify(self, text: str, now: float) -> VerifiedToken:
        try:
            macaroon = decode(to_data(text))
            identifier = TokenIdentifier.parse(macaroon.identifier)
            signatures = macaroon.verify(self._root_key(identifier))
        except InvalidTokenError as error:
            raise errors.invalid_token(error.message) from None
        # An unsigned hint that tokens here do not have. With one, a token would
        # have as many texts as there are hints.
        if macaroon.location:
            raise errors.invalid_token("token: has a location")
        digests = tuple([sha256(signature).digest() for signature in signatures])
        self._refuse_banned((ANY, identifier.tenant), identifier, digests)
        verified = _understand(identifier, macaroon.caveats, digests)
        if identifier.tenant == ANY:
            self._refuse_banned(verified.banned_by, identifier, digests)
        if verified.expires is not None and now >= verified.expires:
            raise errors.expired()
        return verified

    def _root_key(self, identifier: TokenIdentifier) -> bytes:
        key = self._keys.root_key(identifier.tenant, identifier.key_version)
        if key is None:
            raise errors.invalid_token("token: no such key, or its time is over")
        return key

    def _refuse_banned(
        self, tenants: tuple[str, ...], identifier: TokenIdentifier, digests: tuple[bytes, ...]
    ) -> None:
        if self._bans.is_banned(tenants, identifier.token_id, digests):
            raise errors.banned()

    def _drop_outdated(self) -> None:
        if self._bans.version != self._bans_version or self._keys.version != self._keys_version:
            self._bans_version = self._bans.version
            self._keys_version = self._keys.version
            self._cache.clear()

    def _remember(self, key: bytes, token: VerifiedToken) -> None:
        self._cache[key] = (good_until(token, self._keys), token)
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)


def good_until(token: VerifiedToken, keys: KeyRing) -> float:
    """Tell when the token or the key that signed it expires, whichever is first, in Unix seconds."""
    end = keys.good_until(token.identifier.tenant, token.identifier.key_version)
    return end if token.expires is None else min(end, token.expires)


def limit_of(tenant_id: str, digest: bytes, caveat: Caveat) -> LimitKey | None:
    """Give the limit that a caveat sets; None where it sets none.

    Args:
        tenant_id: the tenant that issued the token.
        digest: SHA-256 of the prefix signature that ends with the caveat.
        caveat: the caveat.
    """
    if type(caveat) is RateLimit:
        return LimitKey(tenant_id, digest, caveat.amount, caveat.window, "rate", str(caveat))
    if type(caveat) is Quota:
        return LimitKey(tenant_id, digest, caveat.amount, caveat.window, "quota", str(caveat))
    return None


def _understand(
    identifier: TokenIdentifier, data: tuple[bytes, ...], digests: tuple[bytes, ...]
) -> VerifiedToken:
    try:
        caveats = tuple(map(parse, data))
    except InvalidTokenError as error:
        raise errors.invalid_caveat(error.message) from None
    tenants: set[str] = set()
    expiries: list[float] = []
    limits: list[LimitKey] = []
    labels: list[str] = []
    for place, caveat in enumerate(caveats, 1):
        # Exact types: isinstance takes ten times as long with abstract classes.
        if type(caveat) in _FOR_CALLS:
            continue
        if type(caveat) is Tenant:
            tenants.add(caveat.tenant)
        elif type(caveat) is Expires:
            expiries.append(caveat.time.timestamp())
        elif type(caveat) is Label:
            labels.append(caveat.label)
        elif limit := limit_of(identifier.tenant, digests[place], caveat):
            limits.append(limit)
    _require_first(identifier, caveats)
    tenant = _only_tenant(tenants)
    return VerifiedToken(
        identifier,
        caveats,
        digests,
        tenant,
        (ANY,) if tenant == ANY else (ANY, tenant),
        min(expiries) if expiries else None,
        tuple(limits),
        tuple(labels),
    )


def _require_first(identifier: TokenIdentifier, caveats: tuple[Caveat, ...]) -> None:
    first = caveats[0] if caveats else None
    if type(first) is not Tenant or first.tenant != identifier.tenant:
        raise errors.invalid_caveat(f"its first caveat must be 'tenant = {identifier.tenant}'")


def _only_tenant(tenants: set[str]) -> str:
    tenants.discard(ANY)
    if len(tenants) > 1:
        raise errors.invalid_caveat("its tenant caveats exclude each other")
    return tenants.pop() if tenants else ANY
