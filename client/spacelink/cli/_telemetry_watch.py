"""`spacelink telemetry watch`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import click

from spacelink.cli._connection import Connection, client_command
from spacelink.cli._fleet import show_live
from spacelink.cli._known import warn_of_metrics
from spacelink.cli._output import output_option, sample_writer
from spacelink.cli._telemetry_read import devices_option, metrics_option
from spacelink.errors import SpaceLinkError


@click.command()
@devices_option
@metrics_option
@output_option
@client_command
def watch(connection: Connection, device_ids: tuple[str, ...], metrics: tuple[str, ...], output: str) -> None:
    """Show samples live as they are committed, until Ctrl-C.

    On a terminal a table of the devices, elsewhere each sample as `query` gives
    it. Batches that came faster than they were read are lost and counted.

    \b
    Examples:
      spacelink telemetry watch
      spacelink telemetry watch --device-id dish-01 --output json | jq .latency_ms
    """
    warn_of_metrics(metrics, (), "it is shown once a device sends it")
    # Ctrl-C is how a watch ends.
    with suppress(KeyboardInterrupt):
        if output == "table":
            _watch_table(connection, device_ids, metrics)
        else:
            _watch_samples(connection, device_ids, metrics, output)


def _watch_table(connection: Connection, device_ids: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    if not sys.stdout.isatty():
        raise click.UsageError("--output table needs a terminal; json and csv do not")

    async def run() -> None:
        async with connection.async_client() as client:
            await show_live(client, device_ids, metrics)

    try:
        asyncio.run(run())
    except* SpaceLinkError as errors:
        raise errors.exceptions[0] from None


def _watch_samples(
    connection: Connection, device_ids: tuple[str, ...], metrics: tuple[str, ...], output: str
) -> None:
    writer = sample_writer(output, metrics)
    with connection.client() as client:
        for update in client.watch_telemetry(device_ids, metrics):
            if update.lost_batches:
                click.echo(f"{update.lost_batches} batches lost: they came faster than read", err=True)
            writer.write(update.samples)
