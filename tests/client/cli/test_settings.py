"""Settings: a flag, a variable and a YAML key of one name."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from spacelink.cli.settings import config_file, setting


@click.command()
@config_file()
@setting("--batch-size", type=int, default=1)
@setting("--keep/--no-keep", default=False)
@setting("--device-id", multiple=True)
def command(batch_size: int, keep: bool, device_id: tuple[str, ...]) -> None:
    click.echo(f"{batch_size} {keep} {' '.join(device_id)}".strip())


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(command, arguments, env=variables)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("batch_size: 20\nkeep: true\ndevice_id: [a, b]\n")
    return path


def test_defaults_come_last() -> None:
    assert run().output == "1 False\n"


def test_the_file_is_before_defaults(config: Path) -> None:
    assert run("--config", str(config)).output == "20 True a b\n"
    assert run(SPACELINK_CONFIG=str(config)).output == "20 True a b\n"


def test_variables_are_before_the_file(config: Path) -> None:
    result = run("--config", str(config), SPACELINK_BATCH_SIZE="30", SPACELINK_KEEP="0")
    assert result.output == "30 False a b\n"


def test_flags_are_before_variables(config: Path) -> None:
    result = run("--config", str(config), "--batch-size", "40", "--device-id", "c", SPACELINK_BATCH_SIZE="30")
    assert result.output == "40 True c\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch_sise: 5\n", "unknown setting batch_sise; known are batch_size, device_id, keep"),
        ("- a\n", "expected a mapping of settings"),
        ("a: [\n", "is not YAML"),
        ("batch_size: many\n", "'many' is not a valid integer"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    result = run("--config", str(path))
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    assert run("--config", str(path)).output == "1 False\n"
