"""Tokens for tests in which no server asks whether they are authentic."""

from __future__ import annotations

import itertools

from spacelink._pymacaroons import mint
from spacelink.token import Token, TokenIdentifier

KEY = b"a root key of thirty-two bytes.."

# Not random: tests that have tokens for parameters go by the same names in every process.
_numbers = itertools.count(1)


def minted(*caveats: str, tenant: str = "acme") -> Token:
    """Mint a token of a tenant."""
    texts = (f"tenant = {tenant}", *caveats)
    identifier = TokenIdentifier(tenant, 1, f"{next(_numbers):032x}")
    return Token.decode(mint(KEY, identifier.encode(), tuple(map(str.encode, texts))))
