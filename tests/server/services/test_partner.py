from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from spacelink.admin.v1.governance_pb2 import ListBansRequest, UnbanTokenRequest
from spacelink.admin.v1.tenant_pb2 import RotateTenantKeyRequest
from spacelink.admin.v1.token_pb2 import ListTokensRequest, MintTokenRequest
from spacelink.v1.partner_pb2 import (
    ApiKey,
    GenerateApiKeyRequest,
    GenerateApiKeyResponse,
    ListApiKeysRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
)
from spacelink.v1.session_pb2 import GetSessionRequest, GetSessionResponse
from spacelink_server.storage import tokens
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import (
    audited,
    ban,
    create_tenant,
    mint,
    narrowed,
    tenant_admin,
    token_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.installation import Installation

NOW = Duration()


async def generate(
    installation: Installation, *caveats: str, caller: str = "", **fields: str
) -> GenerateApiKeyResponse:
    request = GenerateApiKeyRequest(caveats=caveats, **fields)
    return await installation.partner.GenerateApiKey(request, **bearer(caller or installation.operator))


async def rotate(
    installation: Installation, key: ApiKey, credential: dict[str, Any] | None = None, **fields: Any
) -> RotateApiKeyResponse:
    request = RotateApiKeyRequest(key_id=key.key_id, **fields)
    return await installation.partner.RotateApiKey(request, **(credential or bearer(installation.operator)))


async def revoke(installation: Installation, key: ApiKey, caller: str = "") -> None:
    request = RevokeApiKeyRequest(key_id=key.key_id)
    await installation.partner.RevokeApiKey(request, **bearer(caller or installation.operator))


async def keys_of(installation: Installation, caller: str = "") -> list[ApiKey]:
    call = installation.partner.ListApiKeys(ListApiKeysRequest(), **bearer(caller or installation.operator))
    return list((await call).api_keys)


def with_key(secret: str) -> dict[str, Any]:
    return {"metadata": [("x-api-key", secret)]}


async def call_with(installation: Installation, secret: str) -> GetSessionResponse:
    return await installation.session.GetSession(GetSessionRequest(), **with_key(secret))


async def refused(installation: Installation, secret: str) -> tuple[grpc.StatusCode, str]:
    found = await refusal(call_with(installation, secret))
    return found["code"], found["reason"]


INVALID = (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")
BANNED = (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_BANNED")


async def test_a_key_stands_for_a_token(installation: Installation, tmp_path: Path) -> None:
    made = await generate(installation, "scope = telemetry:write", display_name="bridge ☃")
    assert made.secret.startswith("slak_default.")
    key = made.api_key
    assert (key.display_name, key.revoked) == ("bridge ☃", False)
    assert list(key.caveats) == ["tenant = default", "scope = telemetry:write"]
    assert not key.HasField("expire_time")
    assert not key.HasField("last_use_time")
    age = datetime.now(UTC) - key.create_time.ToDatetime(UTC)
    assert timedelta() <= age < timedelta(minutes=5)
    found = await call_with(installation, made.secret)
    assert (found.tenant_id, list(found.scopes)) == ("default", ["telemetry:write"])
    assert await keys_of(installation) == [key]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("spacelink.db*"))
    assert hashlib.sha256(made.secret.encode()).digest() in stored
    assert made.secret.encode() not in stored
    assert made.secret.rpartition(".")[2].encode() not in stored


async def test_a_key_may_do_no_more_than_its_token(installation: Installation) -> None:
    made = await generate(installation, "scope = telemetry:write")
    call = installation.token.ListTokens(ListTokensRequest(), **with_key(made.secret))
    assert (await refusal(call))["reason"] == "SCOPE_DENIED"


@pytest.mark.parametrize("change", [str.upper, lambda s: s[:-1], lambda s: s + "A", lambda s: f" {s}"])
async def test_only_the_key_itself_is_good(installation: Installation, change: Any) -> None:
    made = await generate(installation)
    assert await refused(installation, change(made.secret)) == INVALID


async def test_keys_that_do_not_exist_are_all_answered_alike(installation: Installation) -> None:
    secret = (await generate(installation)).secret
    prefix, key_id, text = secret.split(".")
    other = "A" if text[0] != "A" else "B"
    for made_up in (
        f"{prefix}.{key_id}.{other}{text[1:]}",
        f"{prefix}.{'0' * 32}.{text}",
        f"slak_acme.{key_id}.{text}",
        "slak_",
        "x",
        installation.operator,
    ):
        found = await refusal(call_with(installation, made_up))
        assert found["message"] == "the credential is not valid"
        assert (found["code"], found["reason"]) == INVALID


async def test_a_key_inherits_from_its_minter_and_ends_with_it(installation: Installation) -> None:
    partner = await mint(installation, installation.operator, "scope = partners:* telemetry:*")
    leaf = narrowed(partner, device="site-7/*")
    made = await generate(installation, "scope = telemetry:write", caller=leaf)
    assert list(made.api_key.caveats) == [
        "tenant = default",
        "scope = partners:* telemetry:*",
        "device = site-7/*",
        "scope = telemetry:write",
    ]
    await ban(installation, installation.operator, token=partner)
    assert await refused(installation, made.secret) == BANNED


async def test_a_key_ends_with_its_token(installation: Installation) -> None:
    made = await generate(installation, "expires = 2199-01-01T00:00:00Z")
    assert made.api_key.expire_time.ToDatetime(UTC) == datetime(2199, 1, 1, tzinfo=UTC)
    soon = datetime.now(UTC) + timedelta(seconds=60)
    made = await generate(installation, f"expires = {soon:%Y-%m-%dT%H:%M:%SZ}")
    await call_with(installation, made.secret)
    installation.clock.ahead = 61
    assert await refused(installation, made.secret) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_repeated_call_makes_one_key_and_shows_it_once(installation: Installation) -> None:
    first, second, third = [await generate(installation, display_name="a", request_id="r") for _ in range(3)]
    assert first.secret
    assert (second.secret, third.secret) == ("", "")
    assert first.api_key == second.api_key == third.api_key
    assert await keys_of(installation) == [first.api_key]
    found = await refusal(generate(installation, display_name="b", request_id="r"))
    assert found["reason"] == "REQUEST_ID_REUSED"


async def test_lists_keys_newest_first_in_pages(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    await generate(installation, caller=acme)
    made = [(await generate(installation, f"label = {n}")).api_key for n in range(5)]
    found: list[ApiKey] = []
    page_token = ""
    for _ in range(3):
        request = ListApiKeysRequest(page_size=2, page_token=page_token)
        answer = await installation.partner.ListApiKeys(request, **bearer(installation.operator))
        found += answer.api_keys
        page_token = answer.next_page_token
    assert (found, page_token) == (made[::-1], "")


async def test_a_revoked_key_is_over_at_once(installation: Installation) -> None:
    made = await generate(installation, "scope = *:*")
    other = await generate(installation)
    answer = await installation.token.MintToken(MintTokenRequest(), **with_key(made.secret))
    await revoke(installation, made.api_key)
    await revoke(installation, made.api_key)
    assert await refused(installation, made.secret) == INVALID
    found = await refusal(installation.session.GetSession(GetSessionRequest(), **bearer(answer.token)))
    assert (found["code"], found["reason"]) == BANNED
    await call_with(installation, other.secret)
    assert [key.revoked for key in await keys_of(installation)] == [False, True]
    assert len(await audited(installation, "default", "api_key.revoke")) == 2


async def test_a_revoked_key_stays_revoked_though_its_ban_is_lifted(installation: Installation) -> None:
    made = await generate(installation)
    await revoke(installation, made.api_key)
    caller = bearer(installation.operator)
    (entry,) = (await installation.governance.ListBans(ListBansRequest(), **caller)).bans
    assert made.api_key.key_id in entry.reason
    await installation.governance.UnbanToken(UnbanTokenRequest(ban_id=entry.ban_id), **caller)
    assert await refused(installation, made.secret) == INVALID


async def test_a_rotated_key_stays_good_for_a_while(installation: Installation) -> None:
    old = await generate(installation, "scope = telemetry:write", display_name="bridge")
    await call_with(installation, old.secret)
    new = await rotate(installation, old.api_key, overlap=Duration(seconds=60))
    assert new.api_key.key_id != old.api_key.key_id
    assert (new.api_key.display_name, new.api_key.caveats) == ("bridge", old.api_key.caveats)
    for secret in (new.secret, old.secret):
        await call_with(installation, secret)
    installation.clock.ahead = 61
    assert await refused(installation, old.secret) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    await call_with(installation, new.secret)
    await installation.api_keys.settle()
    assert await refused(installation, old.secret) == INVALID
    assert [key.revoked for key in await keys_of(installation)] == [False, True]


async def test_a_key_is_rotated_at_once(installation: Installation) -> None:
    old = await generate(installation)
    new = await rotate(installation, old.api_key, overlap=NOW)
    assert await refused(installation, old.secret) == INVALID
    await call_with(installation, new.secret)


async def test_a_rotated_key_has_a_day_unless_told_otherwise(installation: Installation) -> None:
    old = await generate(installation)
    await rotate(installation, old.api_key)
    left = (await keys_of(installation))[1].expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=55) < left <= timedelta(hours=24)


async def test_a_key_rotates_itself(installation: Installation) -> None:
    """The new key takes the place of the old one: it does not end with it, but with whom both come from."""
    partner = await mint(installation, installation.operator, "label = partner")
    old = await generate(installation, caller=partner)
    new = await rotate(installation, old.api_key, with_key(old.secret), overlap=Duration(seconds=30))
    installation.clock.ahead = 31
    await installation.api_keys.settle()
    assert await refused(installation, old.secret) == INVALID
    await call_with(installation, new.secret)
    for target in ({"token": partner}, {"token_id": token_id(partner)}):
        made = await ban(installation, installation.operator, **target)
        assert await refused(installation, new.secret) == BANNED
        request = UnbanTokenRequest(ban_id=made.ban_id)
        await installation.governance.UnbanToken(request, **bearer(installation.operator))
    await call_with(installation, new.secret)


async def test_a_key_that_replaces_itself_at_once_is_shown_the_new_one(installation: Installation) -> None:
    old = await generate(installation)
    new = await rotate(installation, old.api_key, with_key(old.secret), overlap=NOW)
    assert await refused(installation, old.secret) == INVALID
    await call_with(installation, new.secret)


async def test_who_rotates_a_key_gets_no_more_than_it_may_itself(installation: Installation) -> None:
    old = await generate(installation, "scope = *:*")
    weak = await mint(installation, installation.operator, "scope = partners:write")
    new = await rotate(installation, old.api_key, bearer(weak))
    call = installation.token.ListTokens(ListTokensRequest(), **with_key(new.secret))
    assert (await refusal(call))["reason"] == "SCOPE_DENIED"
    await ban(installation, installation.operator, token=weak)
    assert await refused(installation, new.secret) == BANNED


async def test_rotating_does_not_start_limits_anew(installation: Installation) -> None:
    partner = await mint(installation, installation.operator, "quota = 900/day")
    key = (await generate(installation, "rate_limit = 5/day", caller=partner)).api_key
    first = await installation.database.read(lambda c: tokens.page(c, "default", None, 1))
    for _ in range(3):
        key = (await rotate(installation, key, overlap=Duration(seconds=60))).api_key
    newest = await installation.database.read(lambda c: tokens.page(c, "default", None, 1))
    digests = installation.minter.digests(first[0])
    assert digests is not None
    caveats = first[0].caveats
    assert caveats == ("tenant = default", "quota = 900/day", "rate_limit = 5/day")
    inherited = {(limit.digest, limit.caveat) for limit in newest[0].inherited_limits}
    assert inherited >= {(digests[2], "quota = 900/day"), (digests[3], "rate_limit = 5/day")}
    assert inherited >= {(limit.digest, limit.caveat) for limit in first[0].inherited_limits}
    assert newest[0].caveats == caveats


async def test_a_limit_holds_across_rotation(installation: Installation) -> None:
    old = await generate(installation, "rate_limit = 3/day")
    for _ in range(2):
        await call_with(installation, old.secret)
    new = await rotate(installation, old.api_key, overlap=Duration(seconds=60))
    await call_with(installation, new.secret)
    for secret in (old.secret, new.secret):
        assert await refused(installation, secret) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


async def test_what_has_ended_is_not_rotated(installation: Installation) -> None:
    revoked, banned, expired = [(await generate(installation)).api_key for _ in range(3)]
    await revoke(installation, revoked)
    listed = await installation.token.ListTokens(ListTokensRequest(), **bearer(installation.operator))
    await ban(installation, installation.operator, token_id=listed.tokens[1].token_id)
    await rotate(installation, expired, overlap=Duration(seconds=60))
    installation.clock.ahead = 61
    for key in (revoked, banned, expired):
        found = await refusal(rotate(installation, key))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.FAILED_PRECONDITION, "API_KEY_ENDED")


async def test_a_key_ends_with_the_tenants_key(installation: Installation) -> None:
    made = await generate(installation)
    await call_with(installation, made.secret)
    request = RotateTenantKeyRequest(overlap=NOW)
    await installation.tenant.RotateTenantKey(request, **bearer(installation.operator))
    assert await refused(installation, made.secret) == INVALID
    await call_with(installation, (await generate(installation)).secret)


async def test_a_key_of_another_tenant_is_not_found(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    key = (await generate(installation)).api_key
    for call in (
        rotate(installation, key, bearer(acme)),
        revoke(installation, key, acme),
        revoke(installation, ApiKey(key_id="")),
    ):
        found = await refusal(call)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND")
    assert await keys_of(installation, acme) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"display_name": "x" * 1001}, "display_name"),
        ({"request_id": "a b"}, "request_id"),
        ({"caveats": ["a = b"]}, "caveats[0]"),
    ],
)
async def test_names_the_field_that_is_wrong(
    installation: Installation, fields: dict[str, Any], field: str
) -> None:
    call = installation.partner.GenerateApiKey(
        GenerateApiKeyRequest(**fields), **bearer(installation.operator)
    )
    found = await refusal(call)
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


