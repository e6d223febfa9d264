from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from spacelink._pymacaroons import mint
from spacelink.cli import main
from spacelink.token import Token, TokenIdentifier

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

KEY = b"a root key of thirty-two bytes.."
TOKEN_ID = "0123456789abcdef0123456789abcdef"


def minted(*caveats: bytes) -> Token:
    identifier = TokenIdentifier("acme", 3, TOKEN_ID)
    return Token.decode(mint(KEY, identifier.encode(), (b"tenant = acme", *caveats)))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "acme.token"
    path.write_text(f"{minted()}\n")
    return path


def run(*arguments: str, token: str | None = None, stdin: str | None = None) -> Result:
    # None takes a variable of the caller away.
    environment = {"SPACELINK_TOKEN": token, "SPACELINK_TOKEN_FILE": None}
    return CliRunner().invoke(main, ["token", *arguments], input=stdin, env=environment)


def test_attenuate_prints_a_narrower_token(token_file: Path) -> None:
    result = run(
        "attenuate",
        *("--token-file", str(token_file)),
        *("--scope", "telemetry:write", "--scope", "telemetry:read"),
        *("--device", "site-7/*", "--network", "net_x", "--ip", "192.0.2.7"),
        *("--expires", "2099-01-01T12:00:00Z", "--not-before", "2026-01-01T00:00:00Z"),
        *("--rate-limit", "100/minute", "--quota", "10000/day", "--label", "site-7", "--tenant", "acme"),
    )
    assert result.exit_code == 0, result.output
    child = Token.parse(result.stdout.removesuffix("\n"))
    assert child.macaroon.verify(KEY)[:2] == minted().macaroon.verify(KEY)
    assert set(child.macaroon.caveats[1:]) == {
        b"scope = telemetry:write telemetry:read",
        b"device = site-7/*",
        b"network = net_x",
        b"ip = 192.0.2.7/32",
        b"expires = 2099-01-01T12:00:00Z",
        b"not_before = 2026-01-01T00:00:00Z",
        b"rate_limit = 100/minute",
        b"quota = 10000/day",
        b"label = site-7",
        b"tenant = acme",
    }


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
    ],
)
def test_expires_may_be_a_duration(token_file: Path, text: str, duration: timedelta) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    result = run("attenuate", "--token-file", str(token_file), "--expires", text)
    expires = Token.parse(result.stdout.strip()).inspect().expires
    assert expires is not None
    assert before <= expires - duration <= datetime.now(UTC)


def test_the_token_may_come_from_the_environment_or_standard_input() -> None:
    narrow = ("attenuate", "--label", "a")
    by_variable = run(*narrow, token=str(minted()))
    by_stdin = run(*narrow, "--token-file", "-", stdin=f"{minted()}\n")
    assert by_variable.stdout == by_stdin.stdout == f"{minted().attenuate(label='a')}\n"


def test_the_file_goes_before_the_environment(token_file: Path) -> None:
    result = run("inspect", "--token-file", str(token_file), token=str(minted(b"label = other")))
    assert json.loads(result.stdout)["labels"] == []


def test_attenuate_names_what_is_wrong(token_file: Path) -> None:
    result = run("attenuate", "--token-file", str(token_file), "--quota", "10/week")
    assert result.exit_code == 2
    assert "--quota: expected amount/unit, such as 100/minute" in result.stderr
    assert result.stdout == ""


def test_attenuate_without_a_caveat_is_refused(token_file: Path) -> None:
    result = run("attenuate", "--token-file", str(token_file))
    assert result.exit_code == 2
    assert "nothing to narrow it with; give an option" in result.stderr


@pytest.mark.parametrize("command", [("inspect",), ("attenuate", "--label", "a")])
def test_without_a_token(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 2
    assert "give --token-file FILE, or set SPACELINK_TOKEN" in result.stderr


@pytest.mark.parametrize("text", ["slk_AAAA", f"{minted()}=", f"{minted()} {minted()}", "slk_é"])
def test_what_is_not_a_token_is_refused_and_not_repeated(text: str) -> None:
    result = run("inspect", "--token-file", "-", stdin=text)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --token-file -: not a token (slk_...): ")
    assert text[4:] not in result.stderr


def test_inspect_as_json() -> None:
    token = minted().attenuate(expires="2099-01-01T12:00:00Z", label="site-7")
    result = run("inspect", token=str(token))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "tenant": "acme",
        "issuer": "acme",
        "token_id": TOKEN_ID,
        "key_version": 3,
        "digest": hashlib.sha256(token.macaroon.signature).hexdigest(),
        "expires": "2099-01-01T12:00:00Z",
        "labels": ["site-7"],
        "caveats": [
            {"key": "tenant", "value": "acme"},
            {"key": "expires", "value": "2099-01-01T12:00:00Z"},
            {"key": "label", "value": "site-7"},
        ],
        "problems": [],
    }
    assert token.macaroon.signature.hex() not in result.stdout


