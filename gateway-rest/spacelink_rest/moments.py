"""Moments in requests: RFC 3339 texts, exact to the nanosecond."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from spacelink._times import nanos, timestamp

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]})


def _parse(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("expected RFC 3339 such as 2026-01-31T12:00:00Z")  # noqa: TRY004 - pydantic tells it
    return nanos(value)


def _check(text: str) -> str:
    nanos(text)
    return text


# In nanoseconds since 1970.
Moment: TypeAlias = Annotated[int, BeforeValidator(_parse), _SCHEMA]

# As it was written.
MomentText: TypeAlias = Annotated[str, AfterValidator(_check), _SCHEMA]


def time_range(start: int | None, end: int | None) -> dict[str, Timestamp]:
    """Give the fields start_time and end_time of a request; what is None is left out."""
    limits = {"start_time": start, "end_time": end}
    return {name: timestamp(moment) for name, moment in limits.items() if moment is not None}


def hours_before(end: int | None, hours: float) -> int:
    """Give the moment some hours before another one, or before now."""
    return (time.time_ns() if end is None else end) - int(hours * 3600e9)
