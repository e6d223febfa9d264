"""What there is to find here, whether the bridge lives, and whether it can serve."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from grpc_health.v1 import health_pb2
from pydantic import BaseModel

from spacelink.errors import NotFoundError, UnavailableError
from spacelink_rest.caller import CallerParam
from spacelink_rest.upstream import Upstream

router = APIRouter(tags=["health"])

_SERVING = health_pb2.HealthCheckResponse.SERVING


class Health(BaseModel):
    """The answer of a bridge that is well."""

    status: Literal["ok"] = "ok"


# Not in the document: it is for those who have not found that yet.
@router.get("/", include_in_schema=False)
async def root() -> dict[str, str]:
    """Name what to look at first; paths are those behind a proxy that leaves them as they are."""
    return {
        "service": "SpaceLink",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/healthz",
        "readiness": "/readyz",
    }


@router.get("/healthz")
async def healthz() -> Health:
    """Tell that the bridge lives; says nothing of the server."""
    return Health()


@router.get("/readyz")
async def readyz(caller: CallerParam, server: Upstream) -> Health:
    """Tell whether the server behind the bridge can serve."""
    request = health_pb2.HealthCheckRequest(service=server.service)
    try:
        response = await caller.call(server.health.Check, request)
    except NotFoundError:
        raise UnavailableError(
            f"the server at this address has no {server.service}; it may be its other plane",
            reason="OTHER_PLANE",
        ) from None
    if response.status != _SERVING:
        raise UnavailableError("the server cannot serve now", reason="NOT_SERVING")
    return Health()
