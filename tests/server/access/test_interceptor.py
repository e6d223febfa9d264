from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from spacelink.admin.v1.governance_pb2 import GetTokenGraphRequest, UnbanTokenRequest
from spacelink.token import Token
from spacelink.v1.partner_pb2 import GenerateApiKeyRequest
from spacelink.v1.telemetry_pb2 import QueryTelemetryRequest
from spacelink_server.storage import audit, lineage, tenants
from spacelink_server.storage.audit import StoredEvent
from tests.server.access.mutations import mutants
from tests.server.access.shapes import SERVICE, SHAPES, Caller, Shapes, bearing, end_of, running_shapes
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import ban, create_tenant, mint
from tests.server.waiting import WAIT_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.server.installation import Installation

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
async def shapes(installation: Installation) -> AsyncIterator[Shapes]:
    async with running_shapes(installation.gate) as shapes:
        yield shapes


@pytest.fixture
async def token(installation: Installation) -> Token:
    """Give a token that may read and write everything in the default tenant."""
    return Token.parse(await mint(installation, installation.operator, "scope = things:*"))


def digest_of(token: Token) -> str:
    return hashlib.sha256(token.macaroon.signature).hexdigest()


def reason(status: dict[str, Any]) -> tuple[grpc.StatusCode, str]:
    return status["code"], status["reason"]


def query(*device_ids: str) -> QueryTelemetryRequest:
    return QueryTelemetryRequest(device_ids=device_ids)


def named(tenant_id: str) -> GetTokenGraphRequest:
    return GetTokenGraphRequest(tenant_id=tenant_id)


# Shapes.


@pytest.mark.parametrize("method", SHAPES)
async def test_a_good_token_is_let_in(shapes: Shapes, token: Token, method: str) -> None:
    answer = await bearing(shapes, token).answer(method)
    assert answer.startswith(f"default {token.identifier.token_id} 127.0.0.1".encode())


@pytest.mark.parametrize("method", SHAPES)
async def test_no_call_without_a_credential(shapes: Shapes, method: str) -> None:
    status = await Caller(shapes).refused(method)
    assert reason(status) == (UNAUTHENTICATED, "CREDENTIAL_REQUIRED")
    assert "authorization: Bearer" in status["message"]


@pytest.mark.parametrize("method", SHAPES)
async def test_no_call_with_a_bad_token(shapes: Shapes, token: Token, method: str) -> None:
    status = await bearing(shapes, f"{token}A").refused(method)
    assert reason(status) == (UNAUTHENTICATED, "INVALID_TOKEN")


@pytest.mark.parametrize("method", SHAPES)
async def test_no_call_outside_the_scope(shapes: Shapes, token: Token, method: str) -> None:
    caller = bearing(shapes, token.attenuate(scope="things:write *:execute"))
    assert reason(await caller.refused(method)) == (DENIED, "SCOPE_DENIED")


@pytest.mark.parametrize("method", SHAPES)
async def test_the_handler_of_a_refused_call_does_not_run(shapes: Shapes, method: str) -> None:
    served: list[str] = []
    shapes._serving = served.append  # type: ignore[method-assign, assignment]
    await Caller(shapes).refused(method)
    assert not served


async def test_every_request_of_a_stream_is_served(shapes: Shapes, token: Token) -> None:
    call = bearing(shapes, token).requests("StreamUnary")
    for _ in range(5):
        await call.write(b"x")
    await call.done_writing()
    assert (await call).endswith(b" 5")