def test_inspect_as_table() -> None:
    token = minted(b"device = site-7/* [bold]x[/bold]", b"label = a")
    result = run("inspect", "--output", "table", token=str(token))
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:3] == ["tenant acme", f"token_id {TOKEN_ID}", "key_version 3"]
    assert lines[3:5] == [f"digest {token.inspect().digest}", "expires never"]
    assert "caveat label = a" in lines
    assert "invalid caveat device = site-7/* [bold]x[/bold]" in lines


@pytest.mark.parametrize("output", ["table", "json"])
def test_inspect_shows_no_control_characters(output: str) -> None:
    result = run("inspect", "--output", output, token=str(minted(b"\x1b]0;x\x07label = \xc2\x9b2J")))
    assert result.exit_code == 0
    assert result.stdout.isascii()
    assert all(character.isprintable() or character == "\n" for character in result.stdout)
    assert "x1b]0;x" in result.stdout
    assert "not ASCII" in result.stdout


def operators(*caveats: bytes) -> Token:
    identifier = TokenIdentifier("*", 1, TOKEN_ID)
    return Token.decode(mint(KEY, identifier.encode(), (b"tenant = *", *caveats)))


def rows(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_inspect_shows_the_tenant_that_an_operators_token_was_narrowed_to() -> None:
    narrowed = str(operators(b"label = ada", b"tenant = acme"))
    told = json.loads(run("inspect", token=narrowed).stdout)
    assert (told["tenant"], told["issuer"]) == ("acme", "*")
    assert rows(run("inspect", "--output", "table", token=narrowed))[:2] == [
        "tenant acme",
        "issuer * (an operator's token)",
    ]
    assert rows(run("inspect", "--output", "table", token=str(operators())))[0] == "tenant * (all)"


@pytest.mark.parametrize(
    ("caveat", "problem"),
    [
        (b"expires = 2020-01-01T00:00:00Z", "expired at 2020-01-01T00:00:00Z: every call is refused"),
        (
            b"tenant = globex",
            "contradictory: no tenant is in 'tenant = acme' and 'tenant = globex': every",
        ),
        (b"odd", "a caveat is invalid: every call is refused"),
    ],
)
def test_what_is_good_for_nothing_is_told_and_not_narrowed(caveat: bytes, problem: str) -> None:
    token = str(minted(caveat))
    (found,) = json.loads(run("inspect", token=token).stdout)["problems"]
    assert found.startswith(problem)
    assert rows(run("inspect", "--output", "table", token=token))[-1].startswith(f"problem {problem}")
    result = run("attenuate", "--label", "a", token=token)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"the given token is of no use: {problem}" in result.stderr


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--expires", "2020-01-01"), "expired at 2020-01-01T00:00:00Z: every call is refused"),
        (("--expires", "now"), "expired at "),
        (("--expires", "1h", "--not-before", "2h"), "contradictory: no time is in 'not_before = "),
        (("--tenant", "globex"), "contradictory: no tenant is in 'tenant = acme' and 'tenant = globex': "),
        (
            ("--device", "site-8/*"),
            "contradictory: no device is in 'device = site-7/*' and 'device = site-8/*': "
            "every call about devices is refused",
        ),
        (
            ("--ip", "192.0.2.0/24"),
            "contradictory: no address is in 'ip = 10.0.0.0/8' and 'ip = 192.0.2.",
        ),
        (
            ("--scope", "tokens:read"),
            "contradictory: no scope is in 'scope = telemetry:*' and 'scope = ",
        ),
    ],
)
def test_attenuate_makes_nothing_that_is_of_no_use(flags: tuple[str, ...], problem: str) -> None:
    parent = minted(b"device = site-7/*", b"ip = 10.0.0.0/8", b"scope = telemetry:*")
    result = run("attenuate", *flags, token=str(parent))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"the token would be of no use: {problem}" in result.stderr


@pytest.mark.parametrize("option", ["--expires", "--not-before"])
@pytest.mark.parametrize(
    ("text", "caveat"),
    [
        ("2099-01-31", "2099-01-31T00:00:00Z"),
        ("2099-01-31T12:00:00+02:00", "2099-01-31T10:00:00Z"),
        ("9999-12-31T23:59:59.9Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_times_may_be_dates(token_file: Path, option: str, text: str, caveat: str) -> None:
    result = run("attenuate", "--token-file", str(token_file), option, text)
    assert result.exit_code == 0, result.output
    key = option[2:].replace("-", "_")
    assert str(Token.parse(result.stdout.strip()).inspect().caveats[-1]) == f"{key} = {caveat}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", "'5': a number needs a unit (s, m, h, d, w); expected RFC 3339 such as "),
        ("2099-13-01", "'2099-13-01': month must be in 1..12; expected RFC 3339 such as "),
        ("2099-01-01T12:00:00", "'2099-01-01T12:00:00': the time zone is missing, Z for UTC or an offset"),
        ("tomorrow", "'tomorrow': expected RFC 3339 such as 2027-01-31T12:00:00Z, a date, or a duration"),
        ("-1h", "'-1h': expected RFC 3339 such as "),
    ],
)
def test_a_bad_time_is_told_with_what_would_be_right(token_file: Path, text: str, problem: str) -> None:
    result = run("attenuate", "--token-file", str(token_file), "--expires", text)
    assert result.exit_code == 2
    assert f"Invalid value for '--expires': {problem}" in result.stderr
