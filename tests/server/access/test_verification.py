from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from spacelink._caveats import parse
from spacelink.macaroon import MAX_CAVEATS
from spacelink.token import PREFIX, Token, TokenIdentifier
from spacelink_server.access import verification
from spacelink_server.access.errors import RefusedError
from spacelink_server.access.limits import LimitKey
from spacelink_server.errors import RequestError, UnavailableError
from spacelink_server.storage import bans, tenants
from spacelink_server.storage.bans import Ban
from tests.server.access.mutations import macaroon_text, mutants, token_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.access.verification import VerifiedToken
    from tests.server.installation import Installation

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
HOUR = 3600
NANOS = 1_000_000_000


def sign(
    installation: Installation, *caveats: bytes | str, tenant: str = "default", version: int = 1
) -> Token:
    """Sign any caveats with a tenant's key, which minting would not."""
    root_key = installation.keys.root_key(tenant, version)
    assert root_key is not None
    sections = [TokenIdentifier.new(tenant, version).encode()]
    sections += [caveat.encode() if isinstance(caveat, str) else caveat for caveat in caveats]
    return Token.parse(macaroon_text(sections, chain(root_key, sections)[-1]))


def good(installation: Installation, *caveats: str) -> Token:
    return sign(installation, "tenant = default", *caveats)


def chain(root_key: bytes, sections: list[bytes]) -> list[bytes]:
    """Compute prefix signatures as the design describes them."""
    signature = hmac.new(b"macaroons-key-generator", root_key, hashlib.sha256).digest()
    found = []
    for section in sections:
        signature = hmac.new(signature, section, hashlib.sha256).digest()
        found.append(signature)
    return found


def signatures(installation: Installation, token: Token) -> list[bytes]:
    root_key = installation.keys.root_key(token.identifier.tenant, token.identifier.key_version)
    assert root_key is not None
    return chain(root_key, [token.macaroon.identifier, *token.macaroon.caveats])


