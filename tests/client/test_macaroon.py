from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pymacaroons
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink._pymacaroons import attenuate, mint
from spacelink.errors import InvalidTokenError
from spacelink.macaroon import MAX_CAVEATS, MAX_FIELD, MAX_SIZE, Macaroon, decode

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = b"a root key of thirty-two bytes.."
BANK_KEY = b"this is our super secret key; only we should know it"
LONG_CAVEAT = b"x" * 200
CAVEATS = (b"tenant = acme", b"scope = telemetry:write", b"device = dev-1", LONG_CAVEAT)
# What the binary form itself looks like: a caveat, an end, a header of a signature; and a packet of V1.
FRAMING = (
    b"\x00\x02\x01x\x00\x00\x06\x20" + b"s" * 32,
    b"\x02\x05x = y\x00",
    b"\x06\x20",
    b"0011cid x = y\n",
)


def varint(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7))


def field(kind: int, data: bytes) -> bytes:
    return bytes((kind,)) + varint(len(data)) + data


def encode(
    identifier: bytes, caveats: tuple[bytes, ...], signature: bytes, location: str | None = None
) -> bytes:
    head = b"\x02" + (b"" if location is None else field(1, location.encode()))
    sections = b"".join(field(2, data) + b"\x00" for data in (identifier, *caveats))
    return head + sections + b"\x00" + field(6, signature)


def sign(key: bytes, identifier: bytes, caveats: tuple[bytes, ...]) -> bytes:
    signature = hmac.new(b"macaroons-key-generator", key, hashlib.sha256).digest()
    for part in (identifier, *caveats):
        signature = hmac.new(signature, part, hashlib.sha256).digest()
    return signature


def signed(caveats: tuple[bytes, ...] = CAVEATS, location: str | None = None) -> bytes:
    return encode(b"keyid", caveats, sign(KEY, b"keyid", caveats), location)


@pytest.mark.parametrize(
    ("key", "identifier", "caveats", "signature"),
    [
        (
            BANK_KEY,
            b"we used our secret key",
            (),
            "e3d9e02908526c4c0039ae15114115d97fdd68bf2ba379b342aaf0f617d0552f",
        ),
        (
            BANK_KEY,
            b"we used our secret key",
            (b"test = caveat",),
            "197bac7a044af33332865b9266e26d493bdd668a660e44d88ce1a998c23dbd67",
        ),
        (
            b"this is the key",
            b"keyid",
            (),
            "7cdee792511c5bc6f528485805dfe9b24e785e28e2a99301f9d711c609e38ef7",
        ),
        (
            b"this is the key",
            b"keyid",
            (b"account = 3735928559",),
            "f54807f6dc6edf88bf0f7306b3822562a362533dbf7339ba61765da4bd259d87",
        ),
    ],
)
def test_published_values(key: bytes, identifier: bytes, caveats: tuple[bytes, ...], signature: str) -> None:
    expected = bytes.fromhex(signature)
    data = encode(identifier, caveats, expected, "http://example.org/")
    macaroon = decode(data)
    assert macaroon == Macaroon("http://example.org/", identifier, caveats, expected)
    assert macaroon.verify(key)[-1] == expected
    assert decode(mint(key, identifier, caveats)).signature == expected


def test_prefix_signatures_are_those_of_the_ancestors() -> None:
    ancestors = [sign(KEY, b"keyid", CAVEATS[:count]) for count in range(len(CAVEATS) + 1)]
    assert decode(signed()).verify(KEY) == tuple(ancestors)


