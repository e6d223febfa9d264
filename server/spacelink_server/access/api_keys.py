"""API keys: stored credentials that stand for tokens, for callers that cannot handle tokens.

A key's text is "slak_TENANT.KEY_ID.SECRET"; only its digest is stored. The token
that it stands for is not stored either, but written again from the tenant's key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc

from spacelink._caveats import ANY, Expires, parse
from spacelink_server.access.errors import invalid_token
from spacelink_server.access.minting import origin_of
from spacelink_server.access.periodic import repeat
from spacelink_server.access.verification import limit_of
from spacelink_server.errors import RequestError, UnavailableError
from spacelink_server.storage import api_keys, bans, tokens
from spacelink_server.storage.api_keys import ApiKey
from spacelink_server.storage.bans import Ban
from spacelink_server.storage.tokens import InheritedLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spacelink_server.access.bans import BanList
    from spacelink_server.access.minting import Minter, Origin
    from spacelink_server.access.verification import VerifiedToken
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.tokens import MintedToken
    from spacelink_server.storage.transactions import Connection

_NANOS = 1_000_000_000
_MINUTE = 60 * _NANOS

# Begins as tokens do not, and so that secret scanners can find a leak.
_TEXT = re.compile(r"slak_([^ ]{1,64})\.([0-9a-f]{32})\.[A-Za-z0-9_-]{43}", re.ASCII)
_SECRET_BYTES = 32

# How late a server hears that another one has set a key's end. Of keys that are
# revoked it hears at once, for their tokens are banned.
_CACHE_SECONDS = 10.0
# Entries take less than 1 kB; there are more only if keys are made without end.
_CACHE_SIZE = 4096

# How often uses are written down, which are told to the minute, and the streams
# of keys that have ended are ended.
_SETTLE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was made.

    Attributes:
        text: what callers present; it cannot be had again.
        key: what is stored of it.
        token: what is stored of its token.
    """

    text: str
    key: ApiKey
    token: MintedToken


