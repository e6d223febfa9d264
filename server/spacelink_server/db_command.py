"""The `spacelink db` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spacelink.cli.settings import config_file, setting
from spacelink_server.logs import LogSettings, start_logging
from spacelink_server.running import FAILURES
from spacelink_server.storage.opening import store_status, upgrade_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.storage.migrations import Status


@click.group()
def db() -> None:
    """Look after the store's schema.

    A server creates the tables of an empty store by itself. It refuses a store
    of another version: one that is older is upgraded here, with its data, while
    no server works on it.
    """


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """Declare the settings that say where the store is."""
    declarations = (
        config_file(shared=True),
        setting(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("spacelink-data"),
            show_default=True,
            help="Directory of the embedded store.",
        ),
        setting("--database", default="", metavar="URL", help="PostgreSQL database instead."),
    )
    for declare in reversed(declarations):
        command = declare(command)
    return command


@db.command()
@_settings
def status(data_dir: Path, database: str) -> None:
    """Show the store's schema, and what an upgrade would do.

    \b
    Examples:
      spacelink db status --data-dir /var/lib/spacelink
      spacelink db status --database postgresql://spacelink@db.example.com/spacelink
    """
    found = _call(store_status, data_dir, database)
    if found.found is None:
        click.echo(f"the store is empty; this version of SpaceLink works with schema {found.wanted}")
        return
    click.echo(f"schema {found.found}; this version of SpaceLink works with {found.wanted}")
    for revision, title in found.pending:
        click.echo(f"pending  {revision}  {title}")


@db.command()
@_settings
def upgrade(data_dir: Path, database: str) -> None:
    """Bring the store's schema up to this version's, all at once or not at all.

    \b
    Examples:
      spacelink db upgrade --data-dir /var/lib/spacelink
      spacelink db upgrade --database postgresql://spacelink@db.example.com/spacelink
    """
    start_logging(LogSettings("warning"))
    before = _call(upgrade_store, data_dir, database)
    for revision, title in before.pending:
        click.echo(f"applied  {revision}  {title}")
    click.echo(f"schema {before.wanted}")


def _call(function: Callable[[Path, str], Status], *place: Any) -> Status:
    try:
        return function(*place)
    except ValueError as error:
        raise click.UsageError(f"database: {error}") from None
    except FAILURES as error:
        raise click.ClickException(str(error)) from None
