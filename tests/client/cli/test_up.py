"""`spacelink up`: a first look that cleans up after itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from spacelink import Token
from tests.client.cli.conftest import DEADLINE_SECONDS, SPACELINK, terminal

# What is set for other servers is not for those that are started here.
ELSEWHERE = {"SPACELINK_TOKEN": "of another server", "SPACELINK_TLS_CA": "of-another-server.pem"}
# Of what is set here, a visitor's terminal has nothing.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SPACELINK_")}
SHELL_COMMAND = shlex.join(SPACELINK)


def start(*arguments: str, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SPACELINK, "up", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ELSEWHERE, "TMPDIR": str(temporary)},
    )


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    text = ""
    assert process.stdout is not None
    for line in process.stdout:
        text += line
        if re.search(pattern, text):
            return text
    pytest.fail(f"{pattern} not in {text}")


def finish(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(DEADLINE_SECONDS)


def children_using(directory: Path) -> list[int]:
    """Find the children of what was started with a directory for temporary files."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"spacelink.cli._child" in command and f"TMPDIR={directory}".encode() in environment:
            found.append(int(entry.name))
    return found


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while children_using(directory):
        assert time.monotonic() < deadline, children_using(directory)
        time.sleep(0.05)


def suggestions(text: str) -> list[str]:
    """Give the commands that are suggested, each whole."""
    block = text.partition("In another terminal, try:\n\n")[2].partition("\n\n")[0]
    return re.split(r"\n  (?! )", block.strip())


def paste(*commands: str) -> str:
    """Run commands in a shell, one after the other, and give what the last one prints."""
    *settings, command = commands
    script = "\n".join([*settings, "exec 2>&1", command])
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False, env=CLEAN)
    assert (done.returncode, done.stderr) == (0, ""), (command, done.stdout)
    assert "Error" not in done.stdout, (command, done.stdout)
    return done.stdout


