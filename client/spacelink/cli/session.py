"""The `spacelink session` commands."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING

import click

from spacelink.cli._connection import Connection, anonymous_command, client_command
from spacelink.cli._output import details_option, to_record
from spacelink.cli._passwords import password_file_setting, read_password
from spacelink.cli._tables import console, details_table
from spacelink.errors import UnauthenticatedError

if TYPE_CHECKING:
    from spacelink.records import SessionInfo


@click.group()
def session() -> None:
    """Log in, and ask who one is."""


@session.command()
@click.argument("user")
@password_file_setting
@anonymous_command
def login(connection: Connection, user: str, password_file: IO[str] | None) -> None:
    """Log USER in and print the session's token, which is good for a short time.

    \b
    Examples:
      spacelink session login anna > anna.token
      spacelink session login anna --tenant acme --password-file - < password
    """
    password = read_password(password_file, is_new=False)
    with connection.client() as client:
        try:
            made = client.create_session(user, password, tenant_id=connection.tenant)
        except UnauthenticatedError as error:
            if error.reason != "INVALID_LOGIN" or connection.tenant:
                raise
            raise click.ClickException(f"{error.message}; --tenant names the user's tenant") from None
    click.echo(str(made.token))


@session.command()
@details_option
@client_command
def show(connection: Connection, output: str) -> None:
    """Tell who the caller is, and what the credential is good for.

    \b
    Examples:
      spacelink session show --token-file anna.token
      spacelink session show --output json | jq .scopes
    """
    with connection.client() as client:
        info = client.get_session()
    if output == "json":
        click.echo(json.dumps(to_record(info)))
    else:
        console().print(details_table(_rows(info)))


def _rows(info: SessionInfo) -> list[tuple[str, str]]:
    return [
        ("tenant", info.tenant_id),
        ("token_id", info.token_id),
        ("role", info.role or "none"),
        ("expires", f"{info.expire_time:%Y-%m-%dT%H:%M:%SZ}" if info.expire_time else "never"),
        *(("scope", scope) for scope in info.scopes),
        *(("label", label) for label in info.labels),
        *(
            (limit.caveat, f"{limit.remaining:,} left until {limit.reset_time:%Y-%m-%dT%H:%M:%SZ}")
            for limit in info.limits
        ),
    ]
