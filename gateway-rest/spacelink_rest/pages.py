"""Pages of samples: a stream is read up to a limit, and a cursor says where to go on."""

from __future__ import annotations

import base64
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from spacelink import _decode
from spacelink._times import timestamp
from spacelink.errors import FieldViolation, InvalidArgumentError
from spacelink.v1.telemetry_pb2 import QueryTelemetryRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from spacelink.columns import TelemetryColumns
    from spacelink_rest.caller import Caller
    from spacelink_rest.upstream import DataUpstream

# Beyond 64-bit integers.
_END = 2**63


class Position(NamedTuple):
    """Where the next page begins.

    Attributes:
        device_id: with this device.
        time_unix_nano: at this time.
        skipped: behind as many samples of this time.
    """

    device_id: str
    time_unix_nano: int
    skipped: int

    def cursor(self) -> str:
        """Write it for the caller."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Read what cursor wrote.

        Raises:
            InvalidArgumentError: it did not write this.
        """
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            device_id, nanos, skipped = json.loads(base64.b64decode(padded, b"-_", validate=True))
        except (ValueError, TypeError, RecursionError):
            raise _bad_cursor() from None
        numbers_fit = all(type(number) is int and 0 <= number < _END for number in (nanos, skipped))
        if not isinstance(device_id, str) or not numbers_fit:
            raise _bad_cursor()
        return cls(device_id, nanos, skipped)


def _bad_cursor() -> InvalidArgumentError:
    violation = FieldViolation("cursor", "expected the next_cursor of the answer before")
    return InvalidArgumentError(
        f"{violation.field}: {violation.description}", reason="INVALID_ARGUMENT", field_violations=[violation]
    )


async def scan(
    caller: Caller, data: DataUpstream, query: QueryTelemetryRequest, position: Position | None
) -> AsyncGenerator[TelemetryColumns]:
    """Read samples, from a position on where there is one.

    Raises:
        SpaceLinkError: as the server answered.
    """
    if position is not None:
        rest = position.skipped
        async for samples in _read(caller, data, _at(query, position)):
            yield samples.take(slice(rest, None))
            rest = max(0, rest - len(samples))
        query.after_device_id = position.device_id
    async for samples in _read(caller, data, query):
        yield samples


def _at(query: QueryTelemetryRequest, position: Position) -> QueryTelemetryRequest:
    """Ask for what is left of the position's own device."""
    own = QueryTelemetryRequest()
    own.CopyFrom(query)
    own.device_ids[:] = [position.device_id]
    own.start_time.CopyFrom(timestamp(position.time_unix_nano))
    return own


async def _read(
    caller: Caller, data: DataUpstream, query: QueryTelemetryRequest
) -> AsyncGenerator[TelemetryColumns]:
    async with aclosing(caller.stream(data.query, query)) as messages:
        async for message in messages:
            yield _decode.query_response(message)


async def truncated(
    samples: AsyncGenerator[TelemetryColumns], limit: int | None
) -> AsyncGenerator[TelemetryColumns]:
    """Give samples up to a limit; the rest is not read."""
    async with aclosing(samples):
        async for part in samples:
            if limit is not None and len(part) >= limit:
                yield part.take(slice(limit))
                return
            yield part
            if limit is not None:
                limit -= len(part)


async def read_page(
    samples: AsyncGenerator[TelemetryColumns], limit: int, start: Position | None
) -> tuple[list[TelemetryColumns], Position | None]:
    """Read a page.

    Args:
        samples: what scan gives.
        limit: the most samples in the page.
        start: where scan began.

    Returns:
        The samples, and where the next page begins; None on the last one.
    """
    # One more than wanted, to see whether there is another page.
    parts = [part async for part in truncated(samples, limit + 1) if len(part)]
    if sum(map(len, parts)) <= limit:
        return parts, None
    parts[-1] = parts[-1].take(slice(-1))
    page = [part for part in parts if len(part)]
    return page, _behind(page, start)


def _behind(page: list[TelemetryColumns], start: Position | None) -> Position:
    device_id = page[-1].device_id
    times = np.concatenate([part.time_unix_nano for part in page if part.device_id == device_id])
    last = int(times[-1])
    given = int(np.count_nonzero(times == last))
    if start is not None and (start.device_id, start.time_unix_nano) == (device_id, last):
        given += start.skipped
    return Position(device_id, last, given)
