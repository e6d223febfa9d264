"""Tokens for tests in which no server asks whether they are authentic."""

from __future__ import annotations

from spacelink._pymacaroons import mint
from spacelink.token import Token, TokenIdentifier

KEY = b"a root key of thirty-two bytes.."


def minted(*caveats: str, tenant: str = "acme") -> Token:
    """Mint a token of a tenant."""
    texts = (f"tenant = {tenant}", *caveats)
    return Token.decode(mint(KEY, TokenIdentifier.new(tenant, 1).encode(), tuple(map(str.encode, texts))))
