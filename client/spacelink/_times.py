"""Moments in all the forms a caller may have them, as integer nanoseconds since 1970.

No conversion goes through a float: nanoseconds come out as they went in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Moment: TypeAlias = datetime | np.datetime64 | int | str
Moments: TypeAlias = "ArrayLike | Sequence[Moment]"

TIME = np.dtype("<i8")

_NANOS = 1_000_000_000
_RULE = (
    "integer nanoseconds since 1970, datetime64, datetimes with a time zone "
    "or RFC 3339 texts such as 2026-01-31T12:00:00Z"
)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def nanos(moment: Moment) -> int:
    """Give a moment as nanoseconds since 1970-01-01T00:00:00Z.

    Raises:
        ValueError: the moment has no time zone, is not RFC 3339, or does not
            fit into 64 bits.
        TypeError: the moment is nothing of Moment's.
    """
    if isinstance(moment, datetime):
        value = _datetime_nanos(moment)
    elif isinstance(moment, str):
        value = _text_nanos(moment)
    elif isinstance(moment, np.datetime64):
        value = int(moment.astype("datetime64[ns]").astype(TIME))
    elif isinstance(moment, int | np.integer) and not isinstance(moment, bool):
        value = int(moment)
    else:
        raise TypeError(f"time {moment!r}: expected {_RULE}")
    if not -(2**63) < value < 2**63:
        raise ValueError(f"time {moment}: expected a year from 1678 to 2261")
    return value


def nanos_array(times: Moments) -> NDArray[np.int64]:
    """Give moments of one form as int64 nanoseconds of shape (n,).

    Raises:
        ValueError: the form is none of Moment's, or there is not one dimension.
    """
    values = times if isinstance(times, np.ndarray) else list(cast("Sequence[Any]", times))
    if len(values) and isinstance(values[0], datetime | str):
        return np.array([nanos(moment) for moment in values], TIME)
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"time: expected one dimension, got {array.ndim}")
    if array.dtype.kind == "M":
        return array.astype("datetime64[ns]").astype(TIME)
    if array.dtype.kind in "iu":
        return array.astype(TIME)
    if not len(array):
        return np.empty(0, TIME)
    raise ValueError(f"time: expected {_RULE}, got {array.dtype}")


def timestamp(moment: Moment) -> Timestamp:
    """Give a moment as a protobuf Timestamp."""
    seconds, rest = divmod(nanos(moment), _NANOS)
    return Timestamp(seconds=seconds, nanos=rest)


def from_timestamp(message: Timestamp) -> np.datetime64:
    """Give a protobuf Timestamp as datetime64[ns]."""
    return np.datetime64(message.seconds * _NANOS + message.nanos, "ns")


def rfc3339(times: NDArray[np.int64]) -> list[str]:
    """Write times with all nine digits, as in 2026-01-31T12:00:00.000000000Z."""
    texts: list[str] = np.datetime_as_string(times.view("datetime64[ns]"), unit="ns", timezone="UTC").tolist()
    return texts


def rfc3339_of(time_unix_nano: int) -> str:
    """Write one time so."""
    return rfc3339(np.array([time_unix_nano], TIME))[0]


def _datetime_nanos(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"time: {moment.isoformat()} has no time zone; use datetimes in UTC")
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * _NANOS + moment.microsecond * 1_000


def _text_nanos(text: str) -> int:
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"time {text!r}: expected RFC 3339 such as 2026-01-31T12:00:00Z")
    date, clock, fraction, zone = match.groups()
    try:
        whole = datetime.fromisoformat(f"{date}T{clock}{zone.upper()}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"time {text!r}: {error}") from None
    return _datetime_nanos(whole) + int((fraction or "0").ljust(9, "0"))
