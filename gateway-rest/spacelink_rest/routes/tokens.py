"""Minting tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from google.protobuf.message import Message

from spacelink.admin.v1 import token_pb2 as pb
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, body_of, model_of
from spacelink_rest.parameters import IdempotencyKey
from spacelink_rest.upstream import Admin

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"], dependencies=CREDENTIALS)

_MINT = {
    "tenant_id": "default",
    "caveats": ["scope = telemetry:write", "device = site-7/*", "expires = 2030-01-01T00:00:00Z"],
}


@router.post("", status_code=201, response_model=model_of(pb.MintTokenResponse))
async def mint_token(
    request: Annotated[Message, body_of(pb.MintTokenRequest, _MINT, leave_out=("request_id",))],
    caller: CallerParam,
    admin: Admin,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Mint a token; it inherits the caveats of the caller's and is banned with it."""
    request.MergeFrom(pb.MintTokenRequest(request_id=idempotency_key))
    return answer(await caller.call(admin.tokens.MintToken, request), 201)