def test_another_key_does_not_verify() -> None:
    with pytest.raises(InvalidTokenError, match="signature does not match"):
        decode(signed()).verify(KEY[::-1])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: (*c, b"scope = *:*"), id="added"),
        pytest.param(lambda c: (b"label = a", *c), id="inserted first"),
        pytest.param(lambda c: (*c[:2], b"label = a", *c[2:]), id="inserted"),
        pytest.param(lambda c: c[:-1], id="last dropped"),
        pytest.param(lambda c: c[1:], id="first dropped"),
        pytest.param(lambda c: (c[0], *c[2:]), id="middle dropped"),
        pytest.param(lambda c: (), id="all dropped"),
        pytest.param(lambda c: (c[1], c[0], *c[2:]), id="swapped"),
        pytest.param(lambda c: (c[0] + c[1], *c[2:]), id="joined"),
        pytest.param(lambda c: (c[0][:5], c[0][5:], *c[1:]), id="split"),
        pytest.param(lambda c: (c[0], *c), id="first repeated"),
        pytest.param(lambda c: (*c, c[-1]), id="last repeated"),
        pytest.param(lambda c: (c[0] + b" ", *c[1:]), id="lengthened"),
    ],
)
def test_changed_caveats_do_not_verify(
    change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]],
) -> None:
    macaroon = decode(encode(b"keyid", change(CAVEATS), sign(KEY, b"keyid", CAVEATS)))
    assert macaroon.caveats == change(CAVEATS)
    with pytest.raises(InvalidTokenError, match="signature does not match"):
        macaroon.verify(KEY)


@pytest.mark.parametrize("first", [b"keyid", b"tenant = acme"])
def test_identifier_and_caveats_are_not_interchangeable(first: bytes) -> None:
    moved = decode(encode(first, CAVEATS[1:], sign(KEY, b"keyid", CAVEATS)))
    with pytest.raises(InvalidTokenError, match="signature does not match"):
        moved.verify(KEY)


@pytest.mark.parametrize("caveat", FRAMING)
def test_framing_inside_a_caveat_is_data(caveat: bytes) -> None:
    macaroon = decode(signed((b"tenant = acme", caveat)))
    assert macaroon.caveats == (b"tenant = acme", caveat)
    assert len(macaroon.verify(KEY)) == 3


def test_an_unsigned_section_after_the_last_is_refused() -> None:
    data = signed()
    # pymacaroons reads up to the first signature and lets the rest pass.
    with pytest.raises(InvalidTokenError, match="follow the signature"):
        decode(data + field(2, b"x = y") + b"\x00\x00" + field(6, b"s" * 32))


