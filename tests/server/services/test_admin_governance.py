from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.admin.v1.governance_pb2 import (
    Ban,
    BanTokenRequest,
    GetTokenGraphRequest,
    ListBansRequest,
    TokenNode,
    UnbanTokenRequest,
)
from spacelink.token import Token
from spacelink.v1.session_pb2 import GetSessionRequest
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
    from collections.abc import Callable

    from tests.server.installation import Installation


BANNED = (grpc.StatusCode.PERMISSION_DENIED, "the token is banned")


async def unban(installation: Installation, **target: Any) -> None:
    await installation.governance.UnbanToken(UnbanTokenRequest(**target), **bearer(installation.operator))


async def is_good(installation: Installation, text: str) -> bool:
    """Tell whether a call with the token goes through; if not, it must be for a ban."""
    try:
        await installation.session.GetSession(GetSessionRequest(), **bearer(text))
    except grpc.aio.AioRpcError as error:
        if (error.code(), error.details()) != BANNED:
            raise
        return False
    return True


async def are_good(installation: Installation, *texts: str) -> list[bool]:
    return [await is_good(installation, text) for text in texts]


def signature(text: str) -> bytes:
    return Token.parse(text).macaroon.signature


def digest(text: str) -> str:
    return hashlib.sha256(signature(text)).hexdigest()


