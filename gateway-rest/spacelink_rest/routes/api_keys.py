"""Partners' API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from google.protobuf.message import Message

from spacelink.v1 import partner_pb2 as pb
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, body_of, model_of
from spacelink_rest.parameters import IdempotencyKey, PageParam, PartnerTenant
from spacelink_rest.upstream import Data

router = APIRouter(prefix="/v1/partners/{tenant_id}/api-keys", tags=["partners"], dependencies=CREDENTIALS)

_GENERATE = {"display_name": "site 7", "caveats": ["scope = telemetry:write", "device = site-7/*"]}
_ROTATE = {"key_id": "a-key-id", "overlap": "86400s"}


@router.post("/generate", status_code=201, response_model=model_of(pb.GenerateApiKeyResponse))
async def generate_api_key(
    tenant_id: PartnerTenant,
    request: Annotated[Message, body_of(pb.GenerateApiKeyRequest, _GENERATE, leave_out=("request_id",))],
    caller: CallerParam,
    data: Data,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Make an API key; it is shown once, in the answer."""
    request.MergeFrom(pb.GenerateApiKeyRequest(request_id=idempotency_key))
    return answer(await caller.about(tenant_id).call(data.partners.GenerateApiKey, request), 201)


@router.post("/rotate", status_code=201, response_model=model_of(pb.RotateApiKeyResponse))
async def rotate_api_key(
    tenant_id: PartnerTenant,
    request: Annotated[Message, body_of(pb.RotateApiKeyRequest, _ROTATE)],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Make a new API key in place of one that stays good for a while."""
    return answer(await caller.about(tenant_id).call(data.partners.RotateApiKey, request), 201)


@router.get("", response_model=model_of(pb.ListApiKeysResponse))
async def list_api_keys(
    tenant_id: PartnerTenant, caller: CallerParam, data: Data, page: PageParam
) -> Response:
    """List what is kept of the API keys, the newest first."""
    request = pb.ListApiKeysRequest(**page)
    return answer(await caller.about(tenant_id).call(data.partners.ListApiKeys, request))


@router.delete("/{key_id}", status_code=204)
async def revoke_api_key(
    tenant_id: PartnerTenant,
    key_id: Annotated[str, Path(description="The key's id.", examples=["a-key-id"])],
    caller: CallerParam,
    data: Data,
) -> None:
    """End an API key at once."""
    await caller.about(tenant_id).call(data.partners.RevokeApiKey, pb.RevokeApiKeyRequest(key_id=key_id))
