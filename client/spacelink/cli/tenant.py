"""The `spacelink tenant` commands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from spacelink.cli._connection import Connection, installation_command
from spacelink.cli._moments import DurationParam
from spacelink.cli._output import output_option, to_record, write_records

if TYPE_CHECKING:
    from click.decorators import FC

# What fits into the requests.
_LIMIT = click.IntRange(0, 2**63 - 1)
_DAYS = click.IntRange(0, 2**31 - 1)


@click.group()
def tenant() -> None:
    """Manage tenants: customers whose data nobody else sees."""


def _attributes(function: FC) -> FC:
    for declare in (
        click.option("--domain", "domains", multiple=True, help="Domain of its people; repeatable."),
        click.option(
            "--rollup-retention-days",
            type=_DAYS,
            metavar="N",
            help="How long its rollups are kept, in days (UTC); 0 means for ever.",
        ),
        click.option(
            "--raw-retention-days",
            type=_DAYS,
            metavar="N",
            help="How long its samples are kept, in days (UTC); 0 means for ever.",
        ),
        click.option("--max-devices", type=_LIMIT, metavar="N", help="The most devices; 0 means no limit."),
        click.option(
            "--samples-per-day",
            type=_LIMIT,
            metavar="N",
            help="What it may store in a day (UTC); 0 means no limit.",
        ),
        click.option("--name", help="For people."),
    ):
        function = declare(function)
    return function


@tenant.command()
@click.argument("tenant_id")
@_attributes
@installation_command
def create(
    connection: Connection,
    tenant_id: str,
    name: str | None,
    domains: tuple[str, ...],
    **numbers: int | None,
) -> None:
    """Create the tenant TENANT_ID with a key of its own.

    \b
    Examples:
      spacelink tenant create acme --name 'Acme Inc.' --samples-per-day 10000000 --domain acme.example
    """
    with connection.admin_client() as client:
        client.create_tenant(
            tenant_id,
            display_name=name or "",
            domains=domains,
            **{number: value or 0 for number, value in numbers.items()},
        )
    click.echo(f"tenant {tenant_id} is created")


@tenant.command("list")
@output_option
@installation_command
def list_(connection: Connection, output: str) -> None:
    """List the tenants.

    \b
    Examples:
      spacelink tenant list
    """
    with connection.admin_client() as client:
        records = [to_record(tenant) for tenant in client.list_tenants()]
    write_records(output, records, things="tenants")


@tenant.command()
@click.argument("tenant_id")
@_attributes
@click.option("--no-domains", is_flag=True, help="It has no domains any more.")
@installation_command
def update(
    connection: Connection,
    tenant_id: str,
    name: str | None,
    domains: tuple[str, ...],
    no_domains: bool,
    **numbers: int | None,
) -> None:
    """Change the tenant TENANT_ID; what is not given stays.

    \b
    Examples:
      spacelink tenant update acme --samples-per-day 0
      spacelink tenant update acme --raw-retention-days 90 --rollup-retention-days 730
      spacelink tenant update acme --domain acme.example --domain acme.test
    """
    if domains and no_domains:
        raise click.UsageError("expected --domain or --no-domains, not both")
    new_domains = domains or (() if no_domains else None)
    if all(value is None for value in (name, new_domains, *numbers.values())):
        raise click.UsageError("nothing to change; give an option, such as --samples-per-day 0")
    with connection.admin_client() as client:
        client.update_tenant(tenant_id, display_name=name, domains=new_domains, **numbers)
    click.echo(f"tenant {tenant_id} is updated")


@tenant.command("rotate-key")
@click.argument("tenant_id")
@click.option(
    "--overlap",
    type=DurationParam(),
    help="How long tokens of the old key stay good, such as 0s or 7d. Default: 24h.",
)
@installation_command
def rotate_key(connection: Connection, tenant_id: str, overlap: int | None) -> None:
    """Give the tenant TENANT_ID a new key, which signs its tokens from now on.

    \b
    Examples:
      spacelink tenant rotate-key acme --overlap 7d
    """
    length = None if overlap is None else timedelta(seconds=overlap)
    with connection.admin_client() as client:
        rotation = client.rotate_tenant_key(tenant_id, overlap=length)
    end = rotation.old_key_expire_time
    click.echo(
        f"key {rotation.key_version} of tenant {tenant_id} signs new tokens; "
        f"those of the key before are good until {end:%Y-%m-%dT%H:%M:%SZ}"
    )
