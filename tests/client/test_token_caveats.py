from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink._caveats import (
    ANY,
    KINDS,
    CallContext,
    Device,
    Expires,
    Failure,
    Ip,
    Label,
    NotBefore,
    Quota,
    RateLimit,
    Scope,
    Success,
    Tenant,
    parse,
)
from spacelink.errors import InvalidTokenError

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

VALID = [
    "tenant = acme",
    "tenant = *",
    "scope = telemetry:write telemetry:read",
    "scope = telemetry:* *:read api:read *:*",
    "device = dev-1 dev-2",
    "device = site-7/* site-8/rack/*",
    "network = net_x",
    "network = region/*",
    "expires = 2027-01-01T12:00:00Z",
    "not_before = 2027-01-01T12:00:00Z",
    "ip = 10.0.0.0/8 2001:db8::/32",
    "ip = 192.0.2.7/32 ::1/128 0.0.0.0/0 ::/0",
    "rate_limit = 100/minute",
    "rate_limit = 1/second",
    "quota = 10000/day",
    "quota = 1000000000000000/hour",
    "label = sensor-42",
]


def call(**about: Any) -> CallContext:
    return CallContext(**{"now": NOON, "tenant": "acme", "scope": "telemetry:read", **about})


@pytest.mark.parametrize("text", VALID)
def test_round_trip(text: str) -> None:
    caveat = parse(text.encode())
    assert str(caveat) == text
    assert caveat.encode() == text.encode()
    assert caveat == KINDS[caveat.key].from_text(caveat.value)


def test_every_kind_is_tried_here() -> None:
    assert {text.split()[0] for text in VALID} == set(KINDS)


def test_values() -> None:
    assert parse(b"rate_limit = 100/minute") == RateLimit(100, 60)
    assert parse(b"quota = 100/minute") == Quota(100, 60)
    assert parse(b"quota = 100/minute") != RateLimit(100, 60)
    assert [parse(f"quota = 1/{unit}".encode()) for unit in ("second", "hour", "day")] == [
        Quota(1, 1),
        Quota(1, 3600),
        Quota(1, 86400),
    ]
    assert parse(b"expires = 2027-01-01T12:00:00Z") == Expires(NOON)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" = ",
        b"tenant",
        b"tenant=acme",
        b"tenant = ",
        b"tenant =acme",
        b"tenant= acme",
        b"tenant  = acme",
        b"tenant =  acme",
        b"tenant = acme ",
        b" tenant = acme",
        b"tenant = acme\n",
        b"tenant\t=\tacme",
        b"tenant = acme beta",
        b"tenant = acme = beta",
        b"tenant = ac*",
        b"tenant = \xc3\xa9",
        b"tenant = ac\x00me",
        b"Tenant = acme",
        b"TENANT = acme",
        b"colour = red",
        b"time < 2027-01-01T12:00:00Z",
        b"scope = ",
        b"scope = telemetry",
        b"scope = *",
        b"scope = telemetry:",
        b"scope = :read",
        b"scope = telemetry:read:all",
        b"scope = tele*:read",
        b"scope = Telemetry:read",
        b"scope = telemetry:read,telemetry:write",
        b"scope = telemetry:read  telemetry:write",
        b"scope = telemetry:read\ttelemetry:write",
        b"device = *",
        b"device = dev*",
        b"device = */dev",
        b"device = site-7/**",
        b"device = dev-1, dev-2",
        b"device = " + b"d" * 129,
        b"network = *",
        b"expires = 2027-01-01",
        b"expires = 2027-01-01T12:00:00",
        b"expires = 2027-01-01 12:00:00Z",
        b"expires = 2027-01-01t12:00:00z",
        b"expires = 2027-01-01T12:00Z",
        b"expires = 20270101T120000Z",
        b"expires = 2027-01-01T12:00:00.000Z",
        b"expires = 2027-01-01T12:00:00+00:00",
        b"expires = 2027-01-01T12:00:00+01:00",
        b"expires = 2027-01-01T24:00:00Z",
        b"expires = 2027-02-30T12:00:00Z",
        b"expires = 0001-01-01T00:00:00+23:59",
        b"expires = 1830297600",
        b"expires = 2027-W01-1T12:00:00Z",
        b"not_before = never",
        b"ip = 10.0.0.1",
        b"ip = 10.0.0.1/8",
        b"ip = 10.0.0.0/255.0.0.0",
        b"ip = 10.0.0.0/0.255.255.255",
        b"ip = 10.0.0.0/33",
        b"ip = 010.0.0.0/8",
        b"ip = 2001:DB8::/32",
        b"ip = 2001:0db8::/32",
        b"ip = ::ffff:10.0.0.0/104",
        b"ip = fe80::%eth0/64",
        b"ip = localhost",
        b"rate_limit = 100",
        b"rate_limit = 100/",
        b"rate_limit = /minute",
        b"rate_limit = 0/minute",
        b"rate_limit = -1/minute",
        b"rate_limit = +1/minute",
        b"rate_limit = 0100/minute",
        b"rate_limit = 1_000/minute",
        b"rate_limit = 1e3/minute",
        b"rate_limit = 1.5/minute",
        b"rate_limit = 100/minutes",
        b"rate_limit = 100/Minute",
        b"rate_limit = 100 / minute",
        b"rate_limit = 100/60",
        b"quota = 1000000000000001/day",
        b"quota = " + b"9" * 500 + b"/day",
        b"label = ",
        b"label = two words",
    ],
)
def test_everything_else_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidTokenError, match=r"^caveat"):
        parse(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"colour = red", "a key out of tenant, scope"),
        (b"device = *", "at the end, /\\* stands for all below"),
        (b"ip = 10.0.0.1", "must be written 'ip = 10.0.0.1/32'"),
        (b"expires = 2027-01-01T13:00:00+01:00", "must be written 'expires = 2027-01-01T12:00:00Z'"),
        (b"expires = soon", "such as 2027-01-01T12:00:00Z"),
        (b"quota = 5/week", "a unit out of second, minute, hour, day"),
        (b"scope = read", "such as telemetry:write"),
    ],
)
def test_a_refusal_says_what_would_be_right(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidTokenError, match=problem):
        parse(data)


