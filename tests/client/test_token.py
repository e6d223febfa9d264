from __future__ import annotations

import base64
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pymacaroons
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink._caveats import Device, Expires, Label, Scope, Tenant
from spacelink._pymacaroons import mint
from spacelink.errors import InvalidTokenError
from spacelink.token import InvalidCaveat, Token, TokenIdentifier

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = b"a root key of thirty-two bytes.."
TOKEN_ID = "0123456789abcdef0123456789abcdef"
IDENTIFIER = TokenIdentifier("acme", 3, TOKEN_ID)
NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


def minted(*caveats: bytes, identifier: bytes = IDENTIFIER.encode()) -> Token:
    return Token.decode(mint(KEY, identifier, (b"tenant = acme", *caveats)))


def added(**caveats: Any) -> list[str]:
    """Give what attenuate adds, once the result has been verified."""
    parent = minted()
    child = parent.attenuate(**caveats)
    assert child.macaroon.verify(KEY)[:2] == parent.macaroon.verify(KEY)
    return [caveat.decode() for caveat in child.macaroon.caveats[1:]]


def test_text_round_trip() -> None:
    token = minted(b"label = a")
    text = str(token)
    assert text.startswith("slk_")
    assert Token.parse(text) == token
    assert Token.parse(text).macaroon.verify(KEY) == token.macaroon.verify(KEY)
    assert hash(Token.parse(text)) == hash(token)
    assert pickle.loads(pickle.dumps(token)) == token


# One byte more each, so that the texts end in every way that base64 has.
ENDINGS = [minted(b"label = " + b"a" * count) for count in (1, 2, 3)]


