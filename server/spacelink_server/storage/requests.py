"""What became of mutating calls with a request_id, so that repeating one changes nothing."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import request_results


class RequestResult(NamedTuple):
    """What a call did.

    Attributes:
        method: the call, and a digest of all that it was called with.
        result: names what it made; nothing secret.
    """

    method: str
    result: dict[str, Any]


def get(connection: sa.Connection, tenant_id: str, request_id: str) -> RequestResult | None:
    """Read what a request_id stands for."""
    r = request_results.c
    query = sa.select(r.method, r.result).where(r.tenant_id == tenant_id, r.request_id == request_id)
    row = connection.execute(query).one_or_none()
    return RequestResult(row.method, json.loads(row.result)) if row else None


def insert(connection: sa.Connection, tenant_id: str, request_id: str, result: RequestResult) -> None:
    """Take a request_id."""
    row = (tenant_id, request_id, result.method, json.dumps(result.result), time.time_ns())
    connection.execute(sa.insert(request_results).values(row))