@settings(deadline=None, max_examples=500)
@given(data=st.data())
def test_what_parses_is_its_only_text(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(VALID)).encode()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(start + 3, len(text))))
    changed = (
        text[:start] + data.draw(st.binary(max_size=4) | st.text(max_size=3).map(str.encode)) + text[stop:]
    )
    try:
        caveat = parse(changed)
    except InvalidTokenError:
        return
    assert caveat.encode() == changed


@pytest.mark.parametrize(
    ("caveat", "about"),
    [
        ("tenant = acme", {}),
        ("tenant = *", {"tenant": "beta"}),
        ("tenant = *", {"tenant": ANY}),
        ("scope = telemetry:read", {}),
        ("scope = networks:read telemetry:read", {}),
        ("scope = telemetry:*", {"scope": "telemetry:write"}),
        ("scope = *:read", {"scope": "networks:read"}),
        ("scope = api:read", {"scope": "networks:read"}),
        ("scope = *:*", {"scope": "tenants:admin"}),
        ("device = dev-1", {}),
        ("device = dev-1", {"devices": ["dev-1"]}),
        ("device = dev-1 dev-2", {"devices": ["dev-2", "dev-1"]}),
        ("device = site-7/*", {"devices": ["site-7/a", "site-7/rack/b"]}),
        ("device = dev-1 site-7/*", {"devices": ["site-7/a", "dev-1"]}),
        ("network = net_x", {"networks": ["net_x"]}),
        ("network = net_x", {"devices": [ANY]}),
        ("expires = 2027-01-01T12:00:01Z", {}),
        ("not_before = 2027-01-01T12:00:00Z", {}),
        ("not_before = 2027-01-01T12:00:30Z", {}),
        ("ip = 10.0.0.0/8", {"peer": ip_address("10.255.0.1")}),
        ("ip = 192.0.2.0/24 2001:db8::/32", {"peer": ip_address("2001:db8::7")}),
        ("ip = 10.0.0.0/8", {"peer": ip_address("::ffff:10.0.0.1")}),
        ("rate_limit = 1/day", {}),
        ("quota = 1/day", {}),
        ("label = anybody", {}),
    ],
)
def test_holds(caveat: str, about: dict[str, Any]) -> None:
    assert parse(caveat.encode()).check(call(**about)) == Success()


