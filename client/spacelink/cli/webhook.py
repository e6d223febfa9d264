"""The `spacelink webhook` commands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from spacelink._messages import enum_names
from spacelink.cli._connection import Connection, client_command
from spacelink.cli._moments import DurationParam
from spacelink.cli._output import output_option, to_record, write_records
from spacelink.v1.partner_pb2 import WebhookPayload

if TYPE_CHECKING:
    from spacelink.partners import NewWebhook

_PAYLOADS = enum_names(WebhookPayload.DESCRIPTOR)


@click.group()
def webhook() -> None:
    """Have events sent to URLs, and look after what was not."""


def _show(made: NewWebhook) -> None:
    # Standard output holds the secret alone, so that it can go to a file.
    click.echo(f"webhook {made.webhook.webhook_id}; its secret is not shown again:", err=True)
    click.echo(made.secret)


@webhook.command()
@click.argument("url")
@click.option(
    "--event",
    "event_types",
    multiple=True,
    metavar="TYPE",
    help="Event such as incident.opened; repeatable. Default: all.",
)
@click.option(
    "--payload", type=click.Choice(_PAYLOADS), default=_PAYLOADS[0], show_default=True, help="Its form."
)
@click.option("--name", default="", help="For people.")
@client_command
def create(connection: Connection, url: str, event_types: tuple[str, ...], payload: str, name: str) -> None:
    """Have events sent to URL, and print the secret that they are signed with.

    \b
    Examples:
      spacelink webhook create https://hooks.acme.example/spacelink > webhook.secret
      spacelink webhook create https://alerts.acme.example/api --payload alertmanager \\
        --event incident.opened --event incident.closed --name alerts
    """
    with connection.client() as client:
        _show(client.create_webhook(url, event_types, payload=payload, display_name=name))


@webhook.command("list")
@output_option
@client_command
def list_(connection: Connection, output: str) -> None:
    """List the tenant's webhooks, newest first.

    \b
    Examples:
      spacelink webhook list
      spacelink webhook list --output json | jq -r .webhook_id
    """
    with connection.client() as client:
        records = [to_record(each) for each in client.list_webhooks()]
    write_records(output, records, things="webhooks")


@webhook.command()
@click.argument("webhook_id")
@client_command
def delete(connection: Connection, webhook_id: str) -> None:
    """Delete WEBHOOK_ID, and what it was yet to be sent.

    \b
    Examples:
      spacelink webhook delete 0123456789abcdef0123456789abcdef
    """
    with connection.client() as client:
        client.delete_webhook(webhook_id)
    click.echo(f"webhook {webhook_id} is deleted")


@webhook.command()
@click.argument("webhook_id")
@client_command
def test(connection: Connection, webhook_id: str) -> None:
    """Send WEBHOOK_ID the event webhook.test, and tell what came of it.

    \b
    Examples:
      spacelink webhook test 0123456789abcdef0123456789abcdef
    """
    with connection.client() as client:
        found = client.test_webhook(webhook_id)
    if not found.delivered:
        raise click.ClickException(f"not delivered: {found.error}")
    click.echo(f"delivered, answered with status {found.status_code}")


@webhook.command()
@click.argument("webhook_id")
@client_command
def enable(connection: Connection, webhook_id: str) -> None:
    """Have events sent again by WEBHOOK_ID.

    \b
    Examples:
      spacelink webhook enable 0123456789abcdef0123456789abcdef
    """
    with connection.client() as client:
        client.enable_webhook(webhook_id)
    click.echo(f"webhook {webhook_id} is enabled")


@webhook.command("rotate-secret")
@click.argument("webhook_id")
@click.option(
    "--overlap",
    type=DurationParam(),
    help="How long deliveries are signed with the old secret, too, such as 0s or 12h. Default: 24h.",
)
@client_command
def rotate_secret(connection: Connection, webhook_id: str, overlap: int | None) -> None:
    """Give WEBHOOK_ID a new secret, and print it.

    \b
    Examples:
      spacelink webhook rotate-secret 0123456789abcdef0123456789abcdef --overlap 2h > webhook.secret
    """
    length = None if overlap is None else timedelta(seconds=overlap)
    with connection.client() as client:
        _show(client.rotate_webhook_secret(webhook_id, overlap=length))


@webhook.command()
@click.argument("webhook_id")
@click.option("--dead", is_flag=True, help="Only what is not tried any more.")
@output_option
@client_command
def deliveries(connection: Connection, webhook_id: str, dead: bool, output: str) -> None:
    """List what WEBHOOK_ID was not sent yet, and what it could not be sent, newest first.

    \b
    Examples:
      spacelink webhook deliveries 0123456789abcdef0123456789abcdef
      spacelink webhook deliveries 0123456789abcdef0123456789abcdef --dead --output json | jq .error
    """
    with connection.client() as client:
        records = [to_record(each) for each in client.list_webhook_deliveries(webhook_id, dead_only=dead)]
    write_records(output, records, things="deliveries")


@webhook.command()
@click.argument("webhook_id")
@click.argument("event_ids", nargs=-1, metavar="[EVENT_ID]...")
@client_command
def redeliver(connection: Connection, webhook_id: str, event_ids: tuple[str, ...]) -> None:
    """Send WEBHOOK_ID again what it could not be sent: these events, or all.

    \b
    Examples:
      spacelink webhook redeliver 0123456789abcdef0123456789abcdef
    """
    with connection.client() as client:
        count = client.redeliver_webhook(webhook_id, event_ids)
    click.echo(f"sent again: {count}")
