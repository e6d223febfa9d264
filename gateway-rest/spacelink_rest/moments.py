"""Moments in requests: RFC 3339 texts, exact to the nanosecond."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from spacelink._times import nanos

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
