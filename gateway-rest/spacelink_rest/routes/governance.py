"""Bans, and the lineage of tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from google.protobuf.message import Message

from spacelink.admin.v1 import governance_pb2 as pb
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, body_of, model_of
from spacelink_rest.parameters import PageParam, TenantId
from spacelink_rest.upstream import Admin

router = APIRouter(prefix="/api/v1/governance", tags=["governance"], dependencies=CREDENTIALS)

_BAN = {"signature": 64 * "0", "reason": "found in a public repository"}
_UNBAN = {"signature": 64 * "0"}


@router.post("/ban", response_model=model_of(pb.BanTokenResponse))
async def ban_token(
    request: Annotated[Message, body_of(pb.BanTokenRequest, _BAN)], caller: CallerParam, admin: Admin
) -> Response:
    """Ban a token and all of its descendants, those not seen yet included.

    Name it in one way: token, signature, token_id, digest or minted_before.
    """
    return answer(await caller.call(admin.governance.BanToken, request))


@router.post("/unban", response_model=model_of(pb.UnbanTokenResponse))
async def unban_token(
    request: Annotated[Message, body_of(pb.UnbanTokenRequest, _UNBAN)], caller: CallerParam, admin: Admin
) -> Response:
    """Lift a ban; name it in one way: ban_id, token, signature or token_id."""
    return answer(await caller.call(admin.governance.UnbanToken, request))


@router.get("/bans", response_model=model_of(pb.ListBansResponse))
async def list_bans(caller: CallerParam, admin: Admin, page: PageParam, tenant_id: TenantId = "") -> Response:
    """List the bans, the newest first."""
    request = pb.ListBansRequest(tenant_id=tenant_id, **page)
    return answer(await caller.call(admin.governance.ListBans, request))


@router.get("/graph", response_model=model_of(pb.GetTokenGraphResponse))
async def get_token_graph(
    caller: CallerParam,
    admin: Admin,
    tenant_id: TenantId = "",
    token_id: Annotated[str, Query(description="Only what descends from this minted token.")] = "",
) -> Response:
    """Give the lineage of the tokens seen, with how often they were used."""
    request = pb.GetTokenGraphRequest(tenant_id=tenant_id, token_id=token_id)
    return answer(await caller.call(admin.governance.GetTokenGraph, request))