async def test_what_is_done_to_keys_is_audited(installation: Installation) -> None:
    old = (await generate(installation, "label = a")).api_key
    new = (await rotate(installation, old, overlap=Duration(seconds=5))).api_key
    await revoke(installation, new)
    revoked, rotated, created = (await audited(installation, "default"))[:3]
    assert [event.action for event in (revoked, rotated, created)] == [
        "api_key.revoke",
        "api_key.rotate",
        "api_key.create",
    ]
    assert created.resource == f"api_key:{old.key_id}"
    assert rotated.resource == revoked.resource == f"api_key:{new.key_id}"
    assert f'"replaces":"{old.key_id}"' in rotated.detail_json
    assert '"caveats":["tenant = default","label = a"]' in created.detail_json


async def test_tells_to_the_minute_when_a_key_was_last_used(installation: Installation) -> None:
    made = await generate(installation)
    other = await generate(installation)
    await call_with(installation, made.secret)
    await asyncio.gather(installation.api_keys.settle(), installation.api_keys.settle())
    listed = {key.key_id: key for key in await keys_of(installation)}
    used = listed[made.api_key.key_id].last_use_time.ToDatetime(UTC)
    assert used.second == used.microsecond == 0
    assert timedelta() <= datetime.now(UTC) - used < timedelta(minutes=5)
    assert not listed[other.api_key.key_id].HasField("last_use_time")


async def test_a_key_of_a_tenant_is_good_in_that_tenant(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    request = GenerateApiKeyRequest()
    call = installation.partner.GenerateApiKey(request, **bearer(installation.operator, "acme"))
    assert (await call_with(installation, (await call).secret)).tenant_id == "acme"