class ApiKeys:
    """Makes and ends API keys, and gives the tokens that they stand for.

    generate, rotate and revoke run in a write transaction, after which refresh
    is to be called.
    """

    def __init__(
        self,
        database: Database,
        minter: Minter,
        ban_list: BanList,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make API keys.

        Args:
            database: where they are.
            minter: mints their tokens.
            ban_list: refreshed when keys end.
            clock: gives Unix seconds.
        """
        self._database = database
        self._minter = minter
        self._bans = ban_list
        self._clock = clock
        # By SHA-256 of a key's text: until when it is believed, which key it
        # is, and its token.
        self._cache: dict[bytes, tuple[float, tuple[str, str], str]] = {}
        self._uses: dict[tuple[str, str], int] = {}

    async def token_of(self, text: str) -> str:
        """Give the text of the token that a key stands for; whether that is good is another question.

        Raises:
            RefusedError: there is no such key, or it was revoked.
            UnavailableError: the store failed.
        """
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        now = self._clock()
        entry = self._cache.get(digest)
        if entry is None or now >= entry[0]:
            entry = (now + _CACHE_SECONDS, *await self._read(text, digest))
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[digest] = entry
        _, name, token = entry
        self._uses[name] = self._now() // _MINUTE * _MINUTE
        return token

    def generate(
        self,
        connection: Connection,
        tenant_id: str,
        origin: Origin,
        caveats: Iterable[str],
        display_name: str,
    ) -> IssuedKey:
        """Make a key; see Minter.mint for what it raises."""
        token = self._minter.mint(connection, tenant_id, origin, caveats)
        key_id = secrets.token_hex(16)
        text = f"slak_{tenant_id}.{key_id}.{secrets.token_urlsafe(_SECRET_BYTES)}"
        digest = hashlib.sha256(text.encode()).digest()
        key = ApiKey(
            tenant_id, key_id, digest, display_name, token.token_id, token.mint_time, None, None, False
        )
        api_keys.insert(connection, key)
        return IssuedKey(text, key, token)

    def rotate(self, connection: Connection, caller: VerifiedToken, key: ApiKey, overlap: int) -> IssuedKey:
        """Make a key in place of another.

        The new one may do what both the old one and the caller may, and draws
        from the limits of both: rotating does not start them anew.

        Args:
            connection: in a write transaction.
            caller: who rotates it; it may be the key itself.
            key: the old one.
            overlap: nanoseconds for which the old one stays good.

        Raises:
            RequestError: the old one has ended, or what Minter.mint raises.
        """
        old = tokens.get(connection, key.tenant_id, key.token_id)
        if old is None or (limits := self._limits_of(key, old)) is None:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "API_KEY_ENDED",
                "the key has ended: generate a new one",
            )
        origin = origin_of(connection, caller, self._bans)
        if caller.identifier.token_id == old.token_id:
            # It must not end with the token whose place it takes.
            ancestors = tokens.ancestors(connection, old.tenant_id, old.token_id)
            origin = replace(origin, minter=old.minter, ancestors=frozenset(ancestors))
        origin = replace(origin, limits=(*origin.limits, *limits, *old.inherited_limits))
        issued = self.generate(connection, key.tenant_id, origin, old.caveats[1:], key.display_name)
        self._end(connection, key, overlap, caller.actor)
        return issued

    def revoke(self, connection: Connection, key: ApiKey, actor: str) -> None:
        """End a key, together with the tokens that were minted and the streams that are open with it."""
        if key.revoked:
            return
        api_keys.revoke(connection, key.tenant_id, key.key_id)
        bans.insert(
            connection,
            Ban(
                key.tenant_id,
                secrets.token_hex(16),
                None,
                key.token_id,
                None,
                f"API key {key.key_id} has ended",
                actor,
                self._now(),
            ),
        )

    async def refresh(self) -> None:
        """Let what was committed take effect here."""
        self._cache.clear()
        await self._bans.refresh()

    async def run(self) -> None:
        """Settle again and again; runs for ever."""
        await repeat(_SETTLE_SECONDS, self.settle, "settling API keys")

    async def settle(self) -> None:
        """Write down when keys were used, and revoke those whose time is over.

        Raises:
            UnavailableError: the store failed; nothing is lost.
        """
        now = self._now()
        overdue = await self._database.read(lambda connection: api_keys.overdue(connection, now))
        uses, self._uses = self._uses, {}
        if not uses and not overdue:
            return
        try:
            await self._database.write(lambda connection: self._settle(connection, uses, now))
        except UnavailableError:
            self._uses = uses | self._uses
            raise
        if overdue:
            await self.refresh()

    def _settle(self, connection: Connection, uses: dict[tuple[str, str], int], now: int) -> None:
        api_keys.record_uses(connection, uses)
        for key in api_keys.overdue(connection, now):
            self.revoke(connection, key, "system")

    async def _read(self, text: str, digest: bytes) -> tuple[tuple[str, str], str]:
        match = _TEXT.fullmatch(text)
        if match is None:
            raise invalid_token("API key: malformed")
        name = (match[1], match[2])
        key, token = await self._database.read(lambda connection: _find(connection, *name))
        if key is None or token is None or not hmac.compare_digest(key.secret_digest, digest):
            raise invalid_token("API key: unknown")
        if key.revoked:
            raise invalid_token("API key: revoked")
        further = () if key.expire_time is None else (_expires(key.expire_time),)
        token_text = self._minter.text(token, *further)
        if token_text is None:
            raise invalid_token("API key: the time of the tenant's key is over")
        return name, token_text

    def _limits_of(self, key: ApiKey, token: MintedToken) -> list[InheritedLimit] | None:
        """Give the limits of a key's own token; None: the key has ended."""
        digests = self._minter.digests(token)
        ends = [time for time in (key.expire_time, token.expire_time) if time is not None]
        if digests is None or key.revoked or any(end <= self._now() for end in ends):
            return None
        if self._bans.is_banned((ANY, token.tenant_id), token.token_id, digests):
            return None
        parsed = [parse(caveat.encode("ascii")) for caveat in token.caveats]
        found = map(limit_of, [token.tenant_id] * len(parsed), digests[1:], parsed)
        return [InheritedLimit(limit.tenant_id, limit.digest, limit.caveat) for limit in found if limit]

    def _end(self, connection: Connection, key: ApiKey, overlap: int, actor: str) -> None:
        if overlap:
            end = self._now() + overlap
            earliest = end if key.expire_time is None else min(end, key.expire_time)
            api_keys.set_expiry(connection, key.tenant_id, key.key_id, earliest)
        else:
            self.revoke(connection, key, actor)

    def _now(self) -> int:
        return int(self._clock() * _NANOS)


def _find(connection: Connection, tenant_id: str, key_id: str) -> tuple[ApiKey | None, MintedToken | None]:
    key = api_keys.get(connection, tenant_id, key_id)
    return key, tokens.get(connection, tenant_id, key.token_id) if key else None


def _expires(time_unix_nano: int) -> Expires:
    return Expires(datetime.fromtimestamp(time_unix_nano // _NANOS, UTC))
