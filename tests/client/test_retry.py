from __future__ import annotations

from itertools import islice

import pytest

from spacelink._retry import backoff_delays, is_retryable, retry_delay_from
from spacelink.errors import PermissionDeniedError, ResourceExhaustedError, SpaceLinkError, UnavailableError


def test_delays_grow_up_to_a_bound_and_are_jittered() -> None:
    runs = [list(islice(backoff_delays(first=1.0, longest=8.0), 6)) for _ in range(300)]
    for bound, *delays in zip([1, 2, 4, 8, 8, 8], *runs, strict=True):
        assert 0 <= min(delays) < 0.2 * bound
        assert 0.8 * bound < max(delays) <= bound


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (UnavailableError("down"), True),
        (ResourceExhaustedError("quota", retry_delay=3.0), True),
        (ResourceExhaustedError("message too large"), False),
        (PermissionDeniedError("no"), False),
    ],
)
def test_what_may_pass_is_retryable(error: SpaceLinkError, retryable: bool) -> None:
    assert is_retryable(error) is retryable


def test_delay_of_the_server_is_stretched_never_shortened() -> None:
    delays = [retry_delay_from(UnavailableError("down", retry_delay=2.0)) for _ in range(300)]
    assert all(delay is not None and 2.0 <= delay <= 2.5 for delay in delays)
    assert len(set(delays)) > 1


def test_no_delay_of_the_server() -> None:
    assert retry_delay_from(UnavailableError("down")) is None
