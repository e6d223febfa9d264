"""TokenService."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink._caveats import ANY
from spacelink.admin.v1 import token_pb2 as pb
from spacelink.admin.v1.token_pb2_grpc import TokenServiceServicer
from spacelink.errors import InvalidTokenError
from spacelink_server.access.call import current
from spacelink_server.access.minting import origin_of, parse_caveats
from spacelink_server.errors import RequestError
from spacelink_server.services import _requests
from spacelink_server.storage import audit, tokens
from spacelink_server.storage.audit import Event

if TYPE_CHECKING:
    from spacelink.token import Token
    from spacelink_server.access.bans import BanList
    from spacelink_server.access.call import Call
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.minting import Minter
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.tokens import MintedToken
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class TokenService(TokenServiceServicer):
    """Mints and explains tokens; see token.proto."""

    def __init__(self, database: Database, keys: KeyRing, bans: BanList, minter: Minter) -> None:
        self._database = database
        self._keys = keys
        self._bans = bans
        self._minter = minter

    async def MintToken(self, request: pb.MintTokenRequest, context: Context) -> pb.MintTokenResponse:
        """Mint a token that its minter's caveats bound, too."""
        call = current()
        _requests.require_request_id(request.request_id)
        caveats = parse_caveats(request.caveats, call.tenant_id)
        token = await self._database.write(lambda c: self._mint(c, call, request, caveats))
        text = self._minter.text(token)
        if text is None:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "KEY_EXPIRED",
                "the key that signed the token has expired",
            )
        return pb.MintTokenResponse(token=text, token_id=token.token_id)

    async def InspectToken(
        self, request: pb.InspectTokenRequest, context: Context
    ) -> pb.InspectTokenResponse:
        """Tell what a token says, and what only a server knows of it."""
        token = _requests.require_token(current(), "token", request.token)
        info = token.inspect()
        digests = self._digests(token)
        banned_by = {ANY, info.tenant, current().tenant_id}
        response = pb.InspectTokenResponse(
            authentic=bool(digests),
            banned=bool(digests) and self._bans.is_banned(banned_by, info.token_id, digests),
            tenant_id=info.issuer,
            token_id=info.token_id,
            key_version=info.key_version,
            # Of an authentic token, but anybody may have added them.
            caveats=[caveat.decode("ascii", "backslashreplace") for caveat in token.macaroon.caveats],
            digests=[digest.hex() for digest in digests],
        )
        if info.expires is not None:
            response.expire_time.FromDatetime(info.expires)
        return response

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        """List what is kept of the tokens minted."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)

        def work(connection: Connection) -> pb.ListTokensResponse:
            rows = tokens.page(connection, tenant_id, before, size + 1)
            page, next_page = _requests.split_page(rows, size, lambda row: f"{row.mint_time} {row.token_id}")
            # Here in the thread: each takes a chain of signatures.
            return pb.ListTokensResponse(tokens=map(self._message, page), next_page_token=next_page)

        return await self._database.read(work)

    def _mint(
        self, connection: Connection, call: Call, request: pb.MintTokenRequest, caveats: list[str]
    ) -> MintedToken:
        def make() -> dict[str, str]:
            origin = origin_of(connection, call.principal, self._bans)
            token = self._minter.mint(connection, call.tenant_id, origin, caveats)
            event = Event(
                call.principal.actor,
                "token.mint",
                f"token:{token.token_id}",
                detail={"caveats": list(token.caveats)},
            )
            audit.append(connection, call.tenant_id, event)
            return {"token_id": token.token_id}

        result = _requests.once(connection, call, request, make)
        token = tokens.get(connection, call.tenant_id, result["token_id"])
        assert token is not None  # noqa: S101 - tokens are never deleted
        return token

    def _digests(self, token: Token) -> list[bytes]:
        """Give the digests of a token's prefix signatures; none where it is not authentic."""
        identifier = token.identifier
        root_key = self._keys.root_key(identifier.tenant, identifier.key_version)
        if root_key is None:
            return []
        try:
            return [hashlib.sha256(s).digest() for s in token.macaroon.verify(root_key)]
        except InvalidTokenError:
            return []

    def _message(self, token: MintedToken) -> pb.MintedToken:
        banned = self._bans.is_banned(
            (ANY, token.tenant_id), token.token_id, self._minter.digests(token) or ()
        )
        return pb.MintedToken(
            token_id=token.token_id,
            caveats=token.caveats,
            mint_time=_requests.timestamp(token.mint_time),
            minter=token.minter,
            banned=banned,
        )
