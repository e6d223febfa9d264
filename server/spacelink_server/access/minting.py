"""Minting tokens, and writing the text of one again from what is stored of it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spacelink import _pymacaroons
from spacelink._caveats import Expires, Tenant, parse
from spacelink.errors import InvalidTokenError
from spacelink.macaroon import MAX_FIELD
from spacelink.token import Token, TokenIdentifier
from spacelink_server.access.errors import banned, tenant_not_found
from spacelink_server.errors import InvalidRequestError
from spacelink_server.storage import tokens
from spacelink_server.storage.tokens import InheritedLimit, MintedToken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spacelink._caveats import Caveat
    from spacelink_server.access.bans import BanList
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.verification import VerifiedToken
    from spacelink_server.storage.transactions import Connection

_NANOS = 1_000_000_000
_FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a minted token comes from, and what it takes over from there.

    Attributes:
        minter: as in MintedToken.
        caveats: those that it starts with, behind its tenant's.
        ancestors: digests whose bans are bans on it.
        limits: that it draws from besides its own.
    """

    minter: str
    caveats: tuple[str, ...] = ()
    ancestors: frozenset[bytes] = frozenset()
    limits: tuple[InheritedLimit, ...] = ()


def origin_of(connection: Connection, caller: VerifiedToken, bans: BanList) -> Origin:
    """Tell what a token mints: nothing that it could not do itself, and that ends with it.

    Args:
        connection: in the write transaction that mints.
        caller: the token.
        bans: what is banned.

    Raises:
        RefusedError: it was banned since the call was let in.
        UnavailableError: bans have just changed.
    """
    bans.require_current(connection)
    identifier = caller.identifier
    if bans.is_banned(caller.banned_by, identifier.token_id, caller.digests):
        raise banned()
    name = (identifier.tenant, identifier.token_id)
    minted = tokens.get(connection, *name)
    limits = [InheritedLimit(limit.tenant_id, limit.digest, limit.caveat) for limit in caller.limits]
    return Origin(
        identifier.token_id,
        tuple(str(caveat) for caveat in caller.caveats if not isinstance(caveat, Tenant)),
        frozenset((*caller.digests, *tokens.ancestors(connection, *name))),
        (*limits, *(minted.inherited_limits if minted else ())),
    )


def parse_caveats(texts: Sequence[str], tenant_id: str) -> list[str]:
    """Check the caveats that a request asks for.

    Raises:
        InvalidRequestError: names the one that no token of the tenant may have,
            and what would be right.
    """
    for index, text in enumerate(texts):
        field = f"caveats[{index}]"
        caveat = _parse(field, text)
        if isinstance(caveat, Tenant) and caveat.tenant != tenant_id:
            raise InvalidRequestError(
                field, f"the token is minted for tenant {tenant_id}; leave its caveat out", "INVALID_CAVEAT"
            )
    return list(texts)


class Minter:
    """Mints tokens with the tenants' current keys."""

    def __init__(self, keys: KeyRing) -> None:
        """Make a minter with the keys that it signs with."""
        self._keys = keys

    def mint(
        self, connection: Connection, tenant_id: str, origin: Origin, caveats: Iterable[str]
    ) -> MintedToken:
        """Mint a token and store what is kept of it.

        Args:
            connection: in a write transaction.
            tenant_id: whose token it is.
            origin: what it takes over.
            caveats: further ones, as parse_caveats gives them.

        Raises:
            RequestError: there is no such tenant.
            InvalidRequestError: the token would be over the limits of tokens.
        """
        if tenant_id not in self._keys:
            raise tenant_not_found(tenant_id)
        identifier = TokenIdentifier.new(tenant_id, self._keys.current_version(tenant_id))
        # A caveat given twice restricts no more than once.
        texts = tuple(dict.fromkeys((str(Tenant(tenant_id)), *origin.caveats, *caveats)))
        token = MintedToken(
            tenant_id,
            identifier.token_id,
            identifier.key_version,
            texts,
            origin.minter,
            time.time_ns(),
            _expire_time(texts),
            tuple(dict.fromkeys(origin.limits)),
        )
        try:
            self.text(token)
        except InvalidTokenError as error:
            raise InvalidRequestError(
                "caveats", f"with those of the minter the token would be over the limits: {error.message}"
            ) from None
        tokens.insert(connection, token, origin.ancestors)
        return token

    def text(self, token: MintedToken, *further: Caveat) -> str | None:
        """Write a token's text, which is not stored; None: its key's time is over.

        Args:
            token: what is stored of it.
            further: caveats to add behind its own.
        """
        root_key = self._keys.root_key(token.tenant_id, token.key_version)
        return None if root_key is None else str(_sign(root_key, token, further))

    def digests(self, token: MintedToken) -> list[bytes] | None:
        """Give SHA-256 of each of a token's prefix signatures; None: its key's time is over."""
        root_key = self._keys.root_key(token.tenant_id, token.key_version)
        if root_key is None:
            return None
        signatures = _sign(root_key, token).macaroon.verify(root_key)
        return [hashlib.sha256(signature).digest() for signature in signatures]


def _sign(root_key: bytes, token: MintedToken, further: Iterable[Caveat] = ()) -> Token:
    identifier = TokenIdentifier(token.tenant_id, token.key_version, token.token_id)
    caveats = [text.encode("ascii") for text in (*token.caveats, *map(str, further))]
    return Token.decode(_pymacaroons.mint(root_key, identifier.encode(), caveats))


def _parse(field: str, text: str) -> Caveat:
    data = text.encode()
    if len(data) > MAX_FIELD:
        raise InvalidRequestError(field, f"{len(data)} bytes, at most {MAX_FIELD} fit into a caveat")
    try:
        return parse(data)
    except InvalidTokenError as error:
        raise InvalidRequestError(field, error.message, "INVALID_CAVEAT") from None


def _expire_time(caveats: Iterable[str]) -> int | None:
    parsed = (parse(text.encode("ascii")) for text in caveats)
    times = [caveat.time for caveat in parsed if isinstance(caveat, Expires)]
    if not times:
        return None
    # Some years that a caveat can name are beyond what is stored.
    return max(-_FOREVER, min(_FOREVER, int(min(times).timestamp()) * _NANOS))
