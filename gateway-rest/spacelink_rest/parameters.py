"""Parameters that several routes take."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, TypeAlias

from fastapi import Depends, Header, Path, Query

from spacelink._flat_samples import contract_name
from spacelink._times import timestamp
from spacelink_rest.moments import Moment

# What the server gives in one page at most.
_MAX_PAGE = 1000

_HOUR = 3600 * 1_000_000_000

DeviceIds: TypeAlias = Annotated[
    list[str] | None,
    Query(alias="device_id", description="A device; may be repeated. All devices where it is absent."),
]
Metrics: TypeAlias = Annotated[
    list[str] | None,
    Query(alias="metric", description="A metric, or status; may be repeated. All where it is absent."),
]
Start: TypeAlias = Annotated[Moment | None, Query(description="The range's first moment, inclusive.")]
End: TypeAlias = Annotated[Moment | None, Query(description="The range's end, exclusive.")]
Cursor: TypeAlias = Annotated[str, Query(description="Where to go on: next_cursor of the answer before.")]
TenantId: TypeAlias = Annotated[
    str, Query(description="The tenant, for tokens that are good for several; the token's own without it.")
]
PartnerTenant: TypeAlias = Annotated[str, Path(description="The partner's tenant.", examples=["default"])]
IdempotencyKey: TypeAlias = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="Makes the request safe to repeat: requests with the same key are served once. "
        "1 to 128 characters out of letters, digits and . _ : / @ + -",
    ),
]


@dataclass(frozen=True, slots=True)
class Range:
    """A half-open range of time, in nanoseconds since 1970; None: without bound, or as the route says."""

    start: int | None
    end: int | None

    def fields(self) -> dict[str, Any]:
        """Give the fields start_time and end_time of a request."""
        limits = {"start_time": self.start, "end_time": self.end}
        return {name: timestamp(moment) for name, moment in limits.items() if moment is not None}

    def of_length(self, hours: float) -> Self:
        """Let it begin so many hours before its end, or before now."""
        end = time.time_ns() if self.end is None else self.end
        return replace(self, start=end - int(hours * _HOUR))


def _range(start: Start = None, end: End = None) -> Range:
    return Range(start, end)


RangeParam: TypeAlias = Annotated[Range, Depends(_range)]


def _page(
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE, description="The most entries in the answer.")] = 100,
    cursor: Cursor = "",
) -> dict[str, Any]:
    return {"page_size": limit, "page_token": cursor}


# The fields page_size and page_token of a request.
PageParam: TypeAlias = Annotated[dict[str, Any], Depends(_page)]


def contract_names(metrics: list[str] | None) -> list[str]:
    """Give the names that metrics have in the contract."""
    return [contract_name(metric) for metric in metrics or ()]


def derived_key(key: str, part: str) -> str:
    """Make the key of a part of a request."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key} {part}"))
