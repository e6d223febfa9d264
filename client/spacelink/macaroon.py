"""Macaroons: a strict decoder of the binary V2 format, and the HMAC-SHA256 chain.

    data       = 0x02 [location] identifier 0x00 *(caveat 0x00) 0x00 signature
    field      = type length bytes      types: 1 location, 2 identifier and caveat, 6 signature
    chain key  = HMAC("macaroons-key-generator", root key)
    s0         = HMAC(chain key, identifier)
    s_i        = HMAC(s_(i-1), caveat_i)

A macaroon is authentic if its signature is the last of the chain. Whoever holds
one can compute the next link and so narrow it, but never get back to the link
before. The location is a hint that nothing signs.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

from spacelink.errors import InvalidTokenError

# Tokens travel in a header of every call, and common proxies and gRPC itself
# give all headers together 8 KiB; base64 makes 5.3 KiB of 4.
MAX_SIZE = 4096
# Ten times what a chain from operator to device needs; bounds the work that a
# forged token can cause.
MAX_CAVEATS = 64
# A caveat that lists twenty devices by their UUIDs has 750 bytes and should be
# a pattern instead. Below 2**14, so a length has at most two bytes.
MAX_FIELD = 512

_VERSION = b"\x02"
_END, _LOCATION, _IDENTIFIER, _VERIFICATION_ID, _SIGNATURE = 0, 1, 2, 4, 6
_SIGNATURE_SIZE = 32
_KEY_GENERATOR = b"macaroons-key-generator"

# HMAC fills its key up to SHA-256's block, and xors it with these.
_FILL = bytes(sha256().block_size - _SIGNATURE_SIZE)
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


@dataclass(frozen=True, slots=True)
class Macaroon:
    """A decoded macaroon; nothing in it is authentic before verify.

    Attributes:
        location: a hint where it may be used; often empty.
        identifier: 1 to 512 bytes that tell the issuer which root key signed it.
        caveats: at most 64, of 1 to 512 bytes each.
        signature: 32 bytes. Whoever knows them has the token.
    """

    location: str
    identifier: bytes
    caveats: tuple[bytes, ...]
    signature: bytes = field(repr=False)

    def verify(self, root_key: bytes) -> tuple[bytes, ...]:
        """Return the prefix signatures s0…sn: one more than there are caveats.

        Each is the signature of the macaroon with that many caveats, so each is
        as secret as a token.

        Raises:
            InvalidTokenError: root_key did not sign this macaroon, or it was
                changed since other than by adding caveats.
        """
        signature = _chain_key(root_key)
        signatures = []
        for part in (self.identifier, *self.caveats):
            # HMAC by hand (RFC 2104): hmac.digest takes twice as long, for it
            # sets up a context of OpenSSL's for every link.
            block = signature + _FILL
            inner = sha256(block.translate(_INNER) + part).digest()
            signature = sha256(block.translate(_OUTER) + inner).digest()
            signatures.append(signature)
        if not hmac.compare_digest(signature, self.signature):
            raise InvalidTokenError("token: the signature does not match")
        return tuple(signatures)


# A server verifies the tokens of a few tenants over and over, and this is one
# HMAC of the seven that a token with five caveats costs.
@lru_cache(maxsize=256)
def _chain_key(root_key: bytes) -> bytes:
    return hmac.digest(_KEY_GENERATOR, root_key, "sha256")


def decode(data: bytes) -> Macaroon:
    """Decode the binary V2 format; every macaroon has exactly one encoding per location.

    Third-party caveats are refused: no service here could discharge them.

    Raises:
        InvalidTokenError: anything is missing, out of order, given twice, over
            its limit or left over. The message never holds a part of the data.
    """
    if len(data) > MAX_SIZE:
        raise InvalidTokenError(f"token: {len(data)} bytes, at most {MAX_SIZE} are allowed")
    if data[:1] != _VERSION:
        raise InvalidTokenError("token: not a version 2 macaroon")
    try:
        return _parse(data)
    except IndexError:
        raise InvalidTokenError("token: ends too early") from None


def _parse(data: bytes) -> Macaroon:
    location, at = _parse_location(data, 1)
    sections: list[bytes] = []
    while data[at] != _END or not sections:
        if len(sections) > MAX_CAVEATS:
            raise InvalidTokenError(f"token: more than {MAX_CAVEATS} caveats")
        length = data[at + 1]
        if data[at] == _IDENTIFIER and length <= 0x7F:
            # As _parse_field, in half the time: most fields are of this kind.
            section = data[at + 2 : at + 2 + length]
            at += 2 + length
        else:
            section, at = _parse_field(data, at, _IDENTIFIER)
        if not section or data[at] != _END:
            raise _bad_section(section, data[at])
        sections.append(section)
        at += 1
    signature = _parse_signature(data, at + 1)
    return Macaroon(location, sections[0], tuple(sections[1:]), signature)


def _parse_location(data: bytes, at: int) -> tuple[str, int]:
    if data[at] != _LOCATION:
        return "", at
    value, at = _parse_field(data, at, _LOCATION)
    try:
        return value.decode(), at
    except UnicodeDecodeError:
        raise InvalidTokenError("token: the location is not UTF-8") from None


def _bad_section(section: bytes, next_kind: int) -> InvalidTokenError:
    if not section:
        return InvalidTokenError("token: an identifier or caveat is empty")
    if next_kind == _VERIFICATION_ID:
        return InvalidTokenError("token: third-party caveats are not supported")
    return InvalidTokenError("token: a field follows where none may be")


def _parse_signature(data: bytes, at: int) -> bytes:
    value, at = _parse_field(data, at, _SIGNATURE)
    if len(value) != _SIGNATURE_SIZE:
        raise InvalidTokenError(f"token: a signature of {len(value)} bytes, expected {_SIGNATURE_SIZE}")
    if at != len(data):
        raise InvalidTokenError("token: bytes follow the signature")
    return value


def _parse_field(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    if data[at] != kind:
        raise InvalidTokenError(f"token: a field of type {data[at]}, expected {kind}")
    length = data[at + 1]
    start = at + 2
    if length > 0x7F:
        length = _join_varint(length, data[start])
        start += 1
    stop = start + length
    if stop > len(data):
        raise InvalidTokenError("token: ends too early")
    return data[start:stop], stop


def _join_varint(low: int, high: int) -> int:
    # A length that goes on behind high has bit 14 set, so it is over the limit.
    if high == 0:
        raise InvalidTokenError("token: a length is not written in its shortest form")
    length = low & 0x7F | high << 7
    if length > MAX_FIELD:
        raise InvalidTokenError(f"token: a field of more than {MAX_FIELD} bytes")
    return length