def refused(verify: Callable[[str], VerifiedToken], text: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        verify(text)
    return caught.value


async def ban(installation: Installation, tenant_id: str = "default", **target: Any) -> str:
    """Ban, and give the ban's id."""
    ban_id = str(time.time_ns())
    made = Ban(tenant_id, ban_id, target.get("digest"), target.get("token_id"), None, "", "", 0)
    await installation.database.write(
        lambda connection: bans.insert(connection, made), installation.bans.refresh
    )
    return ban_id


async def unban(installation: Installation, ban_id: str, tenant_id: str = "default") -> None:
    await installation.database.write(
        lambda connection: bans.delete(connection, tenant_id, ban_id), installation.bans.refresh
    )


def later(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


async def test_what_a_token_is_good_for(installation: Installation) -> None:
    end = datetime(2100, 1, 1, tzinfo=UTC)
    token = good(
        installation,
        "expires = 2101-01-01T00:00:00Z",
        "rate_limit = 100/minute",
        "label = site-7",
        "expires = 2100-01-01T00:00:00Z",
        "quota = 10/day",
        "label = dish-1",
    )
    verified = installation.verifier.verify(str(token))
    digests = tuple(hashlib.sha256(s).digest() for s in signatures(installation, token))
    assert verified.identifier == token.identifier
    assert verified.caveats == tuple(map(parse, token.macaroon.caveats))
    assert verified.digests == digests
    assert verified.tenant == "default"
    assert verified.banned_by == ("*", "default")
    assert verified.expires == end.timestamp()
    assert verified.limits == (
        LimitKey("default", digests[3], 100, 60, "rate", "rate_limit = 100/minute"),
        LimitKey("default", digests[6], 10, 86400, "quota", "quota = 10/day"),
    )
    assert verified.labels == ("site-7", "dish-1")
    assert verified.actor == f"token:{token.identifier.token_id}/site-7/dish-1"


async def test_a_bare_tokens_bounds(installation: Installation) -> None:
    verified = installation.verifier.verify(str(good(installation)))
    assert (verified.expires, verified.limits, verified.labels) == (None, (), ())
    assert len(verified.digests) == 2


@pytest.mark.parametrize(
    ("caveats", "tenant", "banned_by"),
    [
        (("tenant = *",), "*", ("*",)),
        (("tenant = *", "tenant = *"), "*", ("*",)),
        (("tenant = *", "tenant = acme"), "acme", ("*", "acme")),
        (("tenant = *", "tenant = acme", "tenant = *", "tenant = acme"), "acme", ("*", "acme")),
    ],
)
async def test_operators_tokens(
    installation: Installation, caveats: tuple[str, ...], tenant: str, banned_by: tuple[str, ...]
) -> None:
    verified = installation.verifier.verify(str(sign(installation, *caveats, tenant="*")))
    assert (verified.tenant, verified.banned_by) == (tenant, banned_by)


async def test_what_is_not_authentic_is_refused_alike(installation: Installation) -> None:
    token = good(installation, "label = a")
    text, data = str(token), token.data
    other = sign(installation, "tenant = *", tenant="*")
    longest = "A" * (4 * 4096)
    forged = [
        "",
        "a",
        text[len(PREFIX) :],
        PREFIX,
        f"{PREFIX}!",
        f"{text}=",
        f"{text} ",
        text.replace(PREFIX, "SLK_"),
        PREFIX + longest,
        "é",
        "\ud800",
        token_text(data + b"\0"),
        token_text(data[:-1]),
        token_text(data[:-1] + bytes((data[-1] ^ 1,))),
        macaroon_text([token.macaroon.identifier, b"tenant = default"], b"k" * 32),
        token_text(data.replace(b" default 1 ", b" default 2 ")),
        token_text(data.replace(b"v1 default", b"v1 defaulu")),
        token_text(data.replace(b"v1 default", b"v2 default")),
        token_text(data[: -len(token.macaroon.signature)] + other.macaroon.signature),
        # Authentic but for its location, which nothing signs.
        token_text(data[:1] + b"\x01\x01x" + data[1:].removeprefix(b"\x01\0")),
    ]
    errors = [refused(installation.verifier.verify, each) for each in forged]
    assert {(error.code, error.reason, error.message) for error in errors} == {
        (UNAUTHENTICATED, "INVALID_TOKEN", "the credential is not valid")
    }
    assert {error.status() for error in errors} == {errors[0].status()}
    assert all(error.cause.startswith("token: ") for error in errors)
    installation.verifier.verify(text)


@pytest.mark.parametrize(
    ("caveats", "problem"),
    [
        ((), "its first caveat must be 'tenant = default'"),
        (("label = a", "tenant = default"), "its first caveat must be 'tenant = default'"),
        (("tenant = acme",), "its first caveat must be 'tenant = default'"),
        (("tenant = *",), "its first caveat must be 'tenant = default'"),
        (("tenant = default", "tenant = acme"), "its tenant caveats exclude each other"),
        (("tenant = default", "colour = red"), "'colour = red' is not 'key = value'"),
        (("tenant = default", "label=a"), "'label=a' is not 'key = value'"),
        (("tenant = default", "expires = tomorrow"), "caveat expires: 'tomorrow' is not a time"),
        (("tenant = default", "Scope = *:*"), "'Scope = \\*:\\*' is not 'key = value'"),
        (("tenant = default", "scope =  *:*"), "must be written"),
        (("tenant = default", "label = é"), "not ASCII"),
        (("tenant = default", b"\xff\x00"), "not ASCII"),
        (("tenant = default", "\x00\x02\x01x\x00\x00\x06\x20"), "is not 'key = value'"),
        (("tenant = default", f"label = {'a' * 129}"), "is not a label"),
    ],
)
async def test_caveats_that_no_call_can_satisfy(
    installation: Installation, caveats: tuple[str | bytes, ...], problem: str
) -> None:
    error = refused(installation.verifier.verify, str(sign(installation, *caveats)))
    assert (error.code, error.reason) == (UNAUTHENTICATED, "INVALID_TOKEN")
    with pytest.raises(RefusedError, match=problem):
        raise error
    assert len(error.message) < 500


async def test_a_token_of_an_unknown_tenant_with_a_known_key(installation: Installation) -> None:
    token = good(installation)
    moved = dataclasses.replace(token.identifier, tenant="acme").encode()
    root_key = installation.keys.root_key("default", 1)
    assert root_key is not None
    sections = [moved, b"tenant = acme"]
    error = refused(installation.verifier.verify, macaroon_text(sections, chain(root_key, sections)[-1]))
    assert (error.code, error.message) == (UNAUTHENTICATED, "the credential is not valid")


async def test_the_most_caveats(installation: Installation) -> None:
    token = good(installation, *["label = a"] * (MAX_CAVEATS - 1))
    assert len(installation.verifier.verify(str(token)).digests) == MAX_CAVEATS + 1


async def test_expiry_has_no_leeway(installation: Installation) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    token = good(installation, "expires = 2100-01-01T00:00:00Z", f"expires = {end:%Y-%m-%dT%H:%M:%SZ}")
    clock = installation.clock
    assert installation.verifier.verify(str(token)).expires == end.timestamp()
    clock.ahead = end.timestamp() - time.time() - 30
    installation.verifier.verify(str(token))
    clock.ahead = end.timestamp() - time.time()
    # From the cache, and after it was dropped there.
    for _ in range(2):
        error = refused(installation.verifier.verify, str(token))
        assert (error.code, error.reason) == (UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_ban_on_a_prefix_reaches_tokens_never_seen(installation: Installation) -> None:
    parent = good(installation, "label = parent")
    child = parent.attenuate(scope="telemetry:read").attenuate(label="child")
    sibling = good(installation, "label = sibling")
    verify = installation.verifier.verify
    verify(str(sibling))
    ban_id = await ban(installation, digest=hashlib.sha256(parent.macaroon.signature).digest())
    for token in (parent, child, child.attenuate(label="grandchild")):
        error = refused(verify, str(token))
        assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_BANNED")
    verify(str(sibling))
    await unban(installation, ban_id)
    verify(str(child))
    await ban(installation, token_id=parent.identifier.token_id)
    assert refused(verify, str(child)).reason == "TOKEN_BANNED"
    verify(str(sibling))


async def test_another_tenants_bans_are_its_own(installation: Installation) -> None:
    token = good(installation)
    own = hashlib.sha256(token.macaroon.signature).digest()
    await ban(installation, "acme", digest=own)
    installation.verifier.verify(str(token))
    await ban(installation, "*", digest=own)
    assert refused(installation.verifier.verify, str(token)).reason == "TOKEN_BANNED"


async def test_a_tenant_may_ban_what_an_operator_narrowed_to_it(installation: Installation) -> None:
    operator = sign(installation, "tenant = *", tenant="*")
    narrowed = operator.attenuate(tenant="acme")
    await ban(installation, "acme", digest=hashlib.sha256(narrowed.macaroon.signature).digest())
    assert refused(installation.verifier.verify, str(narrowed.attenuate(label="a"))).reason == "TOKEN_BANNED"
    installation.verifier.verify(str(operator.attenuate(tenant="globex")))
    installation.verifier.verify(str(operator))


async def test_the_order_of_checks(installation: Installation) -> None:
    verify = installation.verifier.verify
    bad = good(installation, "colour = red", f"expires = {later(-HOUR)}")
    assert refused(verify, str(bad)).reason == "INVALID_TOKEN"
    old = good(installation, f"expires = {later(-HOUR)}")
    assert refused(verify, str(old)).reason == "TOKEN_EXPIRED"
    for token in (bad, old):
        await ban(installation, token_id=token.identifier.token_id)
        # A ban goes before what caveats say, a signature before a ban.
        assert refused(verify, str(token)).reason == "TOKEN_BANNED"
        forged = token_text(token.data[:-1] + bytes((token.data[-1] ^ 1,)))
        assert refused(verify, forged).message == "the credential is not valid"


async def test_good_tokens_are_remembered(installation: Installation) -> None:
    text = str(good(installation))
    first = installation.verifier.verify(text)
    assert installation.verifier.verify(text) is first
    await installation.bans.refresh()
    assert installation.verifier.verify(text) is first


async def test_memory_ends_with_the_bans(installation: Installation) -> None:
    text = str(good(installation))
    first = installation.verifier.verify(text)
    await ban(installation, token_id="0" * 32)
    again = installation.verifier.verify(text)
    assert again == first
    assert again is not first


async def test_memory_ends_with_the_key(installation: Installation) -> None:
    old = str(good(installation))
    verify = installation.verifier.verify
    verify(old)

    def rotate(connection: Any) -> None:
        tenants.expire_key(connection, "default", 1, time.time_ns() + HOUR * NANOS)
        fingerprint = installation.keys.fingerprint("default", 2)
        tenants.insert_key(connection, tenants.TenantKey("default", 2, fingerprint, 0, None))

    await installation.database.write(rotate, installation.directory.refresh)
    new = str(sign(installation, "tenant = default", version=2))
    verify(old)
    verify(new)
    installation.keys._clock = installation.clock
    installation.clock.ahead = HOUR + 1
    assert refused(verify, old).message == "the credential is not valid"
    verify(new)


async def test_memory_is_bounded(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_CACHE_SIZE", 3)
    parent = good(installation)
    texts = [str(parent.attenuate(label=f"{i}")) for i in range(4)]
    verify = installation.verifier.verify
    first = [verify(text) for text in texts[:3]]
    assert verify(texts[0]) is first[0]
    verify(texts[3])
    assert verify(texts[0]) is first[0]
    assert verify(texts[1]) is not first[1]


async def test_no_secret_is_kept(installation: Installation) -> None:
    token = good(installation, "label = a", "rate_limit = 1/day")
    verified = installation.verifier.verify(str(token))
    kept = repr((verified, verified.limits, installation.verifier._cache, installation.bans.__dict__))
    for secret in (str(token), *signatures(installation, token)):
        for form in (secret, secret.hex(), repr(secret)) if isinstance(secret, bytes) else (secret,):
            assert str(form) not in kept
    assert repr(verified.digests[0]) in kept


async def test_nobody_is_let_in_while_bans_are_unknown(installation: Installation) -> None:
    text = str(good(installation))
    installation.verifier.verify(text)
    installation.bans._known_until = 0.0
    with pytest.raises(UnavailableError) as caught:
        installation.verifier.verify(text)
    assert caught.value.reason == "BANS_UNKNOWN"
    assert caught.value.retry_seconds
    await installation.bans.refresh()
    installation.verifier.verify(text)


async def test_100_000_mutants_are_refused(installation: Installation) -> None:
    parent = good(installation, "scope = telemetry:write", "device = site-7/*", "quota = 1000/day")
    texts = [
        str(token)
        for token in (
            parent,
            parent.attenuate(label="a"),
            parent.attenuate(expires=timedelta(days=1), ip="10.0.0.0/8"),
            good(installation),
            sign(installation, "tenant = *", tenant="*"),
            good(installation, *[f"label = {'x' * 100}"] * 20),
        )
    ]
    for text in texts:
        installation.verifier.verify(text)
    answers: dict[tuple[grpc.StatusCode, str, str], int] = {}
    for number, text in enumerate(mutants(texts, 100_000, seed=1)):
        if number % 1000 == 0:
            await installation.bans.refresh()
        try:
            installation.verifier.verify(text)
        except RequestError as error:
            key = (error.code, error.reason, error.message)
            answers[key] = answers.get(key, 0) + 1
        else:
            pytest.fail(f"accepted: {text!r}")
    assert answers == {(UNAUTHENTICATED, "INVALID_TOKEN", "the credential is not valid"): 100_000}
