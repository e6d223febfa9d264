"""The `spacelink user` commands."""

from __future__ import annotations

from typing import IO

import click

from spacelink._messages import ROLES
from spacelink.cli._connection import Connection, admin_command
from spacelink.cli._output import output_option, to_record, write_records
from spacelink.cli._passwords import password_file_setting, read_password

_ROLE = click.Choice(ROLES)


@click.group()
def user() -> None:
    """Manage users, who log in with a password."""


@user.command()
@click.argument("user_name")
@click.option("--role", type=_ROLE, required=True, help="What the user may do.")
@password_file_setting
@admin_command
def create(connection: Connection, user_name: str, role: str, password_file: IO[str] | None) -> None:
    """Create the user USER_NAME.

    \b
    Examples:
      spacelink user create anna --role customer
      spacelink user create anna --tenant acme --role partner --password-file - < password
    """
    password = read_password(password_file, is_new=True)
    with connection.admin_client() as client:
        made = client.create_user(user_name, password, role, tenant_id=connection.tenant)
    click.echo(f"user {made.user_name} of tenant {made.tenant_id} is created")


@user.command("list")
@output_option
@admin_command
def list_(connection: Connection, output: str) -> None:
    """List a tenant's users.

    \b
    Examples:
      spacelink user list --tenant acme
    """
    with connection.admin_client() as client:
        records = [to_record(user) for user in client.list_users(tenant_id=connection.tenant)]
    write_records(output, records, things="users")


@user.command("set-password")
@click.argument("user_name")
@password_file_setting
@admin_command
def set_password(connection: Connection, user_name: str, password_file: IO[str] | None) -> None:
    """Set the password of USER_NAME, and end the user's sessions.

    \b
    Examples:
      spacelink user set-password anna
    """
    password = read_password(password_file, is_new=True)
    with connection.admin_client() as client:
        client.set_password(user_name, password, tenant_id=connection.tenant)
    click.echo(f"the password of user {user_name} is set")


@user.command("set-role")
@click.argument("user_name")
@click.argument("role", type=_ROLE, metavar="ROLE")
@admin_command
def set_role(connection: Connection, user_name: str, role: str) -> None:
    """Set the role of USER_NAME, and end the user's sessions.

    ROLE is admin, partner, customer or read_only.

    \b
    Examples:
      spacelink user set-role anna read_only
    """
    with connection.admin_client() as client:
        client.set_role(user_name, role, tenant_id=connection.tenant)
    click.echo(f"user {user_name} has the role {role}")


@user.command()
@click.argument("user_name")
@admin_command
def disable(connection: Connection, user_name: str) -> None:
    """Keep USER_NAME from logging in, and end the user's sessions.

    \b
    Examples:
      spacelink user disable anna
    """
    with connection.admin_client() as client:
        client.disable_user(user_name, tenant_id=connection.tenant)
    click.echo(f"user {user_name} is disabled")
