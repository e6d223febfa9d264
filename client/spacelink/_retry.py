"""When to try again, and after how long."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import grpc

from spacelink.errors import UntrustedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink.errors import SpaceLinkError

# UNAVAILABLE says that the call was not served. Everything else either will
# fail again or may have been done; a quota comes back only if the server says
# when.
RETRYABLE_CODES: frozenset[grpc.StatusCode] = frozenset({grpc.StatusCode.UNAVAILABLE})

# A restarted server accepts calls again after about a second, and half of it is
# soon enough to find that out with the second attempt.
_FIRST_DELAY = 0.5
# A fleet of 10,000 agents that all wait for a server makes 2,000 attempts a
# second with it, and is back within as many seconds.
_LONGEST_DELAY = 10.0
# The share by which the server's own delay is stretched: clients that were
# turned away together must not come back together.
_RETRY_INFO_SPREAD = 0.25


def is_retryable(error: SpaceLinkError) -> bool:
    """Tell whether the same call may succeed later."""
    if isinstance(error, UntrustedServerError):
        return False
    return error.code in RETRYABLE_CODES or error.retry_delay is not None


def retry_delay_from(error: SpaceLinkError) -> float | None:
    """Give the seconds the server asks to wait, a little stretched at random.

    None where it did not say; then the next of backoff_delays counts.
    """
    if error.retry_delay is None:
        return None
    return error.retry_delay * random.uniform(1, 1 + _RETRY_INFO_SPREAD)  # noqa: S311 - no secret


def backoff_delays(first: float = _FIRST_DELAY, longest: float = _LONGEST_DELAY) -> Iterator[float]:
    """Give the seconds to wait before each further attempt, without end.

    Exponential backoff with full jitter: each delay is uniform between 0 and a
    bound that doubles from first up to longest.
    """
    bound = first
    while True:
        yield random.uniform(0, bound)  # noqa: S311 - no secret
        bound = min(bound * 2, longest)
