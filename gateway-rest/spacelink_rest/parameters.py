"""Parameters that several routes take."""

from __future__ import annotations

import uuid
from typing import Annotated, TypeAlias

from fastapi import Header, Query

from spacelink_rest.moments import Moment
from spacelink_rest.samples import contract_name

# What the server gives in one page at most.
_MAX_PAGE = 1000

DeviceIds: TypeAlias = Annotated[
    list[str] | None,
    Query(alias="device_id", description="A device; may be repeated. All devices where it is absent."),
]
Metrics: TypeAlias = Annotated[
    list[str] | None,
    Query(alias="metric", description="A metric, or status; may be repeated. All where it is absent."),
]
Start: TypeAlias = Annotated[
    Moment | None, Query(description="First moment, inclusive; the beginning where it is absent.")
]
End: TypeAlias = Annotated[
    Moment | None, Query(description="Last moment, exclusive; no end where it is absent.")
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=_MAX_PAGE, description="The most entries in the answer.")]
Cursor: TypeAlias = Annotated[str, Query(description="Where to go on: next_cursor of the answer before.")]
TenantId: TypeAlias = Annotated[
    str, Query(description="The tenant, for tokens that are good for several; the token's own without it.")
]
IdempotencyKey: TypeAlias = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="Makes the request safe to repeat: requests with the same key are served once. "
        "1 to 128 characters out of letters, digits and . _ : / @ + -",
    ),
]


def contract_names(metrics: list[str] | None) -> list[str]:
    """Give the names that metrics have in the contract."""
    return [contract_name(metric) for metric in metrics or ()]


def derived_key(key: str, part: str) -> str:
    """Make the key of a part of a request; parts of a request without a key have none."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key} {part}")) if key else ""
