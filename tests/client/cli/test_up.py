"""`spacelink up`: a first look that cleans up after itself."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.client.cli.conftest import DEADLINE_SECONDS, SPACELINK, terminal

# What is set for other servers is not for those that are started here.
ELSEWHERE = {"SPACELINK_TOKEN": "of another server", "SPACELINK_TLS_CA": "of-another-server.pem"}


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
    """Find the processes that were started with a directory among their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            any(str(directory).encode() in argument for argument in command)
            and b"spacelink.cli._child" in command
        ):
            found.append(int(entry.parent.name))
    return found


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while children_using(directory):
        assert time.monotonic() < deadline, children_using(directory)
        time.sleep(0.05)


def test_the_suggested_commands_work_while_it_runs(tmp_path: Path) -> None:
    process = start(temporary=tmp_path)
    text = read_until(process, r"8 devices, [1-9]")
    assert len(children_using(tmp_path)) == 2
    suggested = [line.strip() for line in text.splitlines() if " telemetry " in line]
    assert len(suggested) == 4
    for line in suggested:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert "dish-01" in done.stdout or "latency_ms" in done.stdout, line
    process.send_signal(signal.SIGINT)
    assert finish(process) == 0
    assert children_using(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


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
    assert f"--server {address[1]}" in text
    assert (keep / "spacelink.db").exists()
    assert children_using(tmp_path) == []


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    process = start(temporary=tmp_path)
    read_until(process, "Ctrl-C ends it")
    deadline = time.monotonic() + DEADLINE_SECONDS
    # A child has its parent's command line for a moment.
    while len(children_using(tmp_path)) < 2 and time.monotonic() < deadline:
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