def last_character_raised(text: str) -> str:
    """Set a bit that base64 has behind the last byte."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t + "=" * (-(len(t) - 4) % 4 or 4), id="padding"),
        pytest.param(lambda t: t + "=", id="one ="),
        pytest.param(lambda t: t + "\n", id="line end"),
        pytest.param(lambda t: " " + t, id="blank before"),
        pytest.param(lambda t: t[:10] + " " + t[10:], id="blank inside"),
        pytest.param(lambda t: t[:10] + "." + t[10:], id="junk inside"),
        pytest.param(lambda t: t[:10] + "é" + t[10:], id="not ASCII"),
        pytest.param(lambda t: t[:10] + "\x00" + t[10:], id="NUL"),
        pytest.param(lambda t: t + "A", id="one character more"),
        pytest.param(lambda t: t + "AAAA", id="three bytes more"),
        pytest.param(lambda t: t[:-1], id="one character less"),
        pytest.param(lambda t: t[4:], id="no prefix"),
        pytest.param(lambda t: "SLK_" + t[4:], id="prefix in capitals"),
        pytest.param(lambda t: "slk_" + t, id="prefix twice"),
        pytest.param(lambda t: "", id="nothing"),
        pytest.param(lambda t: "slk_", id="prefix only"),
        pytest.param(lambda t: f"Bearer {t}", id="header"),
    ],
)
@pytest.mark.parametrize("token", ENDINGS)
def test_only_the_exact_text_is_read(token: Token, change: Callable[[str], str]) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        Token.parse(change(str(token)))
    assert str(token)[4:] not in str(caught.value)


def test_bits_behind_the_last_byte_are_refused() -> None:
    loose = [token for token in ENDINGS if len(token.data) % 3]
    assert len(loose) == 2
    for token in loose:
        with pytest.raises(InvalidTokenError, match="only valid form"):
            Token.parse(last_character_raised(str(token)))


def test_standard_base64_is_refused() -> None:
    token = next(t for t in map(minted_with_label, range(1000)) if "-" in str(t) and "_" in str(t)[4:])
    for old, new in (("-", "+"), ("_", "/")):
        with pytest.raises(InvalidTokenError, match=r"not base64url$"):
            Token.parse("slk_" + str(token)[4:].replace(old, new))


def minted_with_label(number: int) -> Token:
    return minted(b"label = %d" % number)


def test_length_is_checked_first() -> None:
    with pytest.raises(InvalidTokenError, match="100004 characters, at most 5466"):
        Token.parse("slk_" + "A" * 100_000)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_no_changed_text_is_authentic(data: st.DataObject) -> None:
    text = str(ENDINGS[0])
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(start + 4, len(text))))
    changed = text[:start] + data.draw(st.text(max_size=4)) + text[stop:]
    try:
        token = Token.parse(changed)
        token.macaroon.verify(KEY)
    except InvalidTokenError:
        return
    assert str(token) == changed
    # Nothing signs the location.
    assert token.macaroon.caveats == ENDINGS[0].macaroon.caveats
    assert token.macaroon.signature == ENDINGS[0].macaroon.signature


def test_repr_shows_no_secret() -> None:
    token = minted()
    for shown in (repr(token), repr(token.inspect()), repr([token])):
        assert str(token)[4:] not in shown
        assert token.macaroon.signature.hex() not in shown
        assert repr(token.macaroon.signature) not in shown
    assert TOKEN_ID in repr(token)


def test_identifier_round_trip() -> None:
    assert IDENTIFIER.encode() == f"v1 acme 3 {TOKEN_ID}".encode()
    assert TokenIdentifier.parse(IDENTIFIER.encode()) == IDENTIFIER
    operator = TokenIdentifier.new("*", 999_999_999)
    assert TokenIdentifier.parse(operator.encode()) == operator
    assert operator.token_id != TokenIdentifier.new("*", 1).token_id


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"acme",
        f"v2 acme 3 {TOKEN_ID}".encode(),
        f"v1 acme 3 {TOKEN_ID} ".encode(),
        f"v1  acme 3 {TOKEN_ID}".encode(),
        f"v1 acme 03 {TOKEN_ID}".encode(),
        f"v1 acme +3 {TOKEN_ID}".encode(),
        f"v1 acme 3_0 {TOKEN_ID}".encode(),
        f"v1 acme 0 {TOKEN_ID}".encode(),
        f"v1 acme 1000000000 {TOKEN_ID}".encode(),
        f"v1 acme 3 {TOKEN_ID.upper()}".encode(),
        f"v1 acme 3 {TOKEN_ID[:-1]}".encode(),
        f"v1 acme 3 {TOKEN_ID}0".encode(),
        f"v1 acme 3 {TOKEN_ID}\n".encode(),
        f"v1 ac*me 3 {TOKEN_ID}".encode(),
        f"v1  3 {TOKEN_ID}".encode(),
        f"v1 acmé 3 {TOKEN_ID}".encode(),
    ],
)
def test_other_identifiers_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidTokenError, match="identifier"):
        TokenIdentifier.parse(data)


def test_a_macaroon_of_somebody_else_is_not_a_token() -> None:
    data = mint(KEY, b"we used our secret key", [b"tenant = acme"])
    text = "slk_" + base64.urlsafe_b64encode(data).decode().rstrip("=")
    with pytest.raises(InvalidTokenError, match="identifier is not one of SpaceLink's"):
        Token.parse(text)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("ac me", 1, TOKEN_ID), "tenant 'ac me'"),
        (("acme", 0, TOKEN_ID), "key version 0"),
        (("acme", 10**9, TOKEN_ID), "key version 1000000000"),
        (("acme", 1, "xyz"), "token id 'xyz'"),
    ],
)
def test_identifiers_that_cannot_be_written(arguments: tuple[str, int, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TokenIdentifier(*arguments)


@pytest.mark.parametrize(
    ("arguments", "caveat"),
    [
        ({"tenant": "acme"}, "tenant = acme"),
        ({"scope": "telemetry:read"}, "scope = telemetry:read"),
        ({"scope": ["telemetry:*", "*:read"]}, "scope = telemetry:* *:read"),
        ({"scope": " telemetry:*  *:read "}, "scope = telemetry:* *:read"),
        ({"device": ("dev-1", "site-7/*")}, "device = dev-1 site-7/*"),
        ({"device": (name for name in ("a", "b"))}, "device = a b"),
        ({"network": "net_x"}, "network = net_x"),
        ({"expires": "2027-01-01T12:00:00Z"}, "expires = 2027-01-01T12:00:00Z"),
        ({"expires": "2027-01-01T12:00:00.999Z"}, "expires = 2027-01-01T12:00:00Z"),
        ({"expires": NOON}, "expires = 2027-01-01T12:00:00Z"),
        (
            {"expires": datetime(2027, 1, 1, 13, 30, tzinfo=timezone(timedelta(hours=1.5)))},
            "expires = 2027-01-01T12:00:00Z",
        ),
        ({"not_before": NOON.replace(microsecond=5)}, "not_before = 2027-01-01T12:00:00Z"),
        ({"ip": "10.0.0.0/8"}, "ip = 10.0.0.0/8"),
        ({"ip": ["192.0.2.7", "2001:DB8::/32"]}, "ip = 192.0.2.7/32 2001:db8::/32"),
        ({"rate_limit": "100/minute"}, "rate_limit = 100/minute"),
        ({"quota": "10000/day"}, "quota = 10000/day"),
        ({"label": "sensor-42"}, "label = sensor-42"),
    ],
)
def test_attenuate_adds_one_caveat(arguments: dict[str, Any], caveat: str) -> None:
    assert added(**arguments) == [caveat]


def test_attenuate_adds_a_caveat_for_each_argument_and_nothing_for_none() -> None:
    caveats = added(label="a", scope="telemetry:read", device=None, quota="1/day")
    assert sorted(caveats) == ["label = a", "quota = 1/day", "scope = telemetry:read"]


def test_a_label_makes_the_limits_of_siblings_their_own() -> None:
    parent = minted()
    siblings = [parent.attenuate(rate_limit="100/minute", quota="10/day", label=label) for label in "ab"]
    first, second = (set(sibling.macaroon.verify(KEY)) for sibling in siblings)
    assert first & second == set(parent.macaroon.verify(KEY))


def test_attenuate_counts_a_timedelta_from_now() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    token = minted().attenuate(expires=timedelta(hours=1))
    expires = token.inspect().expires
    assert expires is not None
    assert before <= expires - timedelta(hours=1) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tenant": "ac me"}, "tenant: 'ac me' is not a tenant"),
        ({"scope": "telemetry"}, "scope: 'telemetry' is not a scope"),
        ({"scope": []}, "scope: the list is empty"),
        ({"scope": ""}, "scope: the list is empty"),
        ({"scope": ["telemetry:read *:*"]}, "scope: 'telemetry:read .* has a blank in it"),
        ({"device": "*"}, "device: '\\*' is not a name"),
        ({"device": ["dev-1", "dev*"]}, "device: 'dev\\*' is not a name"),
        ({"device": ["dev-1", ""]}, "device: '' is empty"),
        ({"device": ["dev-1 *"]}, "device: 'dev-1 \\*' is empty or has a blank in it"),
        ({"device": ["dev-1\n"]}, "device: .* has a blank in it"),
        ({"device": ["d" * 129]}, "device: .* is not a name"),
        ({"device": [f"device-{n}" for n in range(100)]}, "device: .* at most 512 fit"),
        ({"network": "café"}, "network: 'café' is not a name"),
        ({"expires": "tomorrow"}, "expires: 'tomorrow' is not a time"),
        ({"expires": "2027-01-01T12:00:00"}, "expires: .* is not a time with its zone"),
        ({"expires": datetime(2027, 1, 1)}, "expires: .* is not a time with its zone"),
        ({"expires": timedelta.max}, "expires: "),
        ({"not_before": ""}, "not_before: '' is not a time"),
        ({"ip": "10.0.0.1/8"}, "ip: '10.0.0.1/8' is not a network"),
        ({"ip": "localhost"}, "ip: 'localhost' is not a network"),
        ({"ip": "::ffff:10.0.0.0/104"}, "ip: .* write it as IPv4"),
        ({"rate_limit": "100"}, "rate_limit: expected amount/unit"),
        ({"rate_limit": "0/minute"}, "rate_limit: expected amount/unit"),
        ({"rate_limit": "1/week"}, "rate_limit: expected amount/unit"),
        ({"quota": "-1/day"}, "quota: expected amount/unit"),
        ({"quota": "1000000000000001/day"}, "quota: expected amount/unit"),
        ({"label": "two words"}, "label: 'two words' is not a label"),
        ({}, "at least one of tenant, scope"),
    ],
)
def test_attenuate_names_what_is_wrong(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^(attenuate needs )?{problem}"):
        minted().attenuate(**arguments)


@pytest.mark.parametrize("arguments", [{"expires": 5}, {"device": [1]}, {"label": b"a"}])
def test_attenuate_names_an_argument_of_a_wrong_type(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{next(iter(arguments))}: .* is not a text"):
        minted().attenuate(**arguments)


def test_attenuate_leaves_its_parent_alone() -> None:
    parent = minted()
    text = str(parent)
    parent.attenuate(label="a")
    assert str(parent) == text
    assert len(parent.macaroon.caveats) == 1


def test_attenuate_stops_at_the_limits() -> None:
    full = minted(*[b"label = a"] * 63)
    with pytest.raises(ValueError, match="over the limits: token: more than 64 caveats"):
        full.attenuate(label="b")
    large = minted(*[b"label = " + b"a" * 120] * 28)
    with pytest.raises(ValueError, match=r"over the limits: token: .* at most 4096"):
        large.attenuate(device=[f"device-{n}" for n in range(40)])


def test_inspect() -> None:
    token = minted(b"label = partner").attenuate(expires=NOON, scope="*:read", label="site-7")
    token = token.attenuate(expires=NOON + timedelta(days=1), device=["site-7/*"])
    info = token.inspect()
    assert (info.tenant, info.key_version, info.token_id) == ("acme", 3, TOKEN_ID)
    assert info.expires == NOON
    assert info.labels == ("partner", "site-7")
    assert set(info.caveats) == {
        Tenant("acme"),
        Label("partner"),
        Scope(("*:read",)),
        Expires(NOON),
        Label("site-7"),
        Device(("site-7/*",)),
        Expires(NOON + timedelta(days=1)),
    }


def test_inspect_of_a_token_without_expiry_or_label() -> None:
    info = minted().inspect()
    assert info.expires is None
    assert info.labels == ()


def test_inspect_says_why_a_caveat_will_be_refused() -> None:
    caveats = minted(b"colour = red", b"expires = never", b"\xc3\xa9 = 1").inspect().caveats
    assert caveats[0] == Tenant("acme")
    problems = [caveat.problem for caveat in caveats if isinstance(caveat, InvalidCaveat)]
    assert [problem[:28] for problem in problems] == [
        "caveat: 'colour = red' is no",
        "caveat expires: 'never' is n",
        "caveat: not ASCII",
    ]


def test_what_pymacaroons_narrowed_is_a_token() -> None:
    parent = minted(b"label = ours")
    theirs = pymacaroons.Macaroon.deserialize(str(parent)[4:])
    theirs.add_first_party_caveat("label = theirs")
    child = Token.parse(f"slk_{theirs.serialize()}")
    assert child.inspect().labels == ("ours", "theirs")
    assert child.macaroon.verify(KEY)[:3] == parent.macaroon.verify(KEY)
    assert child == parent.attenuate(label="theirs")


def test_what_has_no_location_field_is_narrowed_too() -> None:
    parent = minted()
    assert parent.data[1:3] == b"\x01\x00"
    bare = Token.decode(parent.data[:1] + parent.data[3:])
    child = bare.attenuate(label="a")
    assert child.macaroon.verify(KEY)[:2] == parent.macaroon.verify(KEY)
