"""When a delivery that failed is tried again. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import email.utils
import math
import random
from datetime import UTC

_SECOND = 1_000_000_000

# A receiver that restarts is back before the first retry; one that is down for
# an evening costs it some twenty requests an event.
_FIRST_SECONDS = 5.0
_FACTOR = 2.0
_LONGEST_SECONDS = 2 * 3600.0

# A delivery is given up, and a webhook disabled, after so long without success.
DAY = 86_400 * _SECOND


def next_attempt(attempt_count: int, first_failure: int, now: int, retry_after: float | None) -> int | None:
    """Tell when to try again; None: not any more.

    The time between attempts doubles, less up to a half of it by chance, so that
    what failed together is not tried together. The last one is a day after the
    first failure.

    Args:
        attempt_count: how many attempts have failed, at least 1.
        first_failure: when the first one did.
        now: when the last one did.
        retry_after: seconds that the receiver asked to be left alone, or None.
    """
    last = first_failure + DAY
    if now >= last:
        return None
    # Beyond, the power would not even be a float.
    exponent = min(attempt_count - 1, math.ceil(math.log(_LONGEST_SECONDS / _FIRST_SECONDS, _FACTOR)))
    delay = min(_FIRST_SECONDS * _FACTOR**exponent, _LONGEST_SECONDS)
    delay *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return min(now + int(max(delay, retry_after or 0.0) * _SECOND), last)


def parse_retry_after(value: str | None, now: int) -> float | None:
    """Read a header Retry-After: RFC 9110, section 10.2.3.

    Returns:
        Seconds from now, a day at most; None where it says nothing.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        # Of many digits, even an int would be too much.
        return float(min(int(text[:9]), DAY // _SECOND))
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - now / _SECOND, 0.0), DAY / _SECOND)
