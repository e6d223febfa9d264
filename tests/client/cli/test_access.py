"""`spacelink session`, `api-key`, `tenant` and `user`: what they ask, and what they print."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.admin.v1 import account_pb2, tenant_pb2
from spacelink.v1 import partner_pb2, session_pb2
from tests.client.cli.conftest import Ask, terminal
from tests.client.recorder import Recorder
from tests.client.tokens import minted

NOON = Timestamp(seconds=int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()))
TOKEN = minted()
PASSWORD = "correct horse, battery: staple"
SECRET = "slak_acme.key.secret"


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return str(path)


def test_login_prints_the_token_alone(ask: Ask, recorder: Recorder, password_file: str) -> None:
    recorder.answers["CreateSession"] = session_pb2.CreateSessionResponse(token=str(TOKEN))
    result = ask("session", "login", "anna", "--tenant", "acme", "--password-file", password_file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{TOKEN}\n", "")
    request = recorder.take("CreateSession").request
    assert (request.user_name, request.password, request.tenant_id) == ("anna", PASSWORD, "acme")
    assert ask("session", "login", "anna", "--password-file", "-", stdin=PASSWORD).exit_code == 0
    assert recorder.take("CreateSession").request.password == PASSWORD


def test_who_has_no_credential_yet_needs_none(
    ask: Ask, recorder: Recorder, password_file: str, tmp_path: Path
) -> None:
    """What an earlier server left in the environment is no obstacle."""
    recorder.answers["CreateSession"] = session_pb2.CreateSessionResponse(token=str(TOKEN))
    gone = {"SPACELINK_TOKEN_FILE": str(tmp_path / "gone")}
    result = ask("session", "login", "anna", "--password-file", password_file, **gone)
    assert (result.exit_code, result.stdout) == (0, f"{TOKEN}\n")
    assert "authorization" not in recorder.take("CreateSession").metadata


def test_a_password_is_asked_for_and_not_shown(recorder: Recorder, tmp_path: Path) -> None:
    recorder.answers["CreateSession"] = session_pb2.CreateSessionResponse(token=str(TOKEN))
    with (tmp_path / "token").open("wb") as out:
        login = ("session", "login", "anna", "--server", recorder.address)
        with terminal(*login, stdout=out.fileno()) as screen:
            screen.read_until("Password: ")
            screen.type(f"{PASSWORD}\n")
            assert screen.wait() == 0
    assert PASSWORD not in screen.text
    assert (tmp_path / "token").read_text() == f"{TOKEN}\n"
    assert recorder.take("CreateSession").request.password == PASSWORD


def test_a_new_password_is_asked_for_twice(recorder: Recorder) -> None:
    create = ("user", "create", "anna", "--role", "customer", "--admin-server", recorder.address)
    with terminal(*create) as screen:
        screen.read_until("Password: ")
        screen.type(f"{PASSWORD}\n")
        screen.read_until("Repeat for confirmation: ")
        screen.type("another\n")
        screen.read_until("do not match")
    assert PASSWORD not in screen.text
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("stdin", "flags", "problem"),
    [
        ("", (), "no password: give --password-file FILE"),
        ("", ("--password-file", "-"), "the password is empty"),
        ("\n", ("--password-file", "-"), "the password is empty"),
    ],
)
def test_without_a_password(
    ask: Ask, recorder: Recorder, stdin: str, flags: tuple[str, ...], problem: str
) -> None:
    result = ask("session", "login", "anna", *flags, stdin=stdin)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert recorder.calls == []


def test_a_password_is_no_argument(ask: Ask) -> None:
    for command in (("session", "login"), ("user", "create", "--role", "admin"), ("user", "set-password")):
        assert "No such option" in ask(*command, "anna", "--password", PASSWORD).stderr


def test_a_password_file_is_text(ask: Ask, recorder: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"\xff\xfe")
    result = ask("session", "login", "anna", "--password-file", str(path))
    assert result.exit_code == 2
    assert "expected text in UTF-8" in result.stderr


def test_show_tells_who_one_is(ask: Ask, recorder: Recorder) -> None:
    limit = session_pb2.SessionLimit(caveat="quota = 10000/day", remaining=9000, reset_time=NOON)
    recorder.answers["GetSession"] = session_pb2.GetSessionResponse(
        tenant_id="acme",
        token_id="t",
        role=session_pb2.ROLE_CUSTOMER,
        scopes=["telemetry:read"],
        expire_time=NOON,
        labels=["\x1b[2J"],
        limits=[limit],
    )
    told = json.loads(ask("session", "show").stdout)
    assert told == {
        "tenant_id": "acme",
        "token_id": "t",
        "role": "customer",
        "scopes": ["telemetry:read"],
        "expire_time": "2026-01-31T12:00:00Z",
        "labels": ["\x1b[2J"],
        "limits": [{"caveat": "quota = 10000/day", "remaining": 9000, "reset_time": "2026-01-31T12:00:00Z"}],
    }
    table = ask("session", "show", "--output", "table").stdout
    assert [" ".join(line.split()) for line in table.splitlines()] == [
        "tenant acme",
        "token_id t",
        "role customer",
        "expires 2026-01-31T12:00:00Z",
        "scope telemetry:read",
        r"label \x1b[2J",
        "quota = 10000/day 9,000 left until 2026-01-31T12:00:00Z",
    ]


def test_an_api_key_is_printed_alone(ask: Ask, recorder: Recorder) -> None:
    kept = partner_pb2.ApiKey(key_id="k-1")
    recorder.answers["GenerateApiKey"] = partner_pb2.GenerateApiKeyResponse(secret=SECRET, api_key=kept)
    recorder.answers["RotateApiKey"] = partner_pb2.RotateApiKeyResponse(secret=SECRET, api_key=kept)
    result = ask(
        "api-key", "generate", "--name", "dashboard", "--scope", "telemetry:read", "--quota", "5/day"
    )
    assert (result.exit_code, result.stdout) == (0, f"{SECRET}\n")
    assert "API key k-1" in result.stderr
    assert SECRET not in result.stderr
    request = recorder.take("GenerateApiKey").request
    assert request.display_name == "dashboard"
    assert list(request.caveats) == ["scope = telemetry:read", "quota = 5/day"]
    assert ask("api-key", "rotate", "k-1", "--overlap", "2h").stdout == f"{SECRET}\n"
    request = recorder.take("RotateApiKey").request
    assert (request.key_id, request.overlap) == ("k-1", Duration(seconds=7200))
    ask("api-key", "rotate", "k-1")
    assert not recorder.take("RotateApiKey").request.HasField("overlap")


def test_revoking_and_listing_api_keys(ask: Ask, recorder: Recorder) -> None:
    assert ask("api-key", "revoke", "k-1").stdout == "API key k-1 is revoked\n"
    assert recorder.take("RevokeApiKey").request.key_id == "k-1"
    key = partner_pb2.ApiKey(key_id="k-1", caveats=["a", "b"], create_time=NOON, revoked=True)
    recorder.answers["ListApiKeys"] = partner_pb2.ListApiKeysResponse(api_keys=[key])
    assert json.loads(ask("api-key", "list").stdout) == {
        "key_id": "k-1",
        "display_name": "",
        "caveats": ["a", "b"],
        "create_time": "2026-01-31T12:00:00Z",
        "expire_time": None,
        "last_use_time": None,
        "revoked": True,
    }
    assert ask("api-key", "list", "--output", "csv").stdout.splitlines()[1:] == [
        'k-1,,"a',
        'b",2026-01-31T12:00:00Z,,,True',
    ]
    table = [line.split() for line in ask("api-key", "list", "--output", "table").stdout.splitlines()]
    assert ["k-1", "a", "2026-01-31T12:00:00Z", "-", "-", "yes"] in table
    assert ["b"] in table


def test_a_list_of_nothing_says_so_on_a_table_only(ask: Ask) -> None:
    for command, things in (
        (("api-key", "list"), "API keys"),
        (("user", "list"), "users"),
        (("tenant", "list"), "tenants"),
        (("token", "list"), "tokens"),
        (("token", "bans"), "bans"),
    ):
        assert ask(*command, "--output", "table").stderr == f"no {things}\n"
        assert ask(*command, "--output", "json").output == ""


def test_a_bound_that_is_none_is_a_usage_error(ask: Ask, recorder: Recorder) -> None:
    for command in (("api-key", "generate"), ("token", "mint")):
        result = ask(*command, "--rate-limit", "often")
        assert result.exit_code == 2
        assert "--rate-limit: expected amount/unit" in result.stderr
    assert recorder.calls == []


def test_creating_and_listing_tenants(ask: Ask, recorder: Recorder) -> None:
    flags = ["--name", "Acme Inc.", "--samples-per-day", "10", "--max-devices", "5", "--domain", "a.example"]
    flags += ["--raw-retention-days", "30", "--rollup-retention-days", "365"]
    assert ask("tenant", "create", "acme", *flags).stdout == "tenant acme is created\n"
    tenant = tenant_pb2.Tenant(
        tenant_id="acme",
        display_name="Acme Inc.",
        samples_per_day=10,
        max_devices=5,
        domains=["a.example"],
        raw_retention_days=30,
        rollup_retention_days=365,
    )
    assert recorder.take("CreateTenant").request.tenant == tenant
    recorder.answers["ListTenants"] = tenant_pb2.ListTenantsResponse(tenants=[tenant])
    assert json.loads(ask("tenant", "list").stdout)["domains"] == ["a.example"]


def test_an_update_changes_what_was_given(ask: Ask, recorder: Recorder) -> None:
    assert ask("tenant", "update", "acme", "--samples-per-day", "0").stdout == "tenant acme is updated\n"
    assert recorder.take("UpdateTenant").request == tenant_pb2.UpdateTenantRequest(
        tenant_id="acme", samples_per_day=0
    )
    ask("tenant", "update", "acme", "--domain", "a.example", "--domain", "b.example")
    request = recorder.take("UpdateTenant").request
    assert (list(request.domains), request.update_domains) == (["a.example", "b.example"], True)
    ask("tenant", "update", "acme", "--no-domains")
    request = recorder.take("UpdateTenant").request
    assert (list(request.domains), request.update_domains) == ([], True)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--no-domains", "--domain", "a.example"),
        ("--max-devices", "-1"),
        ("--samples-per-day", str(2**63)),
    ],
)
def test_an_update_that_cannot_be_is_refused(ask: Ask, recorder: Recorder, flags: tuple[str, ...]) -> None:
    assert ask("tenant", "update", "acme", *flags).exit_code == 2
    assert recorder.calls == []


def test_rotating_a_tenant_s_key(ask: Ask, recorder: Recorder) -> None:
    recorder.answers["RotateTenantKey"] = tenant_pb2.RotateTenantKeyResponse(
        key_version=2, old_key_expire_time=NOON
    )
    result = ask("tenant", "rotate-key", "acme", "--overlap", "0s")
    assert "key 2 of tenant acme" in result.stdout
    assert "until 2026-01-31T12:00:00Z" in result.stdout
    request = recorder.take("RotateTenantKey").request
    assert (request.tenant_id, request.overlap) == ("acme", Duration())
    assert request.HasField("overlap")


def test_users(ask: Ask, recorder: Recorder, password_file: str) -> None:
    user = account_pb2.User(tenant_id="acme", user_name="anna", role=session_pb2.ROLE_READ_ONLY)
    recorder.answers["CreateUser"] = account_pb2.CreateUserResponse(user=user)
    recorder.answers["ListUsers"] = account_pb2.ListUsersResponse(users=[user])
    made = ask(
        *("user", "create", "anna", "--role", "read_only"),
        *("--tenant", "acme", "--password-file", password_file),
    )
    assert made.stdout == "user anna of tenant acme is created\n"
    assert recorder.take("CreateUser").request == account_pb2.CreateUserRequest(
        tenant_id="acme", user_name="anna", password=PASSWORD, role=session_pb2.ROLE_READ_ONLY
    )
    ask("user", "set-password", "anna", "--password-file", "-", stdin="a new one\r\n")
    assert recorder.take("SetPassword").request.password == "a new one"
    assert ask("user", "set-role", "anna", "admin").stdout == "user anna has the role admin\n"
    assert recorder.take("SetRole").request.role == session_pb2.ROLE_ADMIN
    assert ask("user", "disable", "anna", "--tenant", "acme").stdout == "user anna is disabled\n"
    assert recorder.take("DisableUser").request.tenant_id == "acme"
    assert json.loads(ask("user", "list").stdout)["role"] == "read_only"


@pytest.mark.parametrize("role", ["root", "ADMIN", ""])
def test_there_is_no_such_role(ask: Ask, recorder: Recorder, role: str) -> None:
    result = ask("user", "set-role", "anna", role)
    assert result.exit_code == 2
    assert "'admin', 'partner', 'customer', 'read_only'" in result.stderr
    assert recorder.calls == []