HEAD = b"\x02" + field(2, b"keyid") + b"\x00"
TAIL = b"\x00" + field(6, b"s" * 32)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "version 2", id="nothing"),
        pytest.param(b"\x01" + (HEAD + TAIL)[1:], "version 2", id="version 1"),
        pytest.param(b"\x03" + (HEAD + TAIL)[1:], "version 2", id="version 3"),
        pytest.param(b"\x82\x00" + (HEAD + TAIL)[1:], "version 2", id="version not minimal"),
        pytest.param(b"0015identifier keyid\n", "version 2", id="V1 packets"),
        pytest.param(b'{"v":2,"i":"keyid"}', "version 2", id="JSON"),
        pytest.param(HEAD + TAIL + b"\x00", "follow the signature", id="a byte after the signature"),
        pytest.param((HEAD + TAIL) * 2, "follow the signature", id="two macaroons"),
        pytest.param(HEAD + b"\x00" + field(6, b"s" * 31), "31 bytes, expected 32", id="short signature"),
        pytest.param(HEAD + b"\x00" + field(6, b"s" * 33), "33 bytes, expected 32", id="long signature"),
        pytest.param(HEAD + b"\x00\x06\x00", "0 bytes, expected 32", id="empty signature"),
        pytest.param(HEAD + b"\x00", "too early", id="no signature"),
        pytest.param(HEAD, "too early", id="no end of the caveats"),
        pytest.param(HEAD[:-1], "too early", id="no end of the header"),
        pytest.param(HEAD + field(6, b"s" * 32), "type 6, expected 2", id="signature among the caveats"),
        pytest.param(b"\x02\x00" + TAIL, "type 0, expected 2", id="no identifier"),
        pytest.param(b"\x02\x02\x00\x00" + TAIL, "is empty", id="empty identifier"),
        pytest.param(HEAD + b"\x02\x00\x00" + TAIL, "is empty", id="empty caveat"),
        pytest.param(
            b"\x02" + field(2, b"keyid") + field(1, b"here") + b"\x00" + TAIL,
            "a field follows",
            id="location after the identifier",
        ),
        pytest.param(
            b"\x02" + field(1, b"a") * 2 + HEAD[1:] + TAIL, "type 1, expected 2", id="two locations"
        ),
        pytest.param(b"\x02" + field(2, b"a") + HEAD[1:] + TAIL, "a field follows", id="two identifiers"),
        pytest.param(b"\x02" + field(1, b"\xff") + HEAD[1:] + TAIL, "not UTF-8", id="location not UTF-8"),
        pytest.param(
            HEAD + field(2, b"a") + field(2, b"b") + b"\x00" + TAIL, "a field follows", id="two in one caveat"
        ),
        pytest.param(
            HEAD + field(2, b"a") + field(4, b"v" * 48) + b"\x00" + TAIL,
            "third-party",
            id="third-party caveat",
        ),
        pytest.param(
            HEAD + field(1, b"there") + field(2, b"a") + field(4, b"v" * 48) + b"\x00" + TAIL,
            "type 1, expected 2",
            id="third-party caveat with location",
        ),
        pytest.param(
            HEAD + field(2, b"a") + field(7, b"b") + b"\x00" + TAIL, "a field follows", id="unknown field"
        ),
        pytest.param(HEAD + b"\x00" + field(6, b"s" * 32) * 2, "follow the signature", id="two signatures"),
        pytest.param(HEAD + b"\x02\x83\x00abc\x00" + TAIL, "shortest form", id="length not minimal"),
        pytest.param(
            HEAD + b"\x00\x06\xa0\x00" + b"s" * 32, "shortest form", id="signature length not minimal"
        ),
        pytest.param(HEAD + b"\x02\x83\x80\x00abc\x00" + TAIL, "more than 512", id="length of three bytes"),
        pytest.param(HEAD + b"\x82\x00\x03abc\x00" + TAIL, "type 130, expected 2", id="type not minimal"),
        pytest.param(HEAD + b"\x02" + b"\xff" * 9 + b"\x01", "more than 512", id="length of 64 bits"),
        pytest.param(HEAD + b"\x02\x05abc", "too early", id="caveat cut off"),
        pytest.param(HEAD + TAIL[:-1], "too early", id="signature cut off"),
        pytest.param(HEAD + b"\x02\x80", "too early", id="length cut off"),
        pytest.param(HEAD + b"\x02", "too early", id="cut off behind a type"),
    ],
)
def test_malformed(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidTokenError, match=problem):
        decode(data)


def test_every_truncation_is_refused() -> None:
    data = signed(location="http://example.org/")
    for length in range(len(data)):
        with pytest.raises(InvalidTokenError):
            decode(data[:length])


def test_limits_are_inclusive() -> None:
    assert len(decode(signed((b"x",) * MAX_CAVEATS)).caveats) == MAX_CAVEATS
    assert decode(signed((b"x" * MAX_FIELD,))).caveats == (b"x" * MAX_FIELD,)
    assert decode(encode(b"i" * MAX_FIELD, (), b"s" * 32)).identifier == b"i" * MAX_FIELD
    most = (*(b"x" * 500,) * 7, b"x" * 100)
    frame = len(b"\x02\xff\x03\x00")
    largest = signed((*most, b"x" * (MAX_SIZE - len(signed(most)) - frame)))
    assert len(largest) == MAX_SIZE
    assert len(decode(largest).verify(KEY)) == 10


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(signed((b"x",) * (MAX_CAVEATS + 1)), "more than 64 caveats", id="caveats"),
        pytest.param(signed((b"x" * (MAX_FIELD + 1),)), "more than 512 bytes", id="caveat"),
        pytest.param(encode(b"i" * (MAX_FIELD + 1), (), b"s" * 32), "more than 512 bytes", id="identifier"),
        pytest.param(signed(location="x" * (MAX_FIELD + 1)), "more than 512 bytes", id="location"),
        pytest.param(signed((b"x" * 400,) * 11), "4488 bytes, at most 4096", id="size"),
        pytest.param(b"\x00" * (MAX_SIZE + 1), "4097 bytes, at most 4096", id="size comes first"),
    ],
)
def test_limits(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidTokenError, match=problem):
        decode(data)


