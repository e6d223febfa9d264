"""Which token a call was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink_server.access import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spacelink_server.access.metadata import Metadata
    from spacelink_server.access.verification import TokenVerifier, VerifiedToken

_AUTHORIZATION = "authorization"
_API_KEY = "x-api-key"
_SCHEME = "bearer"


class Authenticator:
    """Takes the one credential of a call, and gives the token that it is or stands for."""

    def __init__(self, verifier: TokenVerifier, token_of_key: Callable[[str], Awaitable[str]]) -> None:
        """Make an authenticator.

        Args:
            verifier: verifies tokens.
            token_of_key: gives the text of the token that an API key stands for.
        """
        self._verifier = verifier
        self._token_of_key = token_of_key

    async def authenticate(self, metadata: Metadata) -> VerifiedToken:
        """Verify a call's credential.

        Raises:
            RefusedError: there is none, more than one, or it is not good.
            UnavailableError: whether it is good cannot be told now.
        """
        credentials = [item for item in metadata if item[0] in (_AUTHORIZATION, _API_KEY)]
        if not credentials:
            raise errors.credential_required()
        if len(credentials) > 1:
            raise errors.ambiguous_credential()
        key, value = credentials[0]
        text = str(value)
        text = await self._token_of_key(text) if key == _API_KEY else _bearer(text)
        return self._verifier.verify(text)


def _bearer(value: str) -> str:
    scheme, _, text = value.partition(" ")
    if scheme.lower() != _SCHEME:
        raise errors.invalid_token("authorization: not Bearer")
    return text