def at(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


async def bans_of(installation: Installation, tenant_id: str = "") -> list[Ban]:
    request = ListBansRequest(tenant_id=tenant_id)
    answer = await installation.governance.ListBans(request, **bearer(installation.operator))
    return list(answer.bans)


@pytest.fixture
async def parent(installation: Installation) -> str:
    return await mint(installation, installation.operator, "label = parent")


TARGETS: dict[str, Callable[[str], dict[str, str]]] = {
    "token": lambda text: {"token": text},
    "signature": lambda text: {"signature": signature(text).hex()},
    "SIGNATURE": lambda text: {"signature": signature(text).hex().upper()},
    "digest": lambda text: {"digest": digest(text)},
    "token_id": lambda text: {"token_id": token_id(text)},
}


@pytest.mark.parametrize("target", TARGETS)
async def test_a_ban_ends_a_token_and_all_that_descends_from_it(
    installation: Installation, parent: str, target: str
) -> None:
    leaf = narrowed(parent, label="leaf")
    minted = await mint(installation, leaf, "label = minted")
    of_minted = narrowed(minted, label="of-minted")
    other = await mint(installation, installation.operator, "label = other")
    family = (parent, leaf, minted, of_minted)
    assert await are_good(installation, *family, other) == [True] * 5
    made = await ban(installation, installation.operator, **TARGETS[target](parent))
    assert await are_good(installation, *family) == [False] * 4
    assert await are_good(installation, other, installation.operator) == [True, True]
    await unban(installation, ban_id=made.ban_id)
    assert await are_good(installation, *family) == [True] * 4


async def test_a_ban_of_a_middle_token_spares_its_siblings_and_its_parent(
    installation: Installation, parent: str
) -> None:
    middle, sibling = (narrowed(parent, label=name) for name in ("middle", "sibling"))
    leaves = [narrowed(middle, label=f"leaf-{n}") for n in range(3)]
    await ban(installation, installation.operator, token=middle)
    assert await are_good(installation, middle, *leaves) == [False] * 4
    assert await are_good(installation, parent, sibling, narrowed(sibling, label="x")) == [True] * 3


async def test_narrowing_a_banned_token_does_not_revive_it(installation: Installation, parent: str) -> None:
    await ban(installation, installation.operator, token=parent)
    assert not await is_good(installation, narrowed(narrowed(parent, label="a"), scope="*:*"))


async def test_a_ban_ends_what_a_minted_token_minted(installation: Installation, parent: str) -> None:
    child = await mint(installation, parent)
    grandchild = await mint(installation, child)
    for target in ({"token": parent}, {"token_id": token_id(parent)}):
        made = await ban(installation, installation.operator, **target)
        assert await are_good(installation, child, grandchild) == [False, False]
        await unban(installation, ban_id=made.ban_id)
        assert await are_good(installation, child, grandchild) == [True, True]


async def test_bans_all_minted_before_a_time(installation: Installation, parent: str) -> None:
    made = await ban(installation, installation.operator, minted_before=at(datetime.now(UTC)))
    assert made.WhichOneof("target") == "minted_before"
    later = await mint(installation, installation.operator)
    assert await are_good(installation, parent, later, installation.operator) == [False, True, True]
    await unban(installation, ban_id=made.ban_id)
    assert await is_good(installation, parent)


async def test_bans_nothing_that_is_minted_later(installation: Installation, parent: str) -> None:
    target = BanTokenRequest(minted_before=at(datetime.now(UTC) + timedelta(minutes=1)))
    found = await refusal(installation.governance.BanToken(target, **bearer(installation.operator)))
    assert found["BadRequest"].field_violations[0].field == "minted_before"
    assert await is_good(installation, parent)


@pytest.mark.parametrize("target", ["token", "signature", "token_id"])
async def test_lifts_a_ban_by_what_it_bans(installation: Installation, parent: str, target: str) -> None:
    await ban(installation, installation.operator, **TARGETS[target](parent))
    await unban(installation, **TARGETS[target](parent))
    assert await is_good(installation, parent)
    assert await bans_of(installation) == []


async def test_a_ban_that_is_there_already_is_not_made_twice(installation: Installation, parent: str) -> None:
    first = await ban(installation, installation.operator, token=parent, reason="leaked")
    second = await ban(installation, installation.operator, digest=digest(parent), tenant_id="default")
    assert second == first
    assert len(await audited(installation, "default", "token.ban")) == 1


async def test_a_ban_tells_what_why_when_and_who(installation: Installation, parent: str) -> None:
    made = await ban(
        installation, narrowed(installation.operator, label="ops"), token=parent, reason="leaked"
    )
    assert await bans_of(installation) == [made]
    assert (made.tenant_id, made.reason, made.digest) == ("default", "leaked", digest(parent))
    assert made.actor == f"token:{token_id(installation.operator)}/ops"
    age = datetime.now(UTC) - made.create_time.ToDatetime(UTC)
    assert timedelta() <= age < timedelta(minutes=5)


async def test_who_bans_its_own_token_is_told_so(installation: Installation, parent: str) -> None:
    for _ in range(2):
        admin = narrowed(parent, scope="governance:*")
        made = await ban(installation, admin, token=parent)
        assert made.digest == digest(parent)
        assert await are_good(installation, admin, parent) == [False, False]
        await unban(installation, ban_id=made.ban_id)


async def test_bans_are_audited_by_their_digests(installation: Installation, parent: str) -> None:
    made = await ban(installation, installation.operator, signature=signature(parent).hex(), reason="r")
    await unban(installation, signature=signature(parent).hex())
    lifted, banned = (await audited(installation, "*"))[:2]
    assert [lifted.action, banned.action] == ["token.unban", "token.ban"]
    assert lifted.resource == banned.resource == f"digest:{digest(parent)}"
    assert banned.detail_json == f'{{"ban_id":"{made.ban_id}","reason":"r"}}'
    assert signature(parent).hex() not in str((lifted, banned))


async def test_lists_bans_newest_first_in_pages(installation: Installation) -> None:
    made = [await ban(installation, installation.operator, digest=f"{n:064x}") for n in range(5)]
    found: list[Ban] = []
    page_token = ""
    for _ in range(3):
        request = ListBansRequest(page_size=2, page_token=page_token)
        answer = await installation.governance.ListBans(request, **bearer(installation.operator))
        found += answer.bans
        page_token = answer.next_page_token
    assert (found, page_token) == (made[::-1], "")


async def test_a_tenant_bans_its_own_tokens_only(installation: Installation) -> None:
    acme, globex = [await tenant_admin(installation, name) for name in ("acme", "globex")]
    for target in (
        {"token": globex},
        {"token": globex, "tenant_id": "acme"},
        {"token": installation.operator},
    ):
        found = await refusal(ban(installation, acme, **target))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_TENANT")
    found = await refusal(ban(installation, acme, token_id=token_id(globex)))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND")
    await ban(installation, acme, digest=digest(globex))
    assert await is_good(installation, globex)
    leaf = narrowed(acme, label="leaf")
    await ban(installation, acme, token=leaf)
    assert await are_good(installation, leaf, acme) == [False, True]


async def test_an_operator_bans_a_token_of_whichever_tenant(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    made = await ban(installation, installation.operator, token=narrowed(acme, label="leaf"))
    assert made.tenant_id == "acme"
    assert await bans_of(installation, "acme") == await bans_of(installation) == [made]
    assert await bans_of(installation, "default") == []
    await unban(installation, token=narrowed(acme, label="leaf"))
    assert await bans_of(installation) == []


@pytest.mark.parametrize("target", ["signature", "digest"])
async def test_an_operator_who_does_not_know_whose_a_signature_is_bans_it_for_all(
    installation: Installation, target: str
) -> None:
    acme, globex = [await tenant_admin(installation, name) for name in ("acme", "globex")]
    narrow = narrowed(installation.operator, tenant="globex", label="narrow")
    leaf, minted = narrowed(acme, label="leaf"), await mint(installation, acme)
    bans = [
        await ban(installation, installation.operator, **TARGETS[target](each)) for each in (acme, narrow)
    ]
    assert [made.tenant_id for made in bans] == ["*", "*"]
    assert await are_good(installation, acme, leaf, minted, narrow) == [False] * 4
    assert await are_good(installation, globex, installation.operator) == [True, True]
    # It is not for the tenants to lift.
    assert [list(await bans_of(installation, name)) for name in ("acme", "default")] == [[], []]
    request = UnbanTokenRequest(ban_id=bans[1].ban_id)
    found = await refusal(installation.governance.UnbanToken(request, **bearer(globex)))
    assert found["reason"] == "BAN_NOT_FOUND"
    await unban(installation, token=acme)
    await unban(installation, ban_id=bans[1].ban_id)
    assert await are_good(installation, acme, leaf, minted, narrow) == [True] * 4


async def test_an_operator_who_names_a_tenant_bans_a_signature_in_that_one(
    installation: Installation, parent: str
) -> None:
    acme = await tenant_admin(installation, "acme")
    named = BanTokenRequest(digest=digest(acme))
    by_metadata = (await installation.governance.BanToken(named, **bearer(installation.operator, "acme"))).ban
    by_request = await ban(installation, installation.operator, digest=digest(parent), tenant_id="acme")
    assert (by_metadata.tenant_id, by_request.tenant_id) == ("acme", "acme")
    assert await are_good(installation, acme, parent) == [False, True]


async def test_an_operator_lifts_and_lists_the_bans_of_all_tenants(
    installation: Installation, parent: str
) -> None:
    acme = await tenant_admin(installation, "acme")
    by_token = await ban(installation, installation.operator, token=acme)
    by_id = await ban(installation, installation.operator, token_id=token_id(parent))
    everywhere = await ban(installation, installation.operator, digest=digest(acme))
    assert await bans_of(installation) == await bans_of(installation, "*") == [everywhere, by_id, by_token]
    await unban(installation, signature=signature(acme).hex())
    assert await bans_of(installation) == [by_id]
    assert await is_good(installation, acme)
    await unban(installation, token_id=token_id(parent))
    assert await bans_of(installation) == []


async def test_a_tenant_cannot_lock_the_operator_out(installation: Installation) -> None:
    """A tenant's admin that holds a narrowed operator's token can learn the digests before it."""
    await create_tenant(installation, "acme")
    admin = narrowed(installation.operator, tenant="acme")
    # The ban ends the tokens of acme that descend from the operator's, its own among them.
    await ban(installation, admin, digest=digest(installation.operator))
    assert await are_good(installation, admin, installation.operator) == [False, True]


async def test_a_ban_of_another_tenant_is_not_found(installation: Installation, parent: str) -> None:
    acme = await tenant_admin(installation, "acme")
    made = await ban(installation, installation.operator, token=parent)
    request = UnbanTokenRequest(ban_id=made.ban_id)
    found = await refusal(installation.governance.UnbanToken(request, **bearer(acme)))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "BAN_NOT_FOUND")


async def test_an_operators_token_can_be_banned_by_another_operator(installation: Installation) -> None:
    second = await mint(installation, installation.operator, tenant_id="*")
    made = await ban(installation, installation.operator, token=second)
    assert made.tenant_id == "*"
    assert await are_good(installation, second, narrowed(second, tenant="default")) == [False, False]


async def test_refuses_to_ban_what_is_not_authentic(installation: Installation, parent: str) -> None:
    token = Token.parse(parent)
    forged = str(Token.decode(token.data[:-1] + bytes([token.data[-1] ^ 1])))
    found = await refusal(ban(installation, installation.operator, token=forged))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TOKEN")
    assert await bans_of(installation) == []


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ({}, "target"),
        ({"token": "slk_x"}, "token"),
        ({"signature": "0" * 63}, "signature"),
        ({"signature": "g" * 64}, "signature"),
        ({"digest": ""}, "digest"),
        ({"minted_before": Timestamp(seconds=-1)}, "minted_before"),
        ({"digest": "0" * 64, "reason": "x" * 1001}, "reason"),
    ],
)
async def test_names_the_field_that_is_wrong(
    installation: Installation, target: dict[str, Any], field: str
) -> None:
    found = await refusal(ban(installation, installation.operator, **target))
    assert found["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


@pytest.mark.parametrize(
    "target", [{"ban_id": "0" * 32}, {"token_id": "0" * 32}, {"token_id": ""}, {"signature": "0" * 64}]
)
async def test_a_ban_that_is_not_there_cannot_be_lifted(
    installation: Installation, target: dict[str, Any]
) -> None:
    request = UnbanTokenRequest(**target)
    found = await refusal(installation.governance.UnbanToken(request, **bearer(installation.operator)))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "BAN_NOT_FOUND")


