"""The `spacelink api-key` commands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from spacelink.cli._caveat_options import caveat_options, given
from spacelink.cli._connection import Connection, client_command
from spacelink.cli._moments import DurationParam
from spacelink.cli._output import output_option, to_record, write_records

if TYPE_CHECKING:
    from spacelink.records import NewApiKey


@click.group("api-key")
def api_key() -> None:
    """Manage API keys: credentials that stand for tokens of the server's."""


def _show(key: NewApiKey) -> None:
    # Standard output holds the key alone, so that it can go to a file.
    click.echo(f"API key {key.api_key.key_id}; it is not shown again:", err=True)
    click.echo(key.secret)


@api_key.command()
@click.option("--name", default="", help="For people.")
@caveat_options
@client_command
def generate(connection: Connection, name: str, **caveats: Any) -> None:
    """Make an API key and print it.

    Whatever bounds the credential it is made with bounds it, too.

    \b
    Examples:
      spacelink api-key generate --name dashboard --scope telemetry:read > dashboard.key
      spacelink telemetry latest --api-key-file dashboard.key
    """
    bounds = given(caveats)
    with connection.client() as client:
        _show(client.generate_api_key(name, **bounds))


@api_key.command()
@click.argument("key_id")
@click.option(
    "--overlap",
    type=DurationParam(),
    help="How long the old key stays good, such as 0s or 12h. Default: 24h.",
)
@client_command
def rotate(connection: Connection, key_id: str, overlap: int | None) -> None:
    """Make an API key in place of KEY_ID and print it.

    \b
    Examples:
      spacelink api-key rotate 0123456789abcdef0123456789abcdef --overlap 2h > dashboard.key
    """
    length = None if overlap is None else timedelta(seconds=overlap)
    with connection.client() as client:
        _show(client.rotate_api_key(key_id, overlap=length))


@api_key.command()
@click.argument("key_id")
@client_command
def revoke(connection: Connection, key_id: str) -> None:
    """End the API key KEY_ID at once.

    \b
    Examples:
      spacelink api-key revoke 0123456789abcdef0123456789abcdef
    """
    with connection.client() as client:
        client.revoke_api_key(key_id)
    click.echo(f"API key {key_id} is revoked")


@api_key.command("list")
@output_option
@client_command
def list_(connection: Connection, output: str) -> None:
    """List the tenant's API keys, newest first. The keys themselves are not kept.

    \b
    Examples:
      spacelink api-key list
      spacelink api-key list --output json | jq .key_id
    """
    with connection.client() as client:
        records = [to_record(key) for key in client.list_api_keys()]
    write_records(output, records, things="API keys")
