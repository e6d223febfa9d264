"""`spacelink token ban`, `unban`, `bans` and `graph`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text
from rich.tree import Tree

from spacelink._caveats import ANY
from spacelink.cli._connection import Connection, admin_command
from spacelink.cli._given_credential import SECRET_FILE, read_secret_file
from spacelink.cli._moments import MomentParam
from spacelink.cli._output import output_option, to_record, write_records
from spacelink.cli._tables import console, printable
from spacelink.errors import InvalidTokenError
from spacelink.token import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink.records import TokenNode

_EXPECTED = "a token (slk_...) or its signature, 64 hexadecimal digits"
_SIGNATURE = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)

_file = click.argument("file", type=SECRET_FILE, required=False)
_token_id = click.option("--token-id", metavar="ID", help="The id of a minted token instead of a file.")


def _read(file: str | None) -> dict[str, str]:
    """Give what a file names: a token, or the signature of one."""
    if file is None:
        return {}
    text = read_secret_file("FILE", file, _EXPECTED)
    if _SIGNATURE.fullmatch(text):
        return {"signature": text}
    try:
        return {"token": str(Token.parse(text))}
    except InvalidTokenError as error:
        problem = error.message.removeprefix("token: ")
        raise click.ClickException(f"{file}: not {_EXPECTED}: {problem}") from None


def _the_one(ways: dict[str, Any], rule: str) -> dict[str, Any]:
    chosen = {name: value for name, value in ways.items() if value is not None}
    if len(chosen) != 1:
        raise click.UsageError(f"expected {rule}")
    return chosen


@click.command()
@_file
@_token_id
@click.option("--digest", metavar="HEX", help="A digest, as `inspect` and `graph --output json` give it.")
@click.option(
    "--minted-before",
    type=MomentParam(),
    help="All of the tenant's tokens minted before: RFC 3339, a date, now, or some time ago such as -1h.",
)
@click.option("--reason", default="", help="Why, for those who read the list.")
@admin_command
def ban(
    connection: Connection,
    file: str | None,
    token_id: str | None,
    digest: str | None,
    minted_before: int | None,
    reason: str,
) -> None:
    """Ban a token and all that descend from it, those that no server has seen included.

    FILE holds the token, or its signature in hexadecimal digits; - is standard
    input. The ban is in force when the command ends, for open streams, too.

    \b
    Examples:
      spacelink token ban leaked.token --reason 'found in a repository'
      spacelink token ban --token-id 0123456789abcdef0123456789abcdef
      spacelink token ban --tenant acme --minted-before 2026-01-31T12:00:00Z
    """
    ways = {"token_id": token_id, "digest": digest, "minted_before": minted_before, **_read(file)}
    target = _the_one(ways, "one of FILE, --token-id, --digest and --minted-before")
    with connection.admin_client() as client:
        made = client.ban_token(**target, tenant_id=connection.tenant, reason=reason)
    click.echo(f"ban {made.ban_id} is in force")


@click.command()
@_file
@_token_id
@click.option("--ban-id", metavar="ID", help="The ban's id instead, as `bans` gives it.")
@admin_command
def unban(connection: Connection, file: str | None, token_id: str | None, ban_id: str | None) -> None:
    """Lift a ban.

    FILE holds the banned token, or its signature in hexadecimal digits; - is
    standard input. Other bans of an ancestor or a descendant stay.

    \b
    Examples:
      spacelink token unban found-again.token
      spacelink token unban --ban-id 0123456789abcdef0123456789abcdef
    """
    ways = {"token_id": token_id, "ban_id": ban_id, **_read(file)}
    target = _the_one(ways, "one of FILE, --token-id and --ban-id")
    with connection.admin_client() as client:
        client.unban_token(**target, tenant_id=connection.tenant)
    click.echo("the ban is lifted")


@click.command()
@output_option
@admin_command
def bans(connection: Connection, output: str) -> None:
    """List the bans in force, newest first.

    \b
    Examples:
      spacelink token bans
      spacelink token bans --output csv > bans.csv
    """
    with connection.admin_client() as client:
        records = [to_record(ban) for ban in client.list_bans(tenant_id=connection.tenant)]
    write_records(output, records, things="bans")


@click.command()
@click.option("--token-id", default="", metavar="ID", help="Only what descends from this minted token.")
@output_option
@admin_command
def graph(connection: Connection, token_id: str, output: str) -> None:
    """Show which tokens were presented, and from which they descend.

    Those of --tenant; without it those of the only tenant that the credential is
    good for, for an operator's those of all. A tenant's are those that it issued
    and operators' that were narrowed to it.

    \b
    Examples:
      spacelink token graph
      spacelink token graph --tenant acme
      spacelink token graph --token-id 0123456789abcdef0123456789abcdef --output json
    """
    with connection.admin_client() as client:
        nodes = client.get_token_graph(token_id=token_id, tenant_id=connection.tenant)
    if output != "table":
        write_records(output, [to_record(node) for node in nodes])
        return
    if not connection.tenant:
        click.echo(_whose(connection), err=True)
    if nodes:
        console().print(_forest(nodes))
    else:
        click.echo("no tokens were presented yet", err=True)


def _whose(connection: Connection) -> str:
    """Say whose tokens are shown where no tenant was named."""
    token = connection.options.get("token")
    if token is None:
        return "tokens of the tenant that the credential is good for"
    tenant = Token.parse(str(token)).inspect().tenant
    if tenant == ANY:
        return "tokens of all tenants, which the token is good for; --tenant ID shows those of one"
    return f"tokens of tenant {tenant}, the only one that the token is good for"


def _forest(nodes: Sequence[TokenNode]) -> Tree:
    forest = Tree("", hide_root=True)
    branches: dict[str, Tree] = {}
    for node in nodes:
        # Parents come first; one that is not among them is left out.
        parent = branches.get(node.parent_digest, forest)
        branches[node.digest] = parent.add(_describe(node, parent is forest))
    return forest


def _describe(node: TokenNode, is_root: bool) -> Text:
    names = (f"token {node.token_id}" if is_root else "", node.caveat)
    text = Text(printable(": ".join(filter(None, names))))
    text.append(f"  {node.digest[:12]}", "dim")
    if node.use_count and node.last_use_time:
        calls = "1 call" if node.use_count == 1 else f"{node.use_count:,} calls"
        text.append(f"  {calls}, last {node.last_use_time:%Y-%m-%dT%H:%M:%SZ}")
    if node.banned:
        text.append("  banned", "red")
    return text


COMMANDS = (ban, unban, bans, graph)
