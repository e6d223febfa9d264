"""The methods of PartnerService that manage API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceServicer
from spacelink_server.access.call import current
from spacelink_server.access.minting import origin_of, parse_caveats
from spacelink_server.services import _requests
from spacelink_server.storage import api_keys, audit, tokens
from spacelink_server.storage.audit import Event

if TYPE_CHECKING:
    from spacelink_server.access.api_keys import IssuedKey
    from spacelink_server.access.call import Call
    from spacelink_server.access.control import AccessControl
    from spacelink_server.storage.api_keys import ApiKey
    from spacelink_server.storage.tokens import MintedToken
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ApiKeyMethods(PartnerServiceServicer):
    """Manages API keys; see partner.proto."""

    def __init__(self, access: AccessControl) -> None:
        self._database = access.database
        self._bans = access.bans
        self._api_keys = access.api_keys

    async def GenerateApiKey(
        self, request: pb.GenerateApiKeyRequest, context: Context
    ) -> pb.GenerateApiKeyResponse:
        """Make a key, and show it once."""
        call = current()
        _requests.require_request_id(request.request_id)
        _requests.require_text("display_name", request.display_name)
        caveats = parse_caveats(request.caveats, call.tenant_id)
        return await self._database.write(lambda c: self._generate(c, call, request, caveats))

    async def RotateApiKey(
        self, request: pb.RotateApiKeyRequest, context: Context
    ) -> pb.RotateApiKeyResponse:
        """Make a key in place of another."""
        call = current()
        overlap = _requests.overlap(request.overlap, request.HasField("overlap"))

        def work(connection: Connection) -> IssuedKey:
            key = _find(connection, call, request.key_id)
            issued = self._api_keys.rotate(connection, call.principal, key, overlap)
            replaced = {"replaces": key.key_id, "overlap_seconds": overlap // 1_000_000_000}
            _record(connection, call, "api_key.rotate", issued.key, **replaced)
            return issued

        issued = await self._database.write(work, self._api_keys.refresh)
        return pb.RotateApiKeyResponse(secret=issued.text, api_key=_message(issued.key, issued.token))

    async def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: Context
    ) -> pb.RevokeApiKeyResponse:
        """End a key at once."""
        call = current()

        def work(connection: Connection) -> None:
            key = _find(connection, call, request.key_id)
            self._api_keys.revoke(connection, key, call.principal.actor)
            _record(connection, call, "api_key.revoke", key)

        await self._database.write(work, self._api_keys.refresh)
        return pb.RevokeApiKeyResponse()

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        """List what is kept of a tenant's keys."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)

        def work(connection: Connection) -> pb.ListApiKeysResponse:
            rows = api_keys.page(connection, tenant_id, before, size + 1)
            page, next_page = _requests.split_page(rows, size, lambda row: f"{row.create_time} {row.key_id}")
            minted = tokens.get_many(connection, tenant_id, [row.token_id for row in page])
            messages = [_message(row, minted[row.token_id]) for row in page]
            return pb.ListApiKeysResponse(api_keys=messages, next_page_token=next_page)

        return await self._database.read(work)

    def _generate(
        self, connection: Connection, call: Call, request: pb.GenerateApiKeyRequest, caveats: list[str]
    ) -> pb.GenerateApiKeyResponse:
        secret = ""

        def make() -> dict[str, str]:
            nonlocal secret
            origin = origin_of(connection, call.principal, self._bans)
            issued = self._api_keys.generate(
                connection, call.tenant_id, origin, caveats, request.display_name
            )
            _record(connection, call, "api_key.create", issued.key, caveats=list(issued.token.caveats))
            secret = issued.text
            return {"key_id": issued.key.key_id}

        result = _requests.once(connection, call, request, make)
        key = _find(connection, call, result["key_id"])
        token = tokens.get_many(connection, call.tenant_id, [key.token_id])[key.token_id]
        return pb.GenerateApiKeyResponse(secret=secret, api_key=_message(key, token))


def _find(connection: Connection, call: Call, key_id: str) -> ApiKey:
    key = api_keys.get(connection, call.tenant_id, key_id)
    if key is None:
        raise _requests.not_found("API_KEY_NOT_FOUND", f"there is no API key {key_id!r}")
    return key


def _record(connection: Connection, call: Call, action: str, key: ApiKey, **detail: Any) -> None:
    detail["token_id"] = key.token_id
    event = Event(call.principal.actor, action, f"api_key:{key.key_id}", detail=detail)
    audit.append(connection, call.tenant_id, event)


def _message(key: ApiKey, token: MintedToken) -> pb.ApiKey:
    ends = [time for time in (key.expire_time, token.expire_time) if time is not None]
    return pb.ApiKey(
        key_id=key.key_id,
        display_name=key.display_name,
        caveats=token.caveats,
        create_time=_requests.timestamp(key.create_time),
        expire_time=_requests.timestamp(min(ends, default=None)),
        last_use_time=_requests.timestamp(key.last_use_time),
        revoked=key.revoked,
    )