@pytest.mark.parametrize(
    ("caveat", "about", "reason"),
    [
        (
            "tenant = acme",
            {"tenant": "beta"},
            "the call is about tenant 'beta', but the token is for tenant 'acme' only",
        ),
        ("tenant = acme", {"tenant": "acme2"}, "tenant 'acme2'"),
        ("tenant = acme", {"tenant": ANY}, "the call is about all tenants, but"),
        ("scope = telemetry:write", {}, "scope 'telemetry:read' is not in 'telemetry:write'"),
        ("scope = networks:*", {}, "scope 'telemetry:read'"),
        ("scope = *:write", {}, "scope 'telemetry:read'"),
        ("scope = api:read", {"scope": "telemetry:write"}, "scope 'telemetry:write'"),
        ("scope = api:*", {}, "scope 'telemetry:read'"),
        ("device = dev-1", {"devices": ["dev-2"]}, "device 'dev-2' is not in 'dev-1'"),
        ("device = dev-1", {"devices": ["dev-1", "dev-2"]}, "device 'dev-2'"),
        ("device = dev-1", {"devices": ["dev-10"]}, "device 'dev-10'"),
        ("device = dev-1", {"devices": [ANY]}, "device '*'"),
        ("device = site-7/*", {"devices": [ANY]}, "device '*'"),
        ("device = site-7/*", {"devices": ["site-7"]}, "device 'site-7'"),
        ("device = site-7/*", {"devices": ["site-70/a"]}, "device 'site-70/a'"),
        ("network = net_x", {"networks": ["net_y"]}, "network 'net_y' is not in 'net_x'"),
        ("expires = 2027-01-01T12:00:00Z", {}, "expired at 2027-01-01T12:00:00Z"),
        ("expires = 2027-01-01T11:59:59Z", {}, "expired at"),
        ("not_before = 2027-01-01T12:00:31Z", {}, "not valid before 2027-01-01T12:00:31Z"),
        ("ip = 10.0.0.0/8", {"peer": ip_address("11.0.0.1")}, "address is not in '10.0.0.0/8'"),
        ("ip = 10.0.0.0/8", {"peer": ip_address("2001:db8::1")}, "address is not in"),
        ("ip = 0.0.0.0/0 ::/0", {}, "address is not in"),
    ],
)
def test_fails(caveat: str, about: dict[str, Any], reason: str) -> None:
    result = parse(caveat.encode()).check(call(**about))
    assert isinstance(result, Failure)
    assert reason in result.reason


def test_bounds_of_time_to_the_second() -> None:
    assert Expires(NOON).check(call(now=NOON - timedelta(microseconds=1))) == Success()
    assert isinstance(Expires(NOON).check(call(now=NOON)), Failure)
    early = NOON - timedelta(seconds=30)
    assert NotBefore(NOON).check(call(now=early)) == Success()
    assert isinstance(NotBefore(NOON).check(call(now=early - timedelta(microseconds=1))), Failure)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Tenant, ("",)),
        (Label, ("a b",)),
        (Scope, ((),)),
        (Scope, (("telemetry:read *:*",),)),
        (Device, (("dev-1", "*"),)),
        (Expires, (NOON.replace(tzinfo=None),)),
        (Expires, (NOON + timedelta(milliseconds=1),)),
        (Ip, ((),)),
        (RateLimit, (0, 60)),
        (Quota, (1, 61)),
    ],
)
def test_what_no_text_gives_cannot_be_made(kind: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected|empty|is not"):
        kind(*arguments)
