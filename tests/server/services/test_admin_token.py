from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from spacelink import _pymacaroons
from spacelink.admin.v1.token_pb2 import (
    InspectTokenRequest,
    InspectTokenResponse,
    ListTokensRequest,
    MintedToken,
    MintTokenRequest,
)
from spacelink.token import Token
from spacelink_server.storage import tokens
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import (
    audited,
    ban,
    caveats_of,
    create_tenant,
    mint,
    narrowed,
    tenant_admin,
    token_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.installation import Installation


async def inspect(installation: Installation, caller: str, text: str) -> InspectTokenResponse:
    return await installation.token.InspectToken(InspectTokenRequest(token=text), **bearer(caller))


async def test_mints_for_the_default_tenant(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "scope = telemetry:write", "label = dish-1")
    assert caveats_of(text) == ["tenant = default", "scope = telemetry:write", "label = dish-1"]
    assert installation.verifier.verify(text).tenant == "default"


async def test_an_operator_mints_for_the_tenant_it_names(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    text = await mint(installation, installation.operator, tenant_id="acme")
    assert caveats_of(text) == ["tenant = acme"]
    assert Token.parse(text).identifier.tenant == "acme"
    request = MintTokenRequest()
    answer = await installation.token.MintToken(request, **bearer(installation.operator, "acme"))
    assert caveats_of(answer.token) == ["tenant = acme"]


async def test_an_operator_mints_another_operators_token(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "scope = tenants:*", tenant_id="*")
    assert caveats_of(text) == ["tenant = *", "scope = tenants:*"]
    assert installation.verifier.verify(text).tenant == "*"


async def test_an_operators_token_narrowed_to_a_tenant_mints_tokens_of_that_tenant(
    installation: Installation,
) -> None:
    await create_tenant(installation, "acme")
    text = await mint(installation, narrowed(installation.operator, tenant="acme", label="site"))
    assert caveats_of(text) == ["tenant = acme", "label = site"]
    assert Token.parse(text).identifier.tenant == "acme"


async def test_no_token_is_minted_for_a_tenant_that_does_not_exist(installation: Installation) -> None:
    call = installation.token.MintToken(MintTokenRequest(tenant_id="acme"), **bearer(installation.operator))
    found = await refusal(call)
    assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


async def test_a_tenants_token_mints_for_no_other_tenant(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    await create_tenant(installation, "globex")
    for tenant_id in ("globex", "default", "*"):
        call = installation.token.MintToken(MintTokenRequest(tenant_id=tenant_id), **bearer(acme))
        found = await refusal(call)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_TENANT")


async def test_a_minted_token_inherits_the_caveats_of_its_minter(installation: Installation) -> None:
    parent = await mint(installation, installation.operator, "scope = tokens:* telemetry:*")
    minter = narrowed(parent, device="site-7/*", label="site-7")
    child = await mint(installation, minter, "scope = telemetry:write", "label = dish-1")
    assert caveats_of(child) == [
        "tenant = default",
        "scope = tokens:* telemetry:*",
        "device = site-7/*",
        "label = site-7",
        "scope = telemetry:write",
        "label = dish-1",
    ]


async def test_a_minted_token_draws_from_the_limits_of_all_it_comes_from(installation: Installation) -> None:
    parent = await mint(installation, installation.operator, "quota = 100/day", "rate_limit = 5/second")
    minter = narrowed(parent, quota="10/day")
    child = await mint(installation, minter)
    grandchild = await mint(installation, child)
    keys = {name: installation.verifier.verify(text) for name, text in (("minter", minter), ("child", child))}
    stored = await installation.database.read(
        lambda connection: tokens.get(connection, "default", token_id(grandchild))
    )
    assert stored is not None
    expected = [
        (limit.tenant_id, limit.digest, limit.caveat)
        for name in ("child", "minter")
        for limit in keys[name].limits
    ]
    assert len(expected) == 6
    assert list(map(tuple, stored.inherited_limits)) == expected


async def test_a_caveat_given_twice_is_written_once(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "tenant = default", "label = a", "label = a")
    assert caveats_of(text) == ["tenant = default", "label = a"]


async def test_minting_is_audited_without_the_token(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "label = dish-1")
    (event, *_) = await audited(installation, "default")
    assert (event.action, event.outcome) == ("token.mint", "ok")
    assert event.resource == f"token:{token_id(text)}"
    assert event.actor == f"token:{token_id(installation.operator)}"
    assert event.detail_json == '{"caveats":["tenant = default","label = dish-1"]}'


async def test_the_actor_is_named_with_its_labels(installation: Installation) -> None:
    caller = narrowed(narrowed(installation.operator, label="ops"), label="alice")
    await mint(installation, caller)
    (event, *_) = await audited(installation, "default")
    assert event.actor == f"token:{token_id(caller)}/ops/alice"


async def test_a_repeated_call_gives_the_same_token(installation: Installation) -> None:
    texts = [await mint(installation, installation.operator, "label = a", request_id="r-1") for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(await audited(installation, "default", "token.mint")) == 1
    assert await mint(installation, installation.operator, "label = a", request_id="r-2") != texts[0]


async def test_calls_at_the_same_time_with_one_request_id_mint_one_token(installation: Installation) -> None:
    calls = [mint(installation, installation.operator, request_id="r") for _ in range(8)]
    assert len(set(await asyncio.gather(*calls))) == 1


async def test_a_request_id_stands_for_one_request_of_one_caller(installation: Installation) -> None:
    await mint(installation, installation.operator, "label = a", request_id="r")
    other = narrowed(installation.operator, label="other")
    for caller, caveat in ((installation.operator, "label = b"), (other, "label = a")):
        request = MintTokenRequest(caveats=[caveat], request_id="r")
        found = await refusal(installation.token.MintToken(request, **bearer(caller)))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_request_id_is_of_its_tenant(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    first = await mint(installation, installation.operator, request_id="r")
    second = await mint(installation, installation.operator, request_id="r", tenant_id="acme")
    assert caveats_of(first) != caveats_of(second)


async def test_the_store_holds_no_part_of_a_token(installation: Installation, tmp_path: Path) -> None:
    text = await mint(installation, installation.operator, "label = a", request_id="r")
    signature = Token.parse(text).macaroon.signature
    await installation.database.write(lambda connection: None)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("spacelink.db*"))
    assert token_id(text).encode() in stored
    for secret in (text.encode(), text[-43:].encode(), signature, signature.hex().encode()):
        assert secret not in stored


@pytest.mark.parametrize(
    ("caveats", "field", "reason"),
    [
        (["label = a", "colour = red"], "caveats[1]", "INVALID_CAVEAT"),
        (["scope = write"], "caveats[0]", "INVALID_CAVEAT"),
        (["label  = a"], "caveats[0]", "INVALID_CAVEAT"),
        (["label = ä"], "caveats[0]", "INVALID_CAVEAT"),
        (["tenant = acme"], "caveats[0]", "INVALID_CAVEAT"),
        (["tenant = *"], "caveats[0]", "INVALID_CAVEAT"),
        (["device = " + "x" * 600], "caveats[0]", "INVALID_ARGUMENT"),
        ([f"label = {n}" for n in range(64)], "caveats", "INVALID_ARGUMENT"),
    ],
)
async def test_names_the_caveat_that_is_wrong(
    installation: Installation, caveats: list[str], field: str, reason: str
) -> None:
    request = MintTokenRequest(caveats=caveats)
    found = await refusal(installation.token.MintToken(request, **bearer(installation.operator)))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]
    assert not await audited(installation, "default", "token.mint")


async def test_refuses_a_request_id_that_is_no_name(installation: Installation) -> None:
    request = MintTokenRequest(request_id="a b")
    found = await refusal(installation.token.MintToken(request, **bearer(installation.operator)))
    assert found["BadRequest"].field_violations[0].field == "request_id"


async def test_inspects_an_authentic_token(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "expires = 2999-01-01T00:00:00Z", "label = a")
    leaf = narrowed(text, expires="2998-01-01T00:00:00Z")
    found = await inspect(installation, installation.operator, leaf)
    assert (found.authentic, found.banned) == (True, False)
    assert (found.tenant_id, found.token_id, found.key_version) == ("default", token_id(text), 1)
    assert list(found.caveats) == [
        "tenant = default",
        "expires = 2999-01-01T00:00:00Z",
        "label = a",
        "expires = 2998-01-01T00:00:00Z",
    ]
    assert found.expire_time.ToDatetime(UTC) == datetime(2998, 1, 1, tzinfo=UTC)
    digest = hashlib.sha256(Token.parse(text).macaroon.signature).hexdigest()
    assert len(found.digests) == 5
    assert found.digests[3] == digest
    assert found.digests[4] == hashlib.sha256(Token.parse(leaf).macaroon.signature).hexdigest()


@pytest.mark.parametrize("year", ["0001", "1969", "2263", "9999"])
async def test_mints_with_an_expiry_in_any_year(installation: Installation, year: str) -> None:
    caveat = f"expires = {year}-01-01T00:00:00Z"
    assert caveats_of(await mint(installation, installation.operator, caveat))[1] == caveat


async def test_inspects_a_token_that_is_not_authentic(installation: Installation) -> None:
    token = Token.parse(await mint(installation, installation.operator, "label = a"))
    forged = str(Token.decode(token.data[:-1] + bytes([token.data[-1] ^ 1])))
    found = await inspect(installation, installation.operator, forged)
    assert (found.authentic, found.banned, list(found.digests)) == (False, False, [])
    assert list(found.caveats) == ["tenant = default", "label = a"]
    assert not found.HasField("expire_time")


async def test_inspects_a_caveat_that_is_none(installation: Installation) -> None:
    token = Token.parse(await mint(installation, installation.operator))
    odd = str(Token.decode(_pymacaroons.attenuate(token.data, ["ä\n = odd".encode()])))
    found = await inspect(installation, installation.operator, odd)
    assert found.authentic
    assert found.caveats[1] == "\\xc3\\xa4\n = odd"


async def test_inspects_a_banned_token(installation: Installation) -> None:
    parent = await mint(installation, installation.operator)
    leaf = narrowed(parent, label="leaf")
    await ban(installation, installation.operator, token=parent)
    assert (await inspect(installation, installation.operator, leaf)).banned
    assert not (await inspect(installation, installation.operator, installation.operator)).banned


async def test_inspects_no_token_of_another_tenant(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    globex = await tenant_admin(installation, "globex")
    for text in (globex, installation.operator):
        found = await refusal(inspect(installation, acme, text))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_TENANT")
    assert (await inspect(installation, acme, acme)).authentic
    of_acme = narrowed(installation.operator, tenant="acme")
    assert (await inspect(installation, acme, of_acme)).authentic


@pytest.mark.parametrize("text", ["", "slk_", "slk_AgEA", "token"])
async def test_refuses_to_inspect_what_is_no_token(installation: Installation, text: str) -> None:
    found = await refusal(inspect(installation, installation.operator, text))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TOKEN")


async def test_lists_tokens_newest_first_in_pages(installation: Installation) -> None:
    minted = [await mint(installation, installation.operator, f"label = {n}") for n in range(5)]
    found: list[MintedToken] = []
    page_token = ""
    while True:
        request = ListTokensRequest(page_size=2, page_token=page_token)
        answer = await installation.token.ListTokens(request, **bearer(installation.operator))
        assert len(answer.tokens) <= 2
        found += answer.tokens
        page_token = answer.next_page_token
        if not page_token:
            break
    assert [token.token_id for token in found] == [token_id(text) for text in reversed(minted)]
    assert list(found[0].caveats) == ["tenant = default", "label = 4"]
    assert found[0].minter == token_id(installation.operator)
    age = datetime.now(UTC) - found[0].mint_time.ToDatetime(UTC)
    assert timedelta() <= age < timedelta(minutes=5)


async def test_lists_the_tokens_of_one_tenant_only(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    await tenant_admin(installation, "globex")
    answer = await installation.token.ListTokens(ListTokensRequest(), **bearer(acme))
    assert [token.token_id for token in answer.tokens] == [token_id(acme)]
    found = await refusal(
        installation.token.ListTokens(ListTokensRequest(tenant_id="globex"), **bearer(acme))
    )
    assert found["reason"] == "WRONG_TENANT"


async def test_lists_which_tokens_are_banned(installation: Installation) -> None:
    parent = await mint(installation, installation.operator, "label = parent")
    await mint(installation, parent, "label = child")
    await mint(installation, installation.operator, "label = other")
    await ban(installation, installation.operator, token=parent)
    answer = await installation.token.ListTokens(ListTokensRequest(), **bearer(installation.operator))
    assert [(token.caveats[-1], token.banned) for token in answer.tokens] == [
        ("label = other", False),
        ("label = child", True),
        ("label = parent", True),
    ]


@pytest.mark.parametrize(
    "page_token", ["!", "YWJj", "MSAyIDM", "ä", "LTEgYQ==", "OTIyMzM3MjAzNjg1NDc3NTgwOCBh"]
)
async def test_refuses_a_page_token_that_is_none(installation: Installation, page_token: str) -> None:
    request = ListTokensRequest(page_token=page_token)
    found = await refusal(installation.token.ListTokens(request, **bearer(installation.operator)))
    assert found["BadRequest"].field_violations[0].field == "page_token"


async def test_refuses_a_negative_page_size(installation: Installation) -> None:
    request = ListTokensRequest(page_size=-1)
    found = await refusal(installation.token.ListTokens(request, **bearer(installation.operator)))
    assert found["BadRequest"].field_violations[0].field == "page_size"
