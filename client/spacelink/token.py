"""Capability tokens: read, narrowed and explained offline.

A token's text is "slk_" and its macaroon in unpadded base64url. Whoever has the
text has every right of the token, so it belongs in no log.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Self, TypeAlias, TypedDict

from spacelink import _caveats, _pymacaroons
from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink.errors import InvalidTokenError
from spacelink.macaroon import MAX_FIELD, MAX_SIZE, Macaroon, decode

PREFIX = "slk_"

Words: TypeAlias = str | Iterable[str]
Instant: TypeAlias = datetime | timedelta | str

_MAX_TEXT = len(PREFIX) + (MAX_SIZE * 4 + 2) // 3
# Between the alphabet for URLs and that of binascii, of which nothing else may be in a text.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/???")
_FROM_STANDARD = bytes.maketrans(b"+/", b"-_")
# Padding by how many characters a text is short of whole quanta, and what its last
# character then may be: one whose bits beyond the last byte are zero.
_PADDING = {
    0: (b"", frozenset(string.printable)),
    1: (b"=", frozenset("AEIMQUYcgkosw048")),
    2: (b"==", frozenset("AQgw")),
    3: (b"===", frozenset()),
}
_IDENTIFIER_VERSION = "v1"
# More than any tenant will ever have, and it fits into an integer column.
_MAX_KEY_VERSION = 999_999_999
_TOKEN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class TokenIdentifier:
    """What a token's identifier says, in ASCII: "v1 TENANT KEY_VERSION TOKEN_ID".

    Every descendant of a token has the same one.

    Attributes:
        tenant: whose root key signed it; "*" is the installation's own.
        key_version: which of the tenant's root keys, 1 to 999999999.
        token_id: 128 random bits as 32 lower-case hexadecimal digits.
    """

    tenant: str
    key_version: int
    token_id: str

    def __post_init__(self) -> None:
        if self.tenant != _caveats.ANY and not is_identifier(self.tenant):
            raise ValueError(f"tenant {self.tenant!r}: expected {IDENTIFIER_RULE}")
        if not 1 <= self.key_version <= _MAX_KEY_VERSION:
            raise ValueError(f"key version {self.key_version}: expected 1 to {_MAX_KEY_VERSION}")
        if not _TOKEN_ID.fullmatch(self.token_id):
            raise ValueError(f"token id {self.token_id!r}: expected 32 lower-case hexadecimal digits")

    @classmethod
    def new(cls, tenant: str, key_version: int) -> Self:
        """Make the identifier of a new token; ValueError names an argument that is out of range."""
        return cls(tenant, key_version, secrets.token_hex(16))

    @classmethod
    # Every descendant of a token has its identifier, so servers see few of them often.
    @lru_cache(maxsize=4096)
    def parse(cls, data: bytes) -> Self:
        """Read an identifier.

        Raises:
            InvalidTokenError: it is not written exactly as above.
        """
        try:
            _, tenant, key_version, token_id = data.decode("ascii").split(" ")
            identifier = cls(tenant, int(key_version), token_id)
        except ValueError:
            raise InvalidTokenError("token: the identifier is not one of SpaceLink's") from None
        if identifier.encode() != data:
            raise InvalidTokenError("token: the identifier is not one of SpaceLink's, version 1")
        return identifier

    def encode(self) -> bytes:
        """Write the identifier."""
        return f"{_IDENTIFIER_VERSION} {self.tenant} {self.key_version} {self.token_id}".encode("ascii")


@dataclass(frozen=True, slots=True)
class InvalidCaveat:
    """A caveat for which a server refuses the token.

    Attributes:
        data: the caveat as it is.
        problem: why it is refused, and what would be right.
    """

    data: bytes
    problem: str


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a token says about itself. Only a server can tell whether it is authentic.

    Attributes:
        tenant: the only tenant that it is good for; "*" where it is good for all,
            empty where its caveats name several.
        issuer: the tenant that issued it; "*" is the installation itself.
        token_id: 32 hexadecimal digits, shared by all its descendants.
        key_version: the version of the tenant's key that signed it.
        digest: SHA-256 of its signature in hex, which names the token and gives
            nothing of it away.
        caveats: in their order; all must hold.
        expires: the earliest of all expiries in UTC; None where there is none.
        labels: from the first holder to the last.
    """

    tenant: str
    issuer: str
    token_id: str
    key_version: int
    digest: str
    caveats: tuple[_caveats.Caveat | InvalidCaveat, ...]
    expires: datetime | None
    labels: tuple[str, ...]

    def problems(self, now: datetime | None = None) -> list[str]:
        """Say why servers refuse calls with the token, as far as the token itself tells.

        Args:
            now: the time, with a time zone; None: this machine's.

        Returns:
            A reason for each way, and which calls that is about; empty where the
            token may be good for something.
        """
        understood = [caveat for caveat in self.caveats if not isinstance(caveat, InvalidCaveat)]
        found = list(_caveats.contradictions(understood, now or datetime.now(UTC)))
        if len(understood) < len(self.caveats):
            found.insert(0, "a caveat is invalid: every call is refused")
        if self.caveats[:1] != (first := _caveats.Tenant(self.issuer),):
            found.insert(0, f"the first caveat is not '{first}': every call is refused")
        return found


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A capability token. str() gives the secret text, repr() does not.

    Attributes:
        data: the macaroon's binary form.
        macaroon: the macaroon, decoded from data.
        identifier: who issued it, and which token it descends from.
    """

    data: bytes
    macaroon: Macaroon = field(compare=False)
    identifier: TokenIdentifier = field(compare=False)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the binary form; InvalidTokenError says what is wrong with it."""
        macaroon = decode(data)
        return cls(data, macaroon, TokenIdentifier.parse(macaroon.identifier))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token's text. Blanks, line ends and padding are not part of it.

        Raises:
            InvalidTokenError: the text is not exactly that of a token.
        """
        return cls.decode(to_data(text))

    def attenuate(  # noqa: PLR0913 - one keyword for each kind of caveat
        self,
        *,
        tenant: str | None = None,
        scope: Words | None = None,
        device: Words | None = None,
        network: Words | None = None,
        expires: Instant | None = None,
        not_before: Instant | None = None,
        ip: Words | None = None,
        rate_limit: str | None = None,
        quota: str | None = None,
        label: str | None = None,
    ) -> Self:
        """Return a narrower token: this one with a caveat for each argument.

        All caveats of a token must hold, so nothing given here can widen it.

        Args:
            tenant: the only tenant it is good for; of use for an operator's token.
            scope: scopes such as "telemetry:write", "telemetry:*" or "*:read"; a
                list, or a text with blanks between them.
            device: device ids, or "site-7/*" for all below site-7.
            network: network ids, likewise.
            expires: when it ends: a datetime with a time zone, RFC 3339 text such
                as "2027-01-01T12:00:00Z", or a timedelta from now. Fractions of
                seconds are cut off.
            not_before: when it starts, likewise.
            ip: networks such as "10.0.0.0/8" or "2001:db8::/32".
            rate_limit: calls in each window, such as "100/minute"; windows are
                second, minute, hour and day.
            quota: units in each window, such as "10000/day".
            label: a name for the holder, seen in lineage and audit.

        Raises:
            ValueError: an argument cannot be written as a caveat, none is given,
                or the token would be over its limits.
            TypeError: an argument is of another type.
        """
        arguments = {
            "tenant": tenant,
            "scope": scope,
            "device": device,
            "network": network,
            "expires": expires,
            "not_before": not_before,
            "ip": ip,
            # Before the limits: a limit belongs to whoever has the same caveats
            # up to it, so siblings with other labels have limits of their own.
            "label": label,
            "rate_limit": rate_limit,
            "quota": quota,
        }
        caveats = encode_caveats(arguments)
        if not caveats:
            raise ValueError(f"attenuate needs at least one of {', '.join(arguments)}")
        try:
            return type(self).decode(_pymacaroons.attenuate(self.data, caveats))
        except InvalidTokenError as error:
            raise ValueError(f"the narrower token would be over the limits: {error.message}") from None

    def inspect(self) -> TokenInfo:
        """Explain the token. What it says is authentic only if a server accepts it."""
        caveats = tuple(map(_explain, self.macaroon.caveats))
        return TokenInfo(
            tenant=_only_tenant(self.identifier.tenant, caveats),
            issuer=self.identifier.tenant,
            token_id=self.identifier.token_id,
            key_version=self.identifier.key_version,
            digest=hashlib.sha256(self.macaroon.signature).hexdigest(),
            caveats=caveats,
            expires=min((c.time for c in caveats if isinstance(c, _caveats.Expires)), default=None),
            labels=tuple(c.label for c in caveats if isinstance(c, _caveats.Label)),
        )

    def __str__(self) -> str:
        return _to_text(self.data)

    def __repr__(self) -> str:
        return f"<Token {self.identifier.token_id} of {self.identifier.tenant}>"


def to_data(text: str) -> bytes:
    """Give the binary form that a token's text stands for; InvalidTokenError says why it stands for none."""
    if not text.startswith(PREFIX):
        raise InvalidTokenError(f"token: does not start with {PREFIX}")
    if len(text) > _MAX_TEXT:
        raise InvalidTokenError(f"token: {len(text)} characters, at most {_MAX_TEXT} are allowed")
    # The prefix is one quantum long.
    padding, last = _PADDING[-len(text) % 4]
    try:
        encoded = text[len(PREFIX) :].encode("ascii").translate(_TO_STANDARD)
        data = binascii.a2b_base64(encoded + padding, strict_mode=True)
    except ValueError:
        raise InvalidTokenError("token: not base64url") from None
    if text[-1] not in last:
        raise InvalidTokenError("token: not base64url in its only valid form")
    return data


