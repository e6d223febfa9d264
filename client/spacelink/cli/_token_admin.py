"""`spacelink token mint` and `list`."""

from __future__ import annotations

from typing import Any

import click

from spacelink.cli._caveat_options import caveat_options, given
from spacelink.cli._connection import Connection, admin_command
from spacelink.cli._output import output_option, to_record, write_records


@click.command()
@caveat_options
@admin_command
def mint(connection: Connection, **caveats: Any) -> None:
    """Mint a token and print it.

    Whatever bounds the credential it is minted with bounds it, too, and it is
    banned together with that.

    \b
    Examples:
      spacelink token mint --tenant acme --scope 'telemetry:*' --expires 30d --label acme > acme.token
      spacelink token mint --token-file acme.token --device dish-01 --rate-limit 100/minute
    """
    bounds = given(caveats)
    with connection.admin_client() as client:
        click.echo(str(client.mint_token(tenant_id=connection.tenant, **bounds)))


@click.command("list")
@output_option
@admin_command
def list_(connection: Connection, output: str) -> None:
    """List the tokens that were minted, newest first. The tokens themselves are not kept.

    \b
    Examples:
      spacelink token list
      spacelink token list --output json | jq .token_id
    """
    with connection.admin_client() as client:
        records = [to_record(token) for token in client.list_tokens(tenant_id=connection.tenant)]
    write_records(output, records, things="tokens")


COMMANDS = (mint, list_)
