"""What all client commands share: credentials, tenants, and how errors are told."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from spacelink.cli._connection import describe
from spacelink.errors import UnavailableError, UntrustedServerError
from tests.client.cli.conftest import Ask, Run
from tests.client.recorder import Recorder
from tests.client.tokens import minted
from tests.conftest import ServerProcess

TOKEN = minted()
KEY = "slak_acme.key.secret"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


def presented(recorder: Recorder) -> dict[str, str]:
    (call,) = recorder.calls
    names = ("authorization", "x-api-key", "x-spacelink-tenant")
    recorder.calls.clear()
    return {name: call.metadata[name] for name in names if name in call.metadata}


def test_without_a_credential_none_is_presented(ask: Ask, recorder: Recorder) -> None:
    assert ask("session", "show").exit_code == 0
    assert presented(recorder) == {}


def test_the_token_may_come_in_all_these_ways(ask: Ask, recorder: Recorder, token_file: Path) -> None:
    ask("session", "show", "--token-file", str(token_file))
    ask("session", "show", "--token-file", "-", stdin=f"{TOKEN}\n")
    ask("session", "show", SPACELINK_TOKEN=str(TOKEN))
    ask("session", "show", SPACELINK_TOKEN_FILE=str(token_file))
    ask("session", "show", "--token-file", str(token_file), SPACELINK_TOKEN=str(minted()))
    ask("token", "list", "--token-file", str(token_file))
    headers = [call.metadata["authorization"] for call in recorder.calls]
    assert headers == [f"Bearer {TOKEN}"] * 6


def test_an_api_key_instead(ask: Ask, recorder: Recorder, key_file: Path) -> None:
    ask("session", "show", "--api-key-file", str(key_file))
    assert presented(recorder) == {"x-api-key": KEY}
    ask("session", "show", SPACELINK_API_KEY=KEY)
    assert presented(recorder) == {"x-api-key": KEY}


def test_a_flag_goes_before_any_variable(
    ask: Ask, recorder: Recorder, token_file: Path, key_file: Path, tmp_path: Path
) -> None:
    key, token = {"x-api-key": KEY}, {"authorization": f"Bearer {TOKEN}"}
    for flag, variables, header in (
        ("--api-key-file", {"SPACELINK_TOKEN_FILE": str(token_file)}, key),
        ("--api-key-file", {"SPACELINK_TOKEN": str(TOKEN)}, key),
        ("--token-file", {"SPACELINK_API_KEY_FILE": str(key_file)}, token),
        ("--token-file", {"SPACELINK_API_KEY": KEY}, token),
        # What does not hold need not be any good.
        ("--token-file", {"SPACELINK_API_KEY": KEY, "SPACELINK_API_KEY_FILE": KEY}, token),
        ("--api-key-file", {"SPACELINK_TOKEN_FILE": str(tmp_path / "nowhere")}, key),
        ("--api-key-file", {"SPACELINK_TOKEN_FILE": str(tmp_path)}, key),
    ):
        file = key_file if flag == "--api-key-file" else token_file
        result = ask("session", "show", flag, str(file), **variables)
        assert (result.exit_code, presented(recorder)) == (0, header)


@pytest.mark.parametrize(
    ("flags", "variables", "names"),
    [
        (
            (),
            {"SPACELINK_TOKEN": str(TOKEN), "SPACELINK_API_KEY": KEY},
            "SPACELINK_TOKEN and SPACELINK_API_KEY",
        ),
        (
            (),
            {"SPACELINK_TOKEN_FILE": "t", "SPACELINK_API_KEY_FILE": "k"},
            "SPACELINK_TOKEN_FILE and SPACELINK_API_KEY_FILE",
        ),
        (("--token-file", "t", "--api-key-file", "k"), {}, "--token-file and --api-key-file"),
        (
            ("--token-file", "t", "--api-key-file", "k"),
            {"SPACELINK_TOKEN": str(TOKEN)},
            "--token-file and --api-key-file",
        ),
    ],
)
def test_two_credentials_are_one_too_many(
    ask: Ask, recorder: Recorder, flags: tuple[str, ...], variables: dict[str, str], names: str
) -> None:
    result = ask("session", "show", *flags, **variables)
    assert result.exit_code == 2
    assert f"expected one credential, not {names}\n" in result.stderr
    assert KEY not in result.output
    assert recorder.calls == []


@pytest.mark.parametrize("text", [f"{TOKEN}=", "slk_é"])
def test_what_is_no_token_is_refused_and_not_shown(ask: Ask, recorder: Recorder, text: str) -> None:
    result = ask("session", "show", "--token-file", "-", stdin=text)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --token-file -: not a token (slk_...): not base64url")
    assert text not in result.output
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("command", "content", "problem"),
    [
        (
            ("session", "show", "--token-file"),
            "rubbish here",
            "not a token (slk_...): does not start with slk_",
        ),
        (
            ("token", "list", "--token-file"),
            "rubbish here",
            "not a token (slk_...): does not start with slk_",
        ),
        (
            ("token", "inspect", "--token-file"),
            "\0" * 40_000,
            "not a token (slk_...): does not start with slk_",
        ),
        (("token", "ban"), "rubbish here", "not a token (slk_...) or its signature, 64 hexadecimal digits: "),
        (
            ("session", "show", "--api-key-file"),
            "rubbish here",
            "not an API key (slak_...): expected printable",
        ),
        (("session", "show", "--token-file"), KEY, "not a token (slk_...): what came is an API key"),
        (
            ("session", "show", "--api-key-file"),
            str(TOKEN),
            "not an API key (slak_...): what came is a token",
        ),
    ],
)
def test_a_file_with_something_else_is_named_and_not_shown(
    ask: Ask, recorder: Recorder, tmp_path: Path, command: tuple[str, ...], content: str, problem: str
) -> None:
    path = tmp_path / "junk"
    path.write_text(content)
    result = ask(*command, str(path))
    assert result.exit_code == 1
    assert f"{path}: {problem}" in result.stderr
    assert content not in result.output
    assert recorder.calls == []


takes_a_secret_file = pytest.mark.parametrize(
    "command",
    [
        ("session", "show", "--token-file"),
        ("session", "show", "--api-key-file"),
        ("token", "inspect", "--token-file"),
        ("token", "ban"),
        ("agent", "--collector", "simulator", "--token-file"),
        ("agent", "--collector", "simulator", "--api-key-file"),
    ],
    ids=" ".join,
)


@takes_a_secret_file
@pytest.mark.parametrize(("name", "problem"), [("nowhere", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(
    ask: Ask, recorder: Recorder, tmp_path: Path, command: tuple[str, ...], name: str, problem: str
) -> None:
    result = ask(*command, str(tmp_path / name))
    assert result.exit_code == 2
    assert f"{tmp_path / name}: cannot be read: {problem}" in result.stderr
    assert "expected a file with a" in result.stderr
    assert recorder.calls == []


def test_a_file_that_a_variable_names_is_told_as_its(ask: Ask, recorder: Recorder, tmp_path: Path) -> None:
    result = ask("session", "show", SPACELINK_TOKEN_FILE=str(tmp_path / "nowhere"))
    assert f"SPACELINK_TOKEN_FILE {tmp_path / 'nowhere'}: cannot be read: No such file" in result.stderr


@pytest.mark.parametrize("secret", [str(TOKEN), KEY])
@takes_a_secret_file
def test_a_secret_given_for_a_file_is_not_shown(
    ask: Ask, recorder: Recorder, command: tuple[str, ...], secret: str
) -> None:
    result = ask(*command, secret)
    assert result.exit_code == 2
    assert "expected the name of a file; what came is the secret itself" in result.stderr
    assert secret not in result.output
    assert recorder.calls == []


@pytest.mark.parametrize("flag", ["--token-file", "--api-key-file"])
def test_an_empty_file_is_no_credential(ask: Ask, recorder: Recorder, tmp_path: Path, flag: str) -> None:
    (tmp_path / "empty").write_text("\n")
    result = ask("session", "show", flag, str(tmp_path / "empty"))
    assert result.exit_code == 2
    assert "empty is empty" in result.stderr
    assert recorder.calls == []


def test_a_call_names_its_tenant(ask: Ask, recorder: Recorder) -> None:
    ask("session", "show", "--tenant", "acme")
    assert presented(recorder) == {"x-spacelink-tenant": "acme"}
    ask("telemetry", "summary", SPACELINK_TENANT="acme")
    assert presented(recorder) == {"x-spacelink-tenant": "acme"}
    assert ask("session", "show", "--tenant", "a b").exit_code == 2


@pytest.mark.parametrize("command", [("user", "disable"), ("telemetry", "latest", "--device-id")])
def test_arguments_are_text(ask: Ask, recorder: Recorder, command: tuple[str, ...]) -> None:
    result = ask(*command, "\udcff")
    assert result.exit_code == 2
    assert "expected arguments in UTF-8" in result.stderr
    assert recorder.calls == []


def test_a_refusal_is_told_in_a_line(ask: Ask, recorder: Recorder) -> None:
    recorder.answers["GetSession"] = grpc.StatusCode.PERMISSION_DENIED
    result = ask("session", "show", SPACELINK_TOKEN=str(TOKEN))
    assert (result.exit_code, result.stderr) == (1, "Error: as told\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            UnavailableError("failed to connect to all addresses; last error: x: Connection refused"),
            "cannot reach the server at h:1: Connection refused",
        ),
        (
            UnavailableError("failed to connect to all addresses; last error: x: Socket closed"),
            "cannot reach the server at h:1: Socket closed; it may speak TLS (tls_ca), or ask for a "
            "certificate (tls_cert)",
        ),
        (UnavailableError("Socket closed"), "cannot reach the server at h:1: Socket closed"),
        (UnavailableError("the disk is full", reason="STORE_UNAVAILABLE"), "the disk is full"),
        (
            UnavailableError(
                "DNS resolution failed for h:1: errors resolving h:1: [A: x: Domain name not found]"
            ),
            "cannot reach the server at h:1: Domain name not found",
        ),
        (
            UnavailableError(
                "Failed parsing HTTP/2 (x) (Trying to connect an http1.x server (HTTP status 404))"
            ),
            "cannot reach the server at h:1: it speaks HTTP/1, not gRPC; it may be the REST bridge",
        ),
        (UntrustedServerError("no TLS"), "cannot speak with the server at h:1: no TLS"),
        (
            UnavailableError("send a token as ...", reason="CREDENTIAL_REQUIRED"),
            "the server asks for a credential: give --token-file FILE, or set SPACELINK_TOKEN",
        ),
    ],
)
def test_errors_are_told_in_a_line(error: UnavailableError, text: str) -> None:
    assert describe(error, "h:1", "--server") == text


@pytest.mark.parametrize(
    ("flag", "command", "plane", "other"),
    [
        ("--server", ("session", "show"), "data", "admin"),
        ("--admin-server", ("token", "list"), "admin", "data"),
    ],
)
def test_a_call_of_the_other_plane_is_told(
    ask: Ask, recorder: Recorder, flag: str, command: tuple[str, ...], plane: str, other: str
) -> None:
    recorder.answers |= dict.fromkeys(("GetSession", "ListTokens"), grpc.StatusCode.UNIMPLEMENTED)
    result = ask(*command)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: the server at {recorder.address} does not know this call: {flag} must name its {plane} "
        f"plane, and this may be its {other} plane; or the server is older than this command\n"
    )


def test_the_planes_of_a_server_are_told_apart(run: Run, server: ServerProcess) -> None:
    for command in (
        ("session", "show", "--server", server.admin_address),
        ("network", "list", "--server", server.admin_address),
        ("telemetry", "latest", "--server", server.admin_address),
        ("token", "list", "--admin-server", server.address),
        ("audit", "export", "--admin-server", server.address),
    ):
        result = run(*command)
        assert f"the server at {command[-1]} does not know this call: {command[-2]} must" in result.stderr


def test_a_refused_login_tells_of_tenants(run: Run, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong horse")
    login = ("session", "login", "anna", "--password-file", str(tmp_path / "password"))
    problem = "Error: the user name or the password is wrong"
    assert run(*login).stderr == f"{problem}; --tenant names the user's tenant\n"
    assert run(*login, "--tenant", "acme").stderr == f"{problem}\n"


SERVERS = [
    ("session", "show", "--server"),
    ("token", "list", "--admin-server"),
    ("agent", "--collector", "simulator", "--server"),
    ("rest", "--server"),
    ("rest", "--admin-server"),
]


@pytest.mark.parametrize("address", ["", "h", "h:", ":1", "h:x", "h:0", "h:65536"])
@pytest.mark.parametrize("command", SERVERS, ids=" ".join)
def test_an_address_has_a_port(ask: Ask, command: tuple[str, ...], address: str) -> None:
    result = ask(*command, address)
    assert result.exit_code == 2
    assert f"{address!r}: expected HOST:PORT, such as 127.0.0.1:5005" in result.stderr


@pytest.mark.parametrize("command", SERVERS, ids=" ".join)
def test_an_address_has_no_scheme(ask: Ask, command: tuple[str, ...]) -> None:
    result = ask(*command, "https://gateway.example:50051")
    assert result.exit_code == 2
    assert "expected HOST:PORT without https://, 'gateway.example:50051'" in result.stderr