def test_the_suggested_commands_work_while_it_runs(tmp_path: Path) -> None:
    process = start(temporary=tmp_path)
    text = read_until(process, r"8 devices, [1-9]")
    assert len(children_using(tmp_path)) == 3
    suggested = suggestions(text)
    settings = [line for line in suggested if line.startswith("export ")]
    assert settings[0].startswith(f"export SPACELINK_TOKEN_FILE={tmp_path}/")
    commands = suggested[len(settings) :]
    assert len(commands) == 9
    expected = "dish-01|latency_ms|customer|tenant = default|access_token"
    for command in commands:
        program = re.search("grpcurl|curl", command)
        if program is None or shutil.which(program[0]):
            assert re.search(expected, paste(*settings, command))
    process.send_signal(signal.SIGINT)
    assert finish(process) == 0
    assert children_using(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_demo_accounts_log_in_and_do_what_their_roles_allow(tmp_path: Path) -> None:
    process = start("--data-dir", str(tmp_path / "keep"), temporary=tmp_path)
    text = read_until(process, "Ctrl-C ends it")
    settings = [line for line in suggestions(text) if line.startswith("export ")]
    accounts = re.findall(r"^  (\w+) +(\w+) +(admin|partner|customer)$", text, re.MULTILINE)
    assert len(accounts) == 3
    for name, password, role in accounts:
        login = f"{SHELL_COMMAND} session login {name} --password-file -"
        show = f"{SHELL_COMMAND} session show --token-file -"
        session = json.loads(paste(*settings, f"echo {password} | {login} | {show}"))
        assert (session["tenant_id"], session["role"]) == ("default", role)
    process.send_signal(signal.SIGINT)
    assert finish(process) == 0
    again = start("--data-dir", str(tmp_path / "keep"), temporary=tmp_path)
    read_until(again, r"8 devices, [1-9]")
    again.send_signal(signal.SIGINT)
    assert finish(again) == 0


def test_its_tokens_are_for_the_owner_and_its_agent_can_do_no_more_than_it_must(tmp_path: Path) -> None:
    process = start("--data-dir", str(tmp_path), temporary=tmp_path)
    text = read_until(process, r"8 devices, [1-9]")
    process.send_signal(signal.SIGINT)
    assert finish(process) == 0
    files = {path.name: path for path in tmp_path.glob("*.token")}
    assert set(files) == {"operator.token", "visitor.token", "fleet.token"}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    fleet = Token.parse(files["fleet.token"].read_text().strip())
    devices = " ".join(f"dish-{number:02}" for number in range(1, 9))
    assert [str(caveat) for caveat in fleet.inspect().caveats] == [
        "tenant = *",
        "tenant = default",
        "scope = telemetry:write",
        f"device = {devices}",
        "label = fleet",
    ]
    told = text + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "slk_" not in told
    assert "admin123" not in (tmp_path / "server.log").read_text()


def test_without_the_operators_token_it_says_so(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    first = start("--data-dir", str(keep), temporary=tmp_path)
    read_until(first, "Ctrl-C ends it")
    first.send_signal(signal.SIGINT)
    assert finish(first) == 0
    (keep / "operator.token").unlink()
    process = start("--data-dir", str(keep), temporary=tmp_path)
    assert f"Error: {keep}/operator.token: cannot be read: No such file" in read_until(process, "Error")
    assert finish(process) == 1
    wait_until_gone(tmp_path)


def test_taken_ports_are_replaced_and_a_kept_directory_stays(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 50051))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        process = start("--data-dir", str(keep), temporary=tmp_path)
        text = read_until(process, r"8 devices, [1-9]")
        process.terminate()
        assert finish(process) == 0
    assert "port 50051 is taken" in text
    address = re.search(r"data plane +(\S+)", text)
    assert address is not None
    assert address[1] != "127.0.0.1:50051"
    assert f"\n  export SPACELINK_SERVER={address[1]}\n" in text
    assert (keep / "spacelink.db").exists()
    assert children_using(tmp_path) == []


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    process = start(temporary=tmp_path)
    read_until(process, "Ctrl-C ends it")
    deadline = time.monotonic() + DEADLINE_SECONDS
    # A child has its parent's command line for a moment.
    while len(children_using(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    finish(process)
    assert time.monotonic() < deadline
    wait_until_gone(tmp_path)


def test_a_child_that_dies_ends_it_with_its_log(tmp_path: Path) -> None:
    process = start(temporary=tmp_path)
    read_until(process, "Ctrl-C ends it")
    for child in children_using(tmp_path):
        os.kill(child, signal.SIGKILL)
        break
    text = read_until(process, "ended with status -9; the end of its log:")
    assert "Traceback" not in text
    assert finish(process) == 1
    wait_until_gone(tmp_path)


def test_a_server_that_cannot_start_is_said(tmp_path: Path) -> None:
    (tmp_path / "spacelink.db").mkdir()
    process = start("--data-dir", str(tmp_path), temporary=tmp_path)
    assert process.stdout is not None
    text = process.stdout.read()
    assert finish(process) == 1
    assert "Error: the server ended with status 1; the end of its log:" in text


def test_on_a_terminal_it_shows_the_fleet_until_ctrl_c() -> None:
    with terminal("up") as screen:
        screen.read_until("Ctrl-C ends it", "dish-08", "ACTIVE")
        screen.process.send_signal(signal.SIGINT)
        assert screen.wait() == 0
    assert "Traceback" not in screen.text


@pytest.mark.parametrize("duration", ["0s", "5s"])
def test_it_ends_by_itself_however_far_it_came(tmp_path: Path, duration: str) -> None:
    process = start("--for", duration, temporary=tmp_path)
    assert process.stdout is not None
    text = process.stdout.read()
    assert "Error" not in text
    assert finish(process) == 0
    assert children_using(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("duration", ["20", "soon"])
def test_a_duration_needs_a_unit(duration: str) -> None:
    done = subprocess.run([*SPACELINK, "up", "--for", duration], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a number with a unit, such as 20s" in done.stderr