async def test_errors_of_handlers_pass(shapes: Shapes, token: Token) -> None:
    caller = bearing(shapes, token)
    status = await refusal(caller.unary("Fail", b"x"))
    assert status["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refusal(caller.unary("Fail")))["code"] is grpc.StatusCode.INTERNAL


async def test_methods_that_nobody_declared(shapes: Shapes, token: Token, installation: Installation) -> None:
    for text in (token, installation.operator):
        status = await refusal(bearing(shapes, text).unary("Undeclared"))
        assert reason(status) == (DENIED, "SCOPE_DENIED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bearing(shapes, token).unary("Missing")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_public_methods_ask_for_nothing(shapes: Shapes, token: Token) -> None:
    assert await Caller(shapes).unary("Public") == b"nobody"
    assert await bearing(shapes, "rubbish").unary("Public") == b"nobody"


async def test_any_token_may_ask_about_itself(shapes: Shapes, token: Token) -> None:
    narrow = token.attenuate(scope="other:write", device="dev-1", network="net-1")
    assert await bearing(shapes, narrow).unary("Myself")
    assert reason(await refusal(Caller(shapes).unary("Myself"))) == (UNAUTHENTICATED, "CREDENTIAL_REQUIRED")
    late = token.attenuate(not_before=timedelta(hours=1))
    assert reason(await refusal(bearing(shapes, late).unary("Myself")))[1] == "TOKEN_NOT_YET_VALID"
    status = await refusal(bearing(shapes, token, ("x-spacelink-tenant", "acme")).unary("Myself"))
    assert reason(status) == (DENIED, "WRONG_TENANT")


# Credentials.


async def test_exactly_one_credential(shapes: Shapes, token: Token) -> None:
    bearer_token, key = ("authorization", f"Bearer {token}"), ("x-api-key", "slak_x")
    for metadata in ([bearer_token, key], [bearer_token, bearer_token], [key, key]):
        status = await Caller(shapes, *metadata).refused("UnaryUnary")
        assert reason(status) == (UNAUTHENTICATED, "AMBIGUOUS_CREDENTIAL")


async def test_schemes(shapes: Shapes, token: Token) -> None:
    for good in (f"Bearer {token}", f"bearer {token}"):
        assert await Caller(shapes, ("authorization", good)).unary("UnaryUnary")
    for bad in (f"{token}", f"Basic {token}", f"Bearer  {token}", "Bearer", "", f"Bearer {token},{token}"):
        status = await Caller(shapes, ("authorization", bad)).refused("UnaryUnary")
        assert reason(status) == (UNAUTHENTICATED, "INVALID_TOKEN")


async def test_api_keys_stand_for_tokens(shapes: Shapes, installation: Installation) -> None:
    request = GenerateApiKeyRequest(caveats=["scope = things:read", "device = dev-1"])
    issued = await installation.partner.GenerateApiKey(request, **bearer(installation.operator))
    caller = Caller(shapes, ("x-api-key", issued.secret))
    for method in SHAPES:
        assert await caller.answer(method)
    assert reason(await refusal(caller.unary("Devices", query("dev-2")))) == (DENIED, "DEVICE_DENIED")
    for bad in ("", "slak_", f"{issued.secret}x", installation.operator):
        status = await Caller(shapes, ("x-api-key", bad)).refused("UnaryUnary")
        assert reason(status) == (UNAUTHENTICATED, "INVALID_TOKEN")
        assert status["message"] == "the credential is not valid"


# Caveats.


HOUR_AGO, IN_AN_HOUR = timedelta(hours=-1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("caveat", "method", "admitted", "refused", "expected"),
    [
        (
            {"device": "dev-1 site-7/*"},
            "Devices",
            query("dev-1", "site-7/a"),
            query("dev-2"),
            "DEVICE_DENIED",
        ),
        ({"device": "dev-1"}, "Devices", query("dev-1"), query("dev-1", "dev-2"), "DEVICE_DENIED"),
        ({"device": "dev-1 dev-2"}, "Devices", query("dev-2"), query(), "DEVICE_DENIED"),
        ({"network": "net-1 eu/*"}, "Networks", query("eu/a"), query("us/a"), "NETWORK_DENIED"),
        ({"network": "net-1"}, "Networks", query("net-1"), query(), "NETWORK_DENIED"),
        ({"tenant": "default"}, "Named", named("default"), named("acme"), "WRONG_TENANT"),
    ],
)
async def test_caveats_about_what_a_call_names(
    shapes: Shapes, token: Token, caveat: Any, method: str, admitted: Any, refused: Any, expected: str
) -> None:
    caller = bearing(shapes, token.attenuate(**caveat))
    assert await caller.unary(method, admitted)
    assert reason(await refusal(caller.unary(method, refused))) == (DENIED, expected)


@pytest.mark.parametrize("method", SHAPES)
@pytest.mark.parametrize(
    ("admitting", "refusing", "expected"),
    [
        ({"scope": "things:read"}, {"scope": "things:write"}, (DENIED, "SCOPE_DENIED")),
        ({"scope": "api:read"}, {"scope": "*:write"}, (DENIED, "SCOPE_DENIED")),
        ({"expires": IN_AN_HOUR}, {"expires": HOUR_AGO}, (UNAUTHENTICATED, "TOKEN_EXPIRED")),
        (
            {"not_before": timedelta(seconds=20)},
            {"not_before": timedelta(seconds=60)},
            (UNAUTHENTICATED, "TOKEN_NOT_YET_VALID"),
        ),
        ({"ip": "127.0.0.0/8"}, {"ip": "10.0.0.0/8 ::/0"}, (DENIED, "ADDRESS_DENIED")),
        ({"label": "a"}, {"label": "a", "scope": "other:*"}, (DENIED, "SCOPE_DENIED")),
        ({"rate_limit": "1000/day"}, {"tenant": "acme"}, (UNAUTHENTICATED, "INVALID_TOKEN")),
        ({"quota": "1000/day"}, {"expires": HOUR_AGO, "scope": "x:y"}, (UNAUTHENTICATED, "TOKEN_EXPIRED")),
    ],
)
async def test_caveats_of_every_call(
    shapes: Shapes, token: Token, method: str, admitting: Any, refusing: Any, expected: Any
) -> None:
    assert await bearing(shapes, token.attenuate(**admitting)).answer(method)
    assert reason(await bearing(shapes, token.attenuate(**refusing)).refused(method)) == expected
    # Nothing that comes later can widen what was narrowed.
    widened = token.attenuate(**refusing).attenuate(**admitting)
    assert reason(await bearing(shapes, widened).refused(method)) == expected


async def test_refusals_say_what_would_be_right(shapes: Shapes, token: Token) -> None:
    caller = bearing(shapes, token.attenuate(device="dev-1"))
    status = await refusal(caller.unary("Devices", query()))
    assert status["message"] == "the call is about all devices, but the token is for 'dev-1' only: name them"
    status = await refusal(caller.unary("Devices", query("x" * 100_000)))
    assert reason(status) == (DENIED, "DEVICE_DENIED")
    assert len(status["message"]) < 500


# Tenants.


async def test_which_tenant_a_call_is_about(shapes: Shapes, installation: Installation) -> None:
    await create_tenant(installation, "acme")
    await create_tenant(installation, "globex")
    acme = await mint(installation, installation.operator, tenant_id="acme")
    narrowed = Token.parse(installation.operator).attenuate(tenant="acme")

    async def tenant(text: object, request: str = "", header: str = "") -> str:
        metadata = [("x-spacelink-tenant", header)] if header else []
        answer = await bearing(shapes, text, *metadata).unary("Named", named(request))
        return str(answer.decode().split()[0])

    operator = installation.operator
    assert await tenant(operator) == "default"
    assert await tenant(operator, header="acme") == "acme"
    assert await tenant(operator, "globex") == "globex"
    assert await tenant(operator, "globex", header="acme") == "globex"
    assert await tenant(operator, "*") == "*"
    for text in (acme, narrowed):
        assert await tenant(text) == "acme"
        assert await tenant(text, "acme", header="acme") == "acme"


@pytest.mark.parametrize("where", ["request", "header"])
@pytest.mark.parametrize("other", ["globex", "default", "nowhere", "*"])
async def test_no_token_reaches_outside_its_tenant(
    shapes: Shapes, installation: Installation, where: str, other: str
) -> None:
    await create_tenant(installation, "acme")
    await create_tenant(installation, "globex")
    acme = await mint(installation, installation.operator, tenant_id="acme")
    for text in (acme, Token.parse(installation.operator).attenuate(tenant="acme")):
        metadata = [("x-spacelink-tenant", other)] if where == "header" else []
        request = named(other if where == "request" else "")
        status = await refusal(bearing(shapes, text, *metadata).unary("Named", request))
        assert reason(status) == (DENIED, "WRONG_TENANT")


async def test_tenants_that_do_not_exist(shapes: Shapes, installation: Installation) -> None:
    operator = installation.operator
    status = await refusal(bearing(shapes, operator).unary("Named", named("nowhere")))
    assert reason(status) == (NOT_FOUND, "TENANT_NOT_FOUND")
    # The installation has no data, so a header cannot name it.
    for header in ("nowhere", "*", "x" * 4000):
        status = await bearing(shapes, operator, ("x-spacelink-tenant", header)).refused("UnaryStream")
        assert reason(status) == (NOT_FOUND, "TENANT_NOT_FOUND")
        assert len(status["message"]) < 500
    ghost = Token.parse(operator).attenuate(tenant="nowhere")
    assert reason(await bearing(shapes, ghost).refused("UnaryUnary")) == (NOT_FOUND, "TENANT_NOT_FOUND")


async def test_methods_about_tenants_are_for_operators(shapes: Shapes, installation: Installation) -> None:
    await create_tenant(installation, "acme")
    acme = await mint(installation, installation.operator, "scope = *:*", tenant_id="acme")
    assert (await bearing(shapes, installation.operator).unary("AnyTenant")).startswith(b"* ")
    for text in (acme, Token.parse(installation.operator).attenuate(tenant="acme")):
        status = await refusal(bearing(shapes, text).unary("AnyTenant"))
        assert reason(status) == (DENIED, "WRONG_TENANT")


# Bans and expiry.


async def open_calls(shapes: Shapes, token: object) -> list[Any]:
    """Open a call of each kind that lasts, and see that it is served."""
    caller = bearing(shapes, token)
    calls = [caller.stream("UnaryStream"), caller.stream("UnaryWrites"), caller.requests("StreamStream")]
    await calls[2].write(b"dev-1")
    for call in calls:
        assert isinstance(await call.read(), bytes)
    collecting = caller.requests("StreamUnary")
    await collecting.write(b"x")
    return [*calls, collecting, caller.unary("Hang")]


async def test_a_ban_ends_the_calls_of_a_family_and_no_other(
    shapes: Shapes, token: Token, installation: Installation
) -> None:
    parent, sibling = token.attenuate(label="parent"), token.attenuate(label="sibling")
    leaves = [parent.attenuate(label=f"leaf-{i}") for i in range(10)]
    ended = [call for leaf in leaves for call in await open_calls(shapes, leaf)]
    kept = [*await open_calls(shapes, sibling), *await open_calls(shapes, token)]
    await until(lambda: shapes.open["Hang"] == 12 and shapes.open["StreamUnary"] == 12)
    assert len(installation.open_calls) == len(ended) + len(kept)

    made = await ban(installation, installation.operator, digest=digest_of(parent))
    async with asyncio.timeout(WAIT_SECONDS):
        statuses = [await end_of(call) for call in ended]
    assert {reason(status) for status in statuses} == {(DENIED, "TOKEN_BANNED")}
    assert not any(call.done() for call in kept)
    await until(lambda: shapes.open.total() == len(kept))
    assert len(installation.open_calls) == len(kept)
    for text in (parent, leaves[0], leaves[0].attenuate(label="never-seen")):
        assert reason(await bearing(shapes, text).refused("UnaryUnary")) == (DENIED, "TOKEN_BANNED")

    await installation.governance.UnbanToken(
        UnbanTokenRequest(ban_id=made.ban_id),
        **bearer(installation.operator),
    )
    for leaf in leaves:
        assert await bearing(shapes, leaf).unary("UnaryUnary")
    for call in kept:
        call.cancel()
    await until(lambda: not len(installation.open_calls))


async def test_a_call_ends_with_its_token(shapes: Shapes, token: Token, installation: Installation) -> None:
    end = datetime.now(UTC) + timedelta(seconds=2)
    short = token.attenuate(expires=end)
    ended, kept = await open_calls(shapes, short), await open_calls(shapes, token)
    async with asyncio.timeout(WAIT_SECONDS):
        statuses = [await end_of(call) for call in ended]
    assert {reason(status) for status in statuses} == {(UNAUTHENTICATED, "TOKEN_EXPIRED")}
    assert time.time() >= end.replace(microsecond=0).timestamp()
    assert not any(call.done() for call in kept)
    await until(lambda: len(installation.open_calls) == len(kept))


async def test_a_call_ends_with_the_key_of_its_token(
    shapes: Shapes, token: Token, installation: Installation
) -> None:
    calls = await open_calls(shapes, token)

    def rotate(connection: Any) -> None:
        tenants.expire_key(connection, "default", 1, time.time_ns())
        fingerprint = installation.keys.fingerprint("default", 2)
        tenants.insert_key(connection, tenants.TenantKey("default", 2, fingerprint, 0, None))

    await installation.database.write(rotate, installation.directory.refresh)
    async with asyncio.timeout(WAIT_SECONDS):
        statuses = [await end_of(call) for call in calls]
    assert {status["code"] for status in statuses} == {UNAUTHENTICATED}


async def test_a_caller_that_goes_is_let_go(
    shapes: Shapes, token: Token, installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [*await open_calls(shapes, token), *await open_calls(shapes, token)]
    await until(lambda: shapes.open.total() == len(calls))
    for call in calls[:5]:
        call.cancel()
    await until(lambda: shapes.open.total() == 5)
    # Some go while they are being ended.
    banning = asyncio.create_task(ban(installation, installation.operator, digest=digest_of(token)))
    for call in calls[5:]:
        call.cancel()
    await banning
    await until(lambda: not shapes.open.total() and not len(installation.open_calls))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_nobody_is_let_in_while_bans_are_unknown(
    shapes: Shapes, token: Token, installation: Installation
) -> None:
    installation.bans._know_as_of = lambda asked: None  # type: ignore[method-assign]
    installation.bans._known_until = 0.0
    status = await bearing(shapes, token).refused("UnaryUnary")
    assert reason(status) == (grpc.StatusCode.UNAVAILABLE, "BANS_UNKNOWN")
    assert status["RetryInfo"].retry_delay.ToSeconds() >= 1


# Limits.


@pytest.fixture
def noon(installation: Installation) -> None:
    """Set the clock to the middle of a day, for no window to end during a test."""
    installation.clock.ahead = (43_200 - time.time()) % 86_400


@pytest.mark.usefixtures("noon")
async def test_children_share_their_parents_limit(shapes: Shapes, token: Token) -> None:
    parent = token.attenuate(rate_limit="6/day")
    first = parent.attenuate(label="first").attenuate(rate_limit="4/day")
    second = parent.attenuate(label="second")
    for _ in range(4):
        assert await bearing(shapes, first).unary("UnaryUnary")
    for text in (first, first.attenuate(rate_limit="1000/second"), first.attenuate(label="a")):
        status = await bearing(shapes, text).refused("UnaryUnary")
        assert reason(status) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert isinstance(status["RetryInfo"], RetryInfo)
    for _ in range(2):
        assert await bearing(shapes, second).unary("UnaryUnary")
    for text in (first, second, parent):
        for method in ("UnaryUnary", "UnaryStream", "UnaryWrites"):
            assert reason(await bearing(shapes, text).refused(method))[1] == "RATE_LIMITED"
    assert await bearing(shapes, token).unary("UnaryUnary")


@pytest.mark.usefixtures("noon")
async def test_a_minted_token_draws_from_its_minters_limit(
    shapes: Shapes, token: Token, installation: Installation
) -> None:
    operator = Token.parse(installation.operator)
    minter = operator.attenuate(rate_limit="3/day")
    minted = await mint(installation, str(minter))
    assert await bearing(shapes, minted).unary("UnaryUnary")
    assert await bearing(shapes, minter).unary("UnaryUnary")
    for text in (minted, minter):
        assert reason(await bearing(shapes, text).refused("UnaryUnary"))[1] == "RATE_LIMITED"


@pytest.mark.usefixtures("noon")
async def test_of_a_stream_of_requests_batches_are_counted(shapes: Shapes, token: Token) -> None:
    limited = bearing(shapes, token.attenuate(rate_limit="2/day"))
    for _ in range(3):
        assert await limited.requests("StreamUnary").done_writing() is None
    call = limited.requests("StreamStream")
    for _ in range(2):
        await call.write(b"dev-1")
        assert isinstance(await call.read(), bytes)
    assert reason(await limited.refused("UnaryUnary"))[1] == "RATE_LIMITED"
    call.cancel()


# What is written down.


async def events(installation: Installation, tenant_id: str, action: str) -> list[StoredEvent]:
    return await installation.database.read(
        lambda connection: audit.page(connection, tenant_id, action=action, limit=100)
    )


async def test_tokens_presented_are_counted(shapes: Shapes, token: Token, installation: Installation) -> None:
    leaf = token.attenuate(label="leaf")
    for _ in range(3):
        await bearing(shapes, leaf).unary("UnaryUnary")
    await bearing(shapes, leaf).answer("StreamStream")
    await installation.lineage.flush()
    nodes = await installation.database.read(
        lambda connection: lineage.graph(connection, ("default",), token.identifier.token_id)
    )
    assert [(node.caveat, node.use_count) for node in nodes] == [
        ("", 0),
        ("tenant = default", 0),
        ("scope = things:*", 0),
        ("label = leaf", 4),
    ]
    (event,) = await events(installation, "default", "token.first_use")
    assert digest_of(leaf) in event.event


async def test_refused_calls_are_counted(shapes: Shapes, token: Token, installation: Installation) -> None:
    for _ in range(3):
        await Caller(shapes).refused("UnaryUnary")
    for _ in range(2):
        await bearing(shapes, token.attenuate(scope="a:b")).refused("StreamStream")
    await bearing(shapes, token).unary("UnaryUnary")
    await installation.refusals.flush()
    await installation.refusals.flush()
    (unknown,) = await events(installation, "*", "call.refused")
    (known,) = await events(installation, "default", "call.refused")
    method = f'"method":"{SERVICE}'
    assert f'{{"count":3,{method}UnaryUnary","reason":"CREDENTIAL_REQUIRED"}}' in unknown.event
    assert f'{{"count":2,{method}StreamStream","reason":"SCOPE_DENIED"}}' in known.event


async def test_logs_hold_no_secret(
    shapes: Shapes, token: Token, installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    issued = await installation.partner.GenerateApiKey(
        GenerateApiKeyRequest(caveats=["scope = things:read"]), **bearer(installation.operator)
    )
    parent = token.attenuate(label="parent")
    leaf = parent.attenuate(rate_limit="1000/day")
    expired = token.attenuate(expires=HOUR_AGO)
    forged = [f"{token}A", str(token)[:-3], f"{str(token)[:-8]}AAAAAAAA"]
    with caplog.at_level(logging.DEBUG):
        for text in (token, leaf, leaf, expired, token.attenuate(scope="a:b"), *forged):
            for method in SHAPES:
                await asyncio.gather(bearing(shapes, text).answer(method), return_exceptions=True)
        for key in (issued.secret, f"{issued.secret}x"):
            await asyncio.gather(
                Caller(shapes, ("x-api-key", key)).answer("UnaryUnary"), return_exceptions=True
            )
        await refusal(bearing(shapes, token).unary("Fail", b"x"))
        call = bearing(shapes, parent).stream("UnaryStream")
        await call.read()
        await ban(installation, installation.operator, token=str(parent))
        await end_of(call)
        await installation.lineage.flush()
        await installation.refusals.flush()
    logged = caplog.text + repr([record.__dict__ for record in caplog.records])
    assert "refused: INVALID_TOKEN (token: the signature does not match)" in logged
    assert "refused: SCOPE_DENIED" in logged
    stored = repr(installation.store.read(lambda c: list(c.connection.driver_connection.iterdump())))  # type: ignore[union-attr]
    assert digest_of(leaf).upper() in stored.upper()
    signatures = [each.macaroon.signature for each in (token, parent, leaf, expired)]
    secrets = [str(token), str(leaf), str(expired), installation.operator, issued.secret]
    secrets += [text[-20:] for text in secrets]
    for place in (logged, stored):
        for secret in secrets:
            assert secret not in place
        for signature in signatures:
            for form in (signature.hex(), repr(signature)[2:-1], str(list(signature))):
                assert form.upper() not in place.upper()


async def test_mutants_over_the_wire(shapes: Shapes, token: Token, installation: Installation) -> None:
    texts = [str(token), str(token.attenuate(label="a")), installation.operator]
    answers = set()
    for text in mutants(texts, 2_000, seed=2):
        value = f"Bearer {text}"
        if not value.isascii() or not value.isprintable():
            continue  # no client of gRPC sends it
        status = await Caller(shapes, ("authorization", value)).refused("UnaryUnary")
        answers.add((status["code"], status["reason"], status["message"]))
    assert answers == {(UNAUTHENTICATED, "INVALID_TOKEN", "the credential is not valid")}
