"""Logging in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Form
from pydantic import BaseModel, Field

from spacelink.v1.session_pb2 import CreateSessionRequest
from spacelink_rest.caller import CallerParam
from spacelink_rest.messages import to_json
from spacelink_rest.upstream import Data

router = APIRouter(prefix="/v1/auth", tags=["sessions"])


class AccessToken(BaseModel):
    """A session's token (RFC 6749, section 5.1)."""

    access_token: str = Field(description="Whoever has it has the session.")
    token_type: Literal["bearer"] = Field(default="bearer")
    expires_in: int = Field(description="Seconds it is good for.", examples=[1800])
    role: str = Field(description="What the user may do.", examples=["admin"])


@router.post("/token")
async def create_token(
    username: Annotated[str, Form(examples=["enterprise_admin"])],
    password: Annotated[str, Form(json_schema_extra={"format": "password"}, examples=["admin123"])],
    caller: CallerParam,
    data: Data,
    tenant_id: Annotated[str, Form(description="The user's tenant; the default tenant without it.")] = "",
    grant_type: Annotated[Literal["password"], Form()] = "password",
) -> AccessToken:
    """Give a short-lived token for a user name and a password (OAuth 2 password grant)."""
    request = CreateSessionRequest(user_name=username, password=password, tenant_id=tenant_id)
    response = await caller.call(data.sessions.CreateSession, request)
    left = response.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    return AccessToken(
        access_token=response.token,
        expires_in=max(0, int(left.total_seconds())),
        role=to_json(response)["role"],
    )
