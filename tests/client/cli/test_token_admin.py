"""`spacelink token mint`, `list`, `ban`, `unban`, `bans` and `graph`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.admin.v1 import governance_pb2, token_pb2
from spacelink.token import Token
from tests.client.cli.conftest import Ask
from tests.client.recorder import Recorder
from tests.client.tokens import minted

NOON = Timestamp(seconds=int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()))
TOKEN, LEAKED = minted(), minted("label = leaked")
SIGNATURE = LEAKED.macaroon.signature.hex()
TOKEN_ID = LEAKED.identifier.token_id


@pytest.fixture
def leaked_file(tmp_path: Path) -> str:
    path = tmp_path / "leaked.token"
    path.write_text(f"{LEAKED}\n")
    return str(path)


def test_mint_prints_the_token_alone(ask: Ask, recorder: Recorder) -> None:
    recorder.answers["MintToken"] = token_pb2.MintTokenResponse(token=str(TOKEN))
    result = ask(
        *("token", "mint", "--tenant", "acme", "--scope", "telemetry:write", "--scope", "telemetry:read"),
        *("--device", "site-7/*", "--expires", "2099-01-01T12:00:00Z", "--rate-limit", "100/minute"),
        SPACELINK_TOKEN=str(minted()),
    )
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{TOKEN}\n", "")
    request = recorder.take("MintToken").request
    assert request.tenant_id == "acme"
    assert set(request.caveats) == {
        "scope = telemetry:write telemetry:read",
        "device = site-7/*",
        "expires = 2099-01-01T12:00:00Z",
        "rate_limit = 100/minute",
    }


def test_mint_takes_the_installation_for_a_tenant(ask: Ask, recorder: Recorder) -> None:
    recorder.answers["MintToken"] = token_pb2.MintTokenResponse(token=str(TOKEN))
    assert ask("token", "mint", "--tenant", "*").exit_code == 0
    call = recorder.take("MintToken")
    assert call.request.tenant_id == "*"
    assert "x-spacelink-tenant" not in call.metadata


def test_the_list_of_minted_tokens(ask: Ask, recorder: Recorder) -> None:
    token = token_pb2.MintedToken(token_id="t", caveats=["a"], mint_time=NOON, minter="user:anna")
    recorder.answers["ListTokens"] = token_pb2.ListTokensResponse(tokens=[token])
    assert json.loads(ask("token", "list", "--tenant", "acme").stdout) == {
        "token_id": "t",
        "caveats": ["a"],
        "mint_time": "2026-01-31T12:00:00Z",
        "minter": "user:anna",
        "banned": False,
    }
    assert recorder.take("ListTokens").request.tenant_id == "acme"


@pytest.mark.parametrize(
    ("arguments", "stdin", "field", "value"),
    [
        (["{leaked}"], None, "token", str(LEAKED)),
        (["-"], f"{LEAKED}\n", "token", str(LEAKED)),
        (["-"], f"{SIGNATURE}\n", "signature", SIGNATURE),
        (["--token-id", TOKEN_ID], None, "token_id", TOKEN_ID),
        (["--digest", "ab" * 32], None, "digest", "ab" * 32),
        (["--minted-before", "2026-01-31T12:00:00Z"], None, "minted_before", NOON),
    ],
)
def test_a_ban_names_its_target_in_one_way(
    ask: Ask,
    recorder: Recorder,
    leaked_file: str,
    arguments: list[str],
    stdin: str | None,
    field: str,
    value: Any,
) -> None:
    recorder.answers["BanToken"] = governance_pb2.BanTokenResponse(ban=governance_pb2.Ban(ban_id="b-1"))
    given = [argument.format(leaked=leaked_file) for argument in arguments]
    result = ask("token", "ban", *given, "--tenant", "*", "--reason", "in a repository", stdin=stdin)
    assert (result.exit_code, result.output) == (0, "ban b-1 is in force\n")
    request = recorder.take("BanToken").request
    assert (request.WhichOneof("target"), getattr(request, field)) == (field, value)
    assert (request.tenant_id, request.reason) == ("*", "in a repository")


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["{leaked}"], "token", str(LEAKED)),
        (["--ban-id", "b-1"], "ban_id", "b-1"),
        (["--token-id", TOKEN_ID], "token_id", TOKEN_ID),
    ],
)
def test_a_ban_is_lifted(
    ask: Ask, recorder: Recorder, leaked_file: str, arguments: list[str], field: str, value: str
) -> None:
    given = [argument.format(leaked=leaked_file) for argument in arguments]
    assert ask("token", "unban", *given).stdout == "the ban is lifted\n"
    request = recorder.take("UnbanToken").request
    assert (request.WhichOneof("target"), getattr(request, field)) == (field, value)


@pytest.mark.parametrize("command", ["ban", "unban"])
def test_one_target_is_needed(ask: Ask, recorder: Recorder, leaked_file: str, command: str) -> None:
    for arguments in ((), (leaked_file, "--token-id", TOKEN_ID)):
        result = ask("token", command, *arguments)
        assert result.exit_code == 2
        assert "expected one of FILE, " in result.stderr
    empty = ask("token", command, "-", stdin="\n")
    assert empty.exit_code == 2
    assert recorder.calls == []


def test_the_list_of_bans(ask: Ask, recorder: Recorder) -> None:
    bans = [
        governance_pb2.Ban(ban_id="b-1", digest="d"),
        governance_pb2.Ban(ban_id="b-2", minted_before=NOON),
    ]
    recorder.answers["ListBans"] = governance_pb2.ListBansResponse(bans=bans)
    told = [json.loads(line) for line in ask("token", "bans").stdout.splitlines()]
    assert [(ban["ban_id"], ban["digest"], ban["minted_before"]) for ban in told] == [
        ("b-1", "d", None),
        ("b-2", "", "2026-01-31T12:00:00Z"),
    ]


def test_the_graph_is_a_tree(ask: Ask, recorder: Recorder) -> None:
    nodes = [
        governance_pb2.TokenNode(digest="d0", token_id="t"),
        governance_pb2.TokenNode(digest="d1", parent_digest="d0", caveat="tenant = acme"),
        governance_pb2.TokenNode(
            digest="d2",
            parent_digest="d1",
            caveat="label = a",
            use_count=1234,
            last_use_time=NOON,
            banned=True,
        ),
        governance_pb2.TokenNode(digest="d3", parent_digest="d1", caveat="label = [red]\x1b[2J"),
        governance_pb2.TokenNode(digest="e0", token_id="u", use_count=1, last_use_time=NOON),
    ]
    recorder.answers["GetTokenGraph"] = governance_pb2.GetTokenGraphResponse(nodes=nodes)
    result = ask("token", "graph", "--token-id", "t", "--output", "table")
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
        "token t d0",
        "└── tenant = acme d1",
        "├── label = a d2 1,234 calls, last 2026-01-31T12:00:00Z banned",
        r"└── label = [red]\x1b[2J d3",
        "token u e0 1 call, last 2026-01-31T12:00:00Z",
    ]
    assert recorder.take("GetTokenGraph").request.token_id == "t"
    first = json.loads(ask("token", "graph").stdout.splitlines()[0])
    assert (first["digest"], first["token_id"], first["use_count"]) == ("d0", "t", 0)


@pytest.mark.parametrize(
    ("token", "flags", "whose"),
    [
        (minted(tenant="*"), (), "tokens of all tenants, which the token is good for; --tenant ID shows"),
        (
            minted("tenant = acme", tenant="*"),
            (),
            "tokens of tenant acme, the only one that the token",
        ),
        (minted(), (), "tokens of tenant acme, the only one"),
        (minted(tenant="*"), ("--tenant", "globex"), ""),
        (None, (), "tokens of the tenant that the credential is good for"),
    ],
)
def test_the_graph_says_whose_tokens_it_shows(
    ask: Ask, recorder: Recorder, token: Token | None, flags: tuple[str, ...], whose: str
) -> None:
    credential = {"SPACELINK_API_KEY": "slak_a.b.c"} if token is None else {"SPACELINK_TOKEN": str(token)}
    result = ask("token", "graph", *flags, "--output", "table", **credential)
    assert result.stderr.startswith(whose)
    assert result.stderr.endswith("no tokens were presented yet\n")
    assert recorder.take("GetTokenGraph").request.tenant_id == (flags[1] if flags else "")


def test_the_graph_of_a_tenant_begins_where_it_was_narrowed(ask: Ask, recorder: Recorder) -> None:
    nodes = [
        governance_pb2.TokenNode(digest="d1", parent_digest="d0", token_id="t", caveat="tenant = acme"),
        governance_pb2.TokenNode(digest="d2", parent_digest="d1", token_id="t", caveat="label = a"),
    ]
    recorder.answers["GetTokenGraph"] = governance_pb2.GetTokenGraphResponse(nodes=nodes)
    result = ask("token", "graph", "--output", "table")
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
        "token t: tenant = acme d1",
        "└── label = a d2",
    ]