async def graph(installation: Installation, caller: str, **fields: str) -> list[TokenNode]:
    request = GetTokenGraphRequest(**fields)
    answer = await installation.governance.GetTokenGraph(request, **bearer(caller))
    return list(answer.nodes)


async def test_the_graph_tells_what_descends_from_what(installation: Installation, parent: str) -> None:
    middle = narrowed(parent, label="middle")
    leaf = narrowed(middle, label="leaf")
    for text, uses in ((middle, 1), (leaf, 3)):
        assert await are_good(installation, *[text] * uses) == [True] * uses
    nodes = await graph(installation, installation.operator, token_id=token_id(parent))
    assert [(node.caveat, node.use_count) for node in nodes] == [
        ("", 0),
        ("tenant = default", 0),
        ("label = parent", 0),
        ("label = middle", 1),
        ("label = leaf", 3),
    ]
    assert [node.parent_digest for node in nodes] == ["", *(node.digest for node in nodes[:-1])]
    assert [node.digest for node in nodes[2:]] == [digest(text) for text in (parent, middle, leaf)]
    assert {node.token_id for node in nodes} == {token_id(parent)}
    assert nodes[3].first_use_time.ToNanoseconds() <= nodes[3].last_use_time.ToNanoseconds()


async def test_the_graph_tells_what_is_banned(installation: Installation, parent: str) -> None:
    middle, sibling = (narrowed(parent, label=name) for name in ("middle", "sibling"))
    leaf = narrowed(middle, label="leaf")
    await are_good(installation, leaf, sibling)
    await ban(installation, installation.operator, token=middle)
    nodes = await graph(installation, installation.operator, token_id=token_id(parent))
    assert {node.caveat for node in nodes if node.banned} == {"label = middle", "label = leaf"}
    assert {node.caveat for node in nodes if not node.banned} == {
        "",
        "tenant = default",
        "label = parent",
        "label = sibling",
    }


