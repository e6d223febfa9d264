"""Contradictions are told where no call passes, and only there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import combinations, product
from typing import Any

import pytest

from spacelink._caveats import CallContext, Caveat, Success, contradictions, parse

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)

# Words of each kind, and calls of which each pattern of them lets some through.
NAMES = ("a", "a/*", "a/b", "a/b/*", "b")
SCOPES = ("x:read", "x:*", "*:read", "api:read", "y:write", "*:*")
NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "11.0.0.0/8", "::/0", "2001:db8::/32")
CALLS: dict[str, list[dict[str, Any]]] = {
    "device": [{"devices": (name,)} for name in ("a", "a/b", "a/c", "a/b/c", "b")],
    "network": [{"networks": (name,)} for name in ("a", "a/b", "a/c", "a/b/c", "b")],
    "scope": [{"scope": scope} for scope in ("x:read", "x:write", "y:read", "y:write", "z:z")],
    "ip": [
        {"peer": ip_address(address)} for address in ("10.0.0.1", "10.1.0.1", "10.1.2.3", "11.0.0.1", "::1")
    ],
}
CALLS["ip"].append({"peer": ip_address("2001:db8::1")})


def told(*caveats: Caveat, now: datetime = NOW) -> list[str]:
    return list(contradictions(caveats, now))


def passes(caveats: tuple[Caveat, ...], about: dict[str, Any]) -> bool:
    call = CallContext(**{"now": NOW, "tenant": "acme", "scope": "x:read", **about})
    return all(isinstance(caveat.check(call), Success) for caveat in caveats)


@pytest.mark.parametrize(
    ("key", "words"), [("device", NAMES), ("network", NAMES), ("scope", SCOPES), ("ip", NETWORKS)]
)
def test_lists_contradict_each_other_where_no_call_passes(key: str, words: tuple[str, ...]) -> None:
    lists = [*combinations(words, 1), *combinations(words, 2)]
    caveats = [parse(f"{key} = {' '.join(chosen)}".encode()) for chosen in lists]
    for chosen in (*product(caveats, repeat=2), *combinations(caveats, 3)):
        possible = any(passes(chosen, about) for about in CALLS[key])
        assert bool(told(*chosen)) != possible, list(map(str, chosen))


def test_nothing_contradicts_nothing() -> None:
    assert told() == []
    assert (
        told(*(parse(text) for text in (b"tenant = *", b"tenant = acme", b"label = a", b"label = b"))) == []
    )


def test_a_time_that_never_comes() -> None:
    start, end = parse(b"not_before = 2027-01-01T12:00:00Z"), parse(b"expires = 2027-01-01T11:59:30Z")
    assert told(end, start) == [f"contradictory: no time is in '{start}' and '{end}': every call is refused"]
    # With its leeway, not_before lets the second before noon through.
    assert told(start, parse(b"expires = 2027-01-01T11:59:31Z")) == []


def test_a_time_that_is_over() -> None:
    expires = parse(b"expires = 2026-01-31T12:00:00Z")
    assert told(expires, now=NOW - timedelta(seconds=1)) == []
    assert told(expires) == ["expired at 2026-01-31T12:00:00Z: every call is refused"]
    assert told(parse(b"expires = 2027-01-01T00:00:00Z"), expires) == told(expires)
