"""The two applications: data and admin."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from spacelink_rest import problems
from spacelink_rest.documentation import document
from spacelink_rest.middleware import REQUEST_ID, BodyLimit
from spacelink_rest.routes import (
    api_keys,
    audit,
    governance,
    health,
    networks,
    partners,
    sessions,
    telemetry_read,
    telemetry_summary,
    telemetry_watch,
    telemetry_write,
    tokens,
    webhooks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter, FastAPI

    from spacelink_rest.upstream import AdminUpstream, DataUpstream

_DATA = (
    sessions.router,
    telemetry_write.router,
    telemetry_read.router,
    telemetry_summary.router,
    telemetry_watch.router,
    networks.router,
    partners.registration,
    partners.router,
    api_keys.router,
    webhooks.router,
    health.router,
)
_ADMIN = (tokens.router, governance.router, audit.router, health.router)

_INTRODUCTION = """
Present a token as `Authorization: Bearer TOKEN` or an API key as `X-API-Key: KEY`, one of them. Errors are
problem details (RFC 9457); their `reason` is the same as in the gRPC interface. Every answer has an
`X-Request-Id`, the request's own where it has one.
"""

# What a page of another origin may send and see, where its origin is allowed.
_METHODS = ("GET", "POST", "PUT", "DELETE")
_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-SpaceLink-Tenant", REQUEST_ID)
_SEEN_HEADERS = (REQUEST_ID, "Retry-After")


def data_application(
    upstream: DataUpstream, *, max_body_bytes: int, cors_origins: Sequence[str], stopping: asyncio.Event
) -> FastAPI:
    """Make the application of the data plane.

    Args:
        upstream: the server.
        max_body_bytes: the most bytes that a body may have.
        cors_origins: origins whose pages may call; none by default.
        stopping: set when answers without end must end.
    """
    app = _application("SpaceLink", _DATA, max_body_bytes)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=_METHODS,
            allow_headers=_HEADERS,
            expose_headers=_SEEN_HEADERS,
        )
    app.state.upstream = upstream
    app.state.stopping = stopping
    return app


def admin_application(upstream: AdminUpstream, *, max_body_bytes: int) -> FastAPI:
    """Make the application of the admin plane; no page of another origin may call it."""
    app = _application("SpaceLink administration", _ADMIN, max_body_bytes)
    app.state.upstream = upstream
    return app


def _application(title: str, routers: Sequence[APIRouter], max_body_bytes: int) -> FastAPI:
    app = FastAPIOffline(
        title=title,
        version=version("spacelink"),
        description=_INTRODUCTION,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    for router in routers:
        app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    document(app)
    return app
