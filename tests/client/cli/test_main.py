"""The spacelink command itself: what it lists, and what it needs."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

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
