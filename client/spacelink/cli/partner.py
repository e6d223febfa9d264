"""The `spacelink partner` commands."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from spacelink._messages import enum_names
from spacelink.cli._connection import Connection, anonymous_command, client_command
from spacelink.cli._output import output_option, to_record, write_records
from spacelink.cli._passwords import password_file_setting, read_password
from spacelink.v1.partner_pb2 import PartnerState

if TYPE_CHECKING:
    from click.decorators import FC

    from spacelink.partners import NewSandbox

_LIMIT = click.IntRange(0, 2**63 - 1)
_STATES = enum_names(PartnerState.DESCRIPTOR)


@click.group()
def partner() -> None:
    """Take partners in, bind where they call from, and give them sandboxes."""


def _identity(function: FC) -> FC:
    for declare in (
        password_file_setting,
        click.option("--user", "user_name", required=True, help="The user who can log in."),
        click.option("--email", "contact_email", required=True, help="Whom to ask."),
        click.option("--name", "display_name", required=True, help="The organization's name."),
    ):
        function = declare(function)
    return function


def _limits(function: FC) -> FC:
    for declare in (
        click.option(
            "--max-devices",
            type=_LIMIT,
            default=0,
            metavar="N",
            help="The most devices it may have. Default: no limit.",
        ),
        click.option(
            "--samples-per-day",
            type=_LIMIT,
            default=0,
            metavar="N",
            help="What it may store in a day (UTC). Default: no limit.",
        ),
    ):
        function = declare(function)
    return function


@partner.command()
@click.argument("tenant_id")
@_identity
@anonymous_command
def register(connection: Connection, tenant_id: str, password_file: IO[str] | None, **identity: str) -> None:
    """Ask to become a partner with the tenant TENANT_ID, and print the registration's id.

    Needs no credential. Somebody has to approve it; the user can log in then.

    \b
    Examples:
      spacelink partner register acme --name 'ACME Corporation' --email ops@acme.example --user anna
    """
    password = read_password(password_file, is_new=True)
    with connection.client() as client:
        partner_id = client.register_partner(tenant_id, password=password, **identity)
    click.echo("registered, to be approved under this id:", err=True)
    click.echo(partner_id)


@partner.command()
@click.argument("tenant_id")
@_identity
@_limits
@client_command
def create(
    connection: Connection,
    tenant_id: str,
    password_file: IO[str] | None,
    samples_per_day: int,
    max_devices: int,
    **identity: str,
) -> None:
    """Make a partner with the tenant TENANT_ID and its first user.

    \b
    Examples:
      spacelink partner create acme --name 'ACME Corporation' --email ops@acme.example --user anna \\
        --samples-per-day 10000000 --password-file - < password
    """
    password = read_password(password_file, is_new=True)
    with connection.client() as client:
        client.create_partner(
            tenant_id, password=password, samples_per_day=samples_per_day, max_devices=max_devices, **identity
        )
    click.echo(f"partner {tenant_id} is created")


@partner.command()
@click.argument("partner_id")
@click.option("--as", "tenant_id", default="", metavar="TENANT", help="Give it this tenant instead.")
@_limits
@client_command
def approve(connection: Connection, partner_id: str, **admission: str | int) -> None:
    """Take in the partner that has registered as PARTNER_ID.

    \b
    Examples:
      spacelink partner approve 0123456789abcdef0123456789abcdef --samples-per-day 10000000
      spacelink partner approve 0123456789abcdef0123456789abcdef --as acme-2
    """
    with connection.client() as client:
        approved = client.approve_partner(partner_id, **admission)  # type: ignore[arg-type]
    click.echo(f"partner {approved.tenant_id} is approved; {approved.user_name} can log in")


@partner.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@output_option
@client_command
def list_(connection: Connection, state: str | None, output: str) -> None:
    """List the partners, newest first.

    \b
    Examples:
      spacelink partner list
      spacelink partner list --state pending --output json | jq -r .partner_id
    """
    with connection.client() as client:
        records = [to_record(each) for each in client.list_partners(state or "")]
    write_records(output, records, things="partners")


@partner.command("ip-allowlist")
@click.argument("cidrs", nargs=-1, metavar="[NETWORK]...")
@click.option("--clear", is_flag=True, help="Let everybody in.")
@client_command
def ip_allowlist(connection: Connection, cidrs: tuple[str, ...], clear: bool) -> None:
    """Set from which networks the tenant's tokens and API keys are good, and list them.

    Without any they are listed only; none in the list means from everywhere.

    \b
    Examples:
      spacelink partner ip-allowlist
      spacelink partner ip-allowlist 192.0.2.0/24 2001:db8::/32
      spacelink partner ip-allowlist --clear
    """
    if cidrs and clear:
        raise click.UsageError("expected networks or --clear, not both")
    with connection.client() as client:
        listed = client.set_ip_allowlist(cidrs) if cidrs or clear else client.get_ip_allowlist()
    for cidr in listed:
        click.echo(cidr)


@partner.group()
def sandbox() -> None:
    """Manage the tenant to try things in, with simulated devices."""


def _show(made: NewSandbox) -> None:
    # Standard output holds the key alone, so that it can go to a file.
    devices = f"{len(made.sandbox.device_ids)} simulated devices"
    click.echo(f"sandbox {made.sandbox.tenant_id}, {devices}; its API key is not shown again:", err=True)
    click.echo(made.secret)


@sandbox.command("create")
@client_command
def create_sandbox(connection: Connection) -> None:
    """Make the tenant's sandbox, and print an API key for it.

    \b
    Examples:
      spacelink partner sandbox create > sandbox.key
      spacelink telemetry latest --api-key-file sandbox.key
    """
    with connection.client() as client:
        _show(client.create_sandbox())


@sandbox.command("reset")
@client_command
def reset_sandbox(connection: Connection) -> None:
    """Make the sandbox what it was at first, and print its new API key; the others end.

    \b
    Examples:
      spacelink partner sandbox reset > sandbox.key
    """
    with connection.client() as client:
        _show(client.reset_sandbox())
