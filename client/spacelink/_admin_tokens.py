"""Calls of the admin plane about tokens: minting, bans, lineage."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Unpack

from spacelink._client import AsyncClient
from spacelink._messages import record
from spacelink._times import timestamp
from spacelink.admin.v1 import governance_pb2, governance_pb2_grpc, token_pb2, token_pb2_grpc
from spacelink.records import Ban, MintedToken, TokenInspection, TokenNode
from spacelink.token import Token, encode_caveats

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from spacelink._times import Moment
    from spacelink.token import Bounds


class AsyncTokenAdmin(AsyncClient):
    """Mints, lists and bans tokens."""

    @property
    def _tokens(self) -> token_pb2_grpc.TokenServiceAsyncStub:
        return token_pb2_grpc.TokenServiceStub(self._channel)

    @property
    def _governance(self) -> governance_pb2_grpc.GovernanceServiceAsyncStub:
        return governance_pb2_grpc.GovernanceServiceStub(self._channel)

    async def mint_token(self, *, tenant_id: str = "", **bounds: Unpack[Bounds]) -> Token:
        """Mint a token. It is banned together with the caller's.

        Args:
            tenant_id: the tenant that it is good for; empty means the one that
                the call is about.
            bounds: what it is bound to, as Token.attenuate takes it; the bounds
                of the caller's credential hold for it, too.

        Raises:
            ValueError: names the bound and what would be right.
        """
        request = token_pb2.MintTokenRequest(
            tenant_id=tenant_id,
            caveats=[caveat.decode("ascii") for caveat in encode_caveats(bounds)],
            request_id=str(uuid.uuid4()),
        )
        return Token.parse((await self._unary(self._tokens.MintToken, request)).token)

    async def inspect_token(self, token: Token | str) -> TokenInspection:
        """Ask what a server knows of a token: whether it is authentic, and banned."""
        request = token_pb2.InspectTokenRequest(token=str(token))
        response = await self._unary(self._tokens.InspectToken, request)
        return record(TokenInspection, response)

    async def list_tokens(self, *, tenant_id: str = "") -> AsyncGenerator[MintedToken]:
        """List the tokens minted, newest first; pages are fetched as they are needed."""
        request = token_pb2.ListTokensRequest(tenant_id=tenant_id)
        async for page in self._pages(self._tokens.ListTokens, request):
            for token in page.tokens:
                yield record(MintedToken, token)

    async def ban_token(
        self,
        *,
        token: Token | str | None = None,
        signature: str | None = None,
        token_id: str | None = None,
        digest: str | None = None,
        minted_before: Moment | None = None,
        tenant_id: str = "",
        reason: str = "",
    ) -> Ban:
        """Ban a token and all of its descendants. The ban is in force on return.

        Args:
            token: the token; or
            signature: its signature, 64 hexadecimal digits; or
            token_id: the id of a minted token; or
            digest: the digest of a signature, as inspect_token and
                get_token_graph give it; or
            minted_before: all of the tenant's tokens minted before.
            tenant_id: the tenant; empty means the token's, or the one that the
                call is about. An operator who names none bans a signature or a
                digest for all tenants.
            reason: why, for those who read the list.

        Raises:
            ValueError: it is named in no way, or in several.
            NotFoundError: no such token was minted.
        """
        target = _the_one(
            token=None if token is None else str(token),
            signature=signature,
            token_id=token_id,
            digest=digest,
            minted_before=None if minted_before is None else timestamp(minted_before),
        )
        request = governance_pb2.BanTokenRequest(tenant_id=tenant_id, reason=reason, **target)
        return record(Ban, (await self._unary(self._governance.BanToken, request)).ban)

    async def unban_token(
        self,
        *,
        ban_id: str | None = None,
        token: Token | str | None = None,
        signature: str | None = None,
        token_id: str | None = None,
        tenant_id: str = "",
    ) -> None:
        """Lift a ban.

        Args:
            ban_id: the ban; or
            token: the token that it bans; or
            signature: that token's signature, 64 hexadecimal digits; or
            token_id: the id of the minted token that it bans.
            tenant_id: whose ban it is; empty means the one that the call is
                about. An operator who names none lifts it whosever it is.

        Raises:
            ValueError: it is named in no way, or in several.
            NotFoundError: there is no such ban.
        """
        target = _the_one(
            ban_id=ban_id,
            token=None if token is None else str(token),
            signature=signature,
            token_id=token_id,
        )
        request = governance_pb2.UnbanTokenRequest(tenant_id=tenant_id, **target)
        # Made again after it was served, it would find no ban.
        await self._unary(self._governance.UnbanToken, request, repeatable=False)

    async def list_bans(self, *, tenant_id: str = "") -> AsyncGenerator[Ban]:
        """List the bans in force, newest first; pages are fetched as they are needed.

        Args:
            tenant_id: whose bans; empty means those of the tenant that the call
                is about, for an operator who names none those of all.
        """
        request = governance_pb2.ListBansRequest(tenant_id=tenant_id)
        async for page in self._pages(self._governance.ListBans, request):
            for ban in page.bans:
                yield record(Ban, ban)

    async def get_token_graph(self, *, token_id: str = "", tenant_id: str = "") -> list[TokenNode]:
        """Ask for the lineage of the tokens that were presented.

        Args:
            token_id: only what descends from this minted token; empty means all.
            tenant_id: the tenant, whose tokens are those that it issued and
                operators' that were narrowed to it; empty means the one that the
                call is about, for an operator who names none all of them.

        Returns:
            A node for each prefix of a token that is the tenant's, parents before
            their children.
        """
        request = governance_pb2.GetTokenGraphRequest(token_id=token_id, tenant_id=tenant_id)
        response = await self._unary(self._governance.GetTokenGraph, request)
        return [record(TokenNode, node) for node in response.nodes]


def _the_one(**ways: object) -> dict[str, Any]:
    given = {name: value for name, value in ways.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"expected one of {', '.join(ways)}, got {' and '.join(given) or 'none'}")
    return given
