"""Calls of PartnerService that manage API keys."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Unpack

from spacelink._client import AsyncClient
from spacelink._messages import duration, record
from spacelink.errors import AlreadyExistsError
from spacelink.records import ApiKey, NewApiKey
from spacelink.token import encode_caveats
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import timedelta

    from spacelink.token import Bounds
    from spacelink.v1.partner_pb2_grpc import PartnerServiceAsyncStub


class AsyncApiKeys(AsyncClient):
    """Makes, replaces and ends API keys."""

    @property
    def _partners(self) -> PartnerServiceAsyncStub:
        return PartnerServiceStub(self._channel)

    async def generate_api_key(self, display_name: str = "", **bounds: Unpack[Bounds]) -> NewApiKey:
        """Make an API key: a credential that stands for a token of the server's.

        Args:
            display_name: for people.
            bounds: what the key is bound to, as Token.attenuate takes it; the
                bounds of the caller's credential hold for it, too.

        Returns:
            The key, which cannot be had again.

        Raises:
            ValueError: names the bound and what would be right.
            AlreadyExistsError: the key was made, but the answer that showed it
                was lost; rotate or revoke it.
        """
        request = pb.GenerateApiKeyRequest(
            display_name=display_name,
            caveats=[caveat.decode("ascii") for caveat in encode_caveats(bounds)],
            request_id=str(uuid.uuid4()),
        )
        response = await self._unary(self._partners.GenerateApiKey, request)
        if not response.secret:
            raise AlreadyExistsError(
                f"the API key {response.api_key.key_id} was made, but the answer that showed it was lost; "
                "rotate or revoke it"
            )
        return _new_key(response)

    async def rotate_api_key(self, key_id: str, *, overlap: timedelta | None = None) -> NewApiKey:
        """Make a new API key in place of one.

        Args:
            key_id: the key to replace.
            overlap: how long it stays good; None means 24 hours.

        Raises:
            NotFoundError: there is no such key.
        """
        request = pb.RotateApiKeyRequest(key_id=key_id, overlap=duration(overlap))
        # Made again, it would replace the key with a second one.
        return _new_key(await self._unary(self._partners.RotateApiKey, request, repeatable=False))

    async def revoke_api_key(self, key_id: str) -> None:
        """End an API key at once.

        Raises:
            NotFoundError: there is no such key.
        """
        await self._unary(self._partners.RevokeApiKey, pb.RevokeApiKeyRequest(key_id=key_id))

    async def list_api_keys(self) -> AsyncGenerator[ApiKey]:
        """List the tenant's API keys, newest first; pages are fetched as they are needed."""
        async for page in self._pages(self._partners.ListApiKeys, pb.ListApiKeysRequest()):
            for key in page.api_keys:
                yield record(ApiKey, key)


def _new_key(response: Any) -> NewApiKey:
    return NewApiKey(response.secret, record(ApiKey, response.api_key))