async def test_the_graph_is_of_one_tenant(installation: Installation) -> None:
    acme, globex = [await tenant_admin(installation, name) for name in ("acme", "globex")]
    await is_good(installation, globex)
    assert {node.token_id for node in await graph(installation, acme)} == {token_id(acme)}
    found = await refusal(graph(installation, acme, tenant_id="globex"))
    assert found["reason"] == "WRONG_TENANT"


async def test_without_a_tenant_an_operators_graph_is_of_all(installation: Installation) -> None:
    acme, globex = [await tenant_admin(installation, name) for name in ("acme", "globex")]
    await are_good(installation, acme, globex)
    own = token_id(installation.operator)
    ids = {node.token_id for node in await graph(installation, installation.operator)}
    assert ids >= {token_id(acme), token_id(globex), own}
    found = await graph(installation, installation.operator, tenant_id="globex")
    assert token_id(globex) in {node.token_id for node in found}
    assert token_id(acme) not in {node.token_id for node in found}


async def test_the_graph_of_a_tenant_has_what_was_narrowed_to_it(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    ada = narrowed(installation.operator, label="ada")
    visitor = narrowed(ada, tenant="acme", label="visitor")
    await are_good(installation, ada, visitor, narrowed(ada, label="elsewhere"))
    for caller, fields in (
        (acme, {}),
        (visitor, {}),
        (installation.operator, {"tenant_id": "acme"}),
    ):
        nodes = await graph(installation, caller, token_id=token_id(visitor), **fields)
        # Not what the operator did elsewhere.
        assert [node.caveat for node in nodes] == ["tenant = acme", "label = visitor"]
        assert nodes[-1].digest == digest(visitor)
        assert not nodes[-1].banned
    await ban(installation, installation.operator, token=ada)
    nodes = await graph(installation, acme, token_id=token_id(visitor))
    assert [node.banned for node in nodes] == [True, True]
