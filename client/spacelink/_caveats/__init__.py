"""The caveats of SpaceLink's tokens: one frozen class for each key.

A caveat is written "key = value" in ASCII. Each has exactly one text: parse
refuses what is not, byte for byte, what the parsed caveat would be written as.
Whether a caveat holds is a question about a call, which brings the clock and
everything else there is to know; caveats only look at it.
"""

from __future__ import annotations

from functools import lru_cache

from spacelink._caveats.base import ANY, CallContext, Caveat, Failure, Success
from spacelink._caveats.bounds import Expires, Ip, NotBefore, Quota, RateLimit
from spacelink._caveats.contradictions import contradictions
from spacelink._caveats.names import Device, Label, Network, Scope, Tenant
from spacelink.errors import InvalidTokenError

__all__ = [
    "ANY",
    "KINDS",
    "CallContext",
    "Caveat",
    "Device",
    "Expires",
    "Failure",
    "Ip",
    "Label",
    "Network",
    "NotBefore",
    "Quota",
    "RateLimit",
    "Scope",
    "Success",
    "Tenant",
    "contradictions",
    "parse",
]

KINDS: dict[str, type[Caveat]] = {
    kind.key: kind
    for kind in (Tenant, Scope, Device, Network, Expires, NotBefore, Ip, RateLimit, Quota, Label)
}


# Parsing five caveats takes 10 µs, half of what the check of a token may take,
# and the tokens of a fleet differ in one or two. At 512 bytes each, 4 MiB hold them.
@lru_cache(maxsize=4096)
def parse(data: bytes) -> Caveat:
    """Parse a caveat's bytes.

    Raises:
        InvalidTokenError: the key is not known, the value is not valid, or
            either is not written in its only valid way.
    """
    if not data.isascii():
        raise InvalidTokenError("caveat: not ASCII")
    text = data.decode("ascii")
    key, _, value = text.partition(" = ")
    if key not in KINDS:
        raise InvalidTokenError(f"caveat: {text!r} is not 'key = value' with a key out of {', '.join(KINDS)}")
    try:
        caveat = KINDS[key].from_text(value)
    except ValueError as error:
        raise InvalidTokenError(f"caveat {key}: {error}") from None
    if str(caveat) != text:
        raise InvalidTokenError(f"caveat {key}: {text!r} must be written {str(caveat)!r}")
    return caveat