def _to_text(data: bytes) -> str:
    return PREFIX + binascii.b2a_base64(data, newline=False).translate(_FROM_STANDARD, b"=").decode("ascii")


def _explain(data: bytes) -> _caveats.Caveat | InvalidCaveat:
    try:
        return _caveats.parse(data)
    except InvalidTokenError as error:
        return InvalidCaveat(data, error.message)


def _only_tenant(issuer: str, caveats: Iterable[_caveats.Caveat | InvalidCaveat]) -> str:
    named = {issuer, *(caveat.tenant for caveat in caveats if isinstance(caveat, _caveats.Tenant))}
    named.discard(_caveats.ANY)
    if len(named) > 1:
        return ""
    return named.pop() if named else _caveats.ANY


class Bounds(TypedDict, total=False):
    """What a token may be bound to when it is minted; see Token.attenuate."""

    scope: Words | None
    device: Words | None
    network: Words | None
    expires: Instant | None
    not_before: Instant | None
    ip: Words | None
    rate_limit: str | None
    quota: str | None
    label: str | None


def encode_caveats(arguments: Mapping[str, Any]) -> list[bytes]:
    """Write the caveats of Token.attenuate's arguments; None gives none.

    Raises:
        ValueError: an argument cannot be written as a caveat.
        TypeError: an argument is of another type.
    """
    return [_encode_caveat(key, value) for key, value in arguments.items() if value is not None]


def _encode_caveat(key: str, value: Words | Instant) -> bytes:
    try:
        data = _caveats.KINDS[key].from_text(_join(value)).encode()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{key}: {error}") from None
    except TypeError as error:
        raise TypeError(f"{key}: {error}") from None
    if len(data) > MAX_FIELD:
        raise ValueError(f"{key}: {len(data)} bytes, at most {MAX_FIELD} fit into a caveat")
    return data


def _join(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, timedelta):
        value = datetime.now(UTC) + value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Iterable):
        return " ".join(map(_one_word, value))
    raise TypeError(f"{value!r} is not a text, a list of texts, or for a time a datetime or timedelta")


def _one_word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    # A blank inside an item would make two of it.
    if value.split() != [value]:
        raise ValueError(f"{value!r} is empty or has a blank in it")
    return value