def test_no_message_and_no_repr_shows_the_signature() -> None:
    macaroon = decode(signed())
    assert str(macaroon.signature) not in repr(macaroon)
    assert macaroon.signature.hex() not in repr(macaroon)
    with pytest.raises(InvalidTokenError) as caught:
        macaroon.verify(b"another")
    assert macaroon.signature.hex() not in str(caught.value)


@pytest.mark.parametrize("location", ["", "http://example.org/"])
def test_pymacaroons_mints_and_narrows_what_is_accepted(location: str) -> None:
    theirs = pymacaroons.Macaroon(location=location, identifier=b"keyid", key=KEY, version=2)
    for caveat in CAVEATS[:2]:
        theirs.add_first_party_caveat(caveat)
    serializer = pymacaroons.serializers.BinarySerializer()
    middle = serializer.serialize_raw(theirs)
    ours = decode(attenuate(middle, CAVEATS[2:]))
    assert ours == Macaroon(location, b"keyid", CAVEATS, sign(KEY, b"keyid", CAVEATS))
    assert len(ours.verify(KEY)) == len(CAVEATS) + 1


FIELDS = st.binary(min_size=1, max_size=200)


@settings(deadline=None)
@given(
    key=st.binary(min_size=1, max_size=80),
    identifier=FIELDS,
    caveats=st.lists(FIELDS, max_size=8).map(tuple),
    location=st.none() | st.text(max_size=40),
)
def test_what_is_signed_is_decoded_and_verified(
    key: bytes, identifier: bytes, caveats: tuple[bytes, ...], location: str | None
) -> None:
    signature = sign(key, identifier, caveats)
    macaroon = decode(encode(identifier, caveats, signature, location))
    assert macaroon == Macaroon(location or "", identifier, caveats, signature)
    prefixes = macaroon.verify(key)
    assert prefixes == tuple(sign(key, identifier, caveats[:count]) for count in range(len(caveats) + 1))


@settings(deadline=None, max_examples=500)
@given(data=st.data())
def test_no_change_is_accepted(data: st.DataObject) -> None:
    original = signed()
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, len(original)))
    changed = original[:start] + data.draw(st.binary(max_size=8)) + original[stop:]
    try:
        macaroon = decode(changed)
        macaroon.verify(KEY)
    except InvalidTokenError:
        return
    # Nothing signs the location; all else must be what was signed.
    assert encode(macaroon.identifier, macaroon.caveats, macaroon.signature) == original


BYTES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.tuples(st.integers(0, 8), st.binary(max_size=20)), max_size=8).map(
        lambda fields: (
            b"\x02" + b"".join(b"\x00" if kind == 0 else field(kind, data) for kind, data in fields)
        )
    ),
    st.lists(FIELDS, min_size=1, max_size=4).map(lambda parts: encode(parts[0], tuple(parts[1:]), b"s" * 32)),
)


@settings(deadline=None, max_examples=500)
@given(BYTES)
def test_whatever_decodes_is_the_only_encoding(data: bytes) -> None:
    try:
        macaroon = decode(data)
    except InvalidTokenError:
        return
    location = macaroon.location if data[1] == 1 else None
    assert encode(macaroon.identifier, macaroon.caveats, macaroon.signature, location) == data
