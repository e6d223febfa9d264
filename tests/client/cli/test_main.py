"""The spacelink command itself: what it lists, and what it needs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from spacelink import cli
from spacelink.__main__ import run
from spacelink.cli import main
from tests.client.cli.conftest import SPACELINK


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, *path, name)
    return found


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_explains_itself_with_examples(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    if "COMMAND" not in result.output.splitlines()[0]:
        assert f"\n    spacelink {' '.join(path)}" in result.output


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    for name in ("up", "server", "agent", "telemetry"):
        assert f"\n  {name} " in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["no-such-command"])
    assert result.exit_code == 2
    assert "no-such-command" in result.output


def without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as if a package were not installed."""
    program = f"import sys; sys.modules[{package!r}] = None; from spacelink.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


def test_a_command_names_the_extra_that_is_missing() -> None:
    done = without("sqlalchemy", "server")
    assert done.returncode == 1
    assert (
        done.stderr
        == "Error: 'spacelink server' needs the package sqlalchemy: pip install 'spacelink[server]'\n"
    )


def test_arrow_names_the_extra_that_is_missing() -> None:
    done = without("pyarrow", "telemetry", "query", "--output", "arrow")
    assert done.returncode == 1
    assert done.stderr == "Error: this needs pyarrow: pip install 'spacelink[arrow]'\n"


def test_the_version_is_told() -> None:
    done = subprocess.run([*SPACELINK, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1][0].isdigit()


def first_import(process: subprocess.Popen[str]) -> None:
    """Wait until the command has begun to import what takes its time."""
    assert process.stderr is not None
    for line in process.stderr:
        if "click" in line:
            return
    pytest.fail("nothing was imported")


@pytest.mark.parametrize("arguments", [["telemetry", "latest"], ["server"], ["--help"]])
def test_ctrl_c_during_imports_ends_it_without_a_traceback(tmp_path: Path, arguments: list[str]) -> None:
    # Python tells each import on standard error, so that the moment is known.
    command = [sys.executable, "-v", *SPACELINK[1:], *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    first_import(process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "KeyboardInterrupt" not in stderr
    assert list(tmp_path.iterdir()) == []


@click.command()
def interrupted() -> None:
    """Do what Ctrl-C makes a command do that does not expect it."""
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_command_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli._COMMANDS, "wait", (f"{__name__}:interrupted", ""))  # type: ignore[arg-type]
    result = CliRunner().invoke(main, ["wait"])
    assert (result.exit_code, result.output) == (130, "")


def test_the_installed_command_is_the_module() -> None:
    (entry,) = entry_points(group="console_scripts", name="spacelink")
    assert entry.load() is run


def test_make_alone_lists_what_there_is_to_make() -> None:
    makefile = Path(__file__).parents[3] / "Makefile"
    # Where make runs the tests, it would say so.
    make = ["make", "--no-print-directory", "-f", str(makefile)]
    listed, asked = (
        subprocess.run([*make, *goals], capture_output=True, text=True, check=True).stdout
        for goals in ([], ["help"])
    )
    assert listed == asked
    targets = re.findall(r"^([a-z]+):", makefile.read_text(), re.MULTILINE)
    assert [line.split()[0] for line in listed.splitlines()] == targets
    assert all(len(line.split()) > 1 for line in listed.splitlines())
