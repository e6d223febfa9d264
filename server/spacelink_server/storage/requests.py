"""What became of calls with a request_id, so that repeating one changes nothing."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import request_results
from spacelink_server.storage.store import Submitted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_server.storage.store import Submission

_SUBMISSION = "SubmitTelemetryRequest"


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
    connection.execute(sa.insert(request_results).values(row(tenant_id, request_id, result)))


def row(tenant_id: str, request_id: str, result: RequestResult) -> tuple[str, str, str, str, int]:
    """Make the row that stands for a request_id."""
    return (tenant_id, request_id, result.method, json.dumps(result.result), time.time_ns())


def method_of(submission: Submission) -> str:
    """Give the method that a submission takes its request_id with."""
    return f"{_SUBMISSION} {submission.digest()}"


def repeated(method: str, taken: str) -> Submitted:
    """Tell what becomes of a submission whose request_id was taken, with some method."""
    # Before digests were kept there was the name alone.
    return Submitted.REPEATED if taken in {method, _SUBMISSION} else Submitted.CLASHED


def stored(submissions: Iterable[Submission], submitted: Iterable[Submitted]) -> Iterable[Submission]:
    """Pick those that are to be stored."""
    return itertools.compress(submissions, (each is Submitted.STORED for each in submitted))
