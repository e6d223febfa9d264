"""The `spacelink network` commands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from spacelink._times import nanos
from spacelink.cli._connection import Connection, client_command
from spacelink.cli._moments import DurationParam
from spacelink.cli._network_read import device_option, health, incidents, sla, trend
from spacelink.cli._output import output_option, write_records
from spacelink.networks import MaintenanceWindow, Objective, Sla

if TYPE_CHECKING:
    from click.decorators import FC

_METRICS = "latency_pN_ms, packet_loss_percent or qoo"


@click.group()
def network() -> None:
    """Ask for the health, SLA, trends and incidents of networks."""


class _ObjectiveParam(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    name = "objective"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Objective:
        try:
            return _objective(value)
        except ValueError:
            rule = f"expected METRIC:TARGET:SEVERE, such as latency_p95_ms:100:200; METRIC is {_METRICS}"
            self.fail(f"{value!r}: {rule}", param, ctx)


def _objective(text: str) -> Objective:
    metric, target, severe = text.split(":")
    if metric.startswith("latency_p") and metric.endswith("_ms"):
        percentile = float(metric.removeprefix("latency_p").removesuffix("_ms"))
        return Objective("latency_ms", float(target), float(severe), percentile)
    if metric not in ("packet_loss_percent", "qoo"):
        raise ValueError(metric)
    return Objective(metric, float(target), float(severe))


class _WindowParam(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    name = "window"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> MaintenanceWindow:
        start, _, end = value.partition("/")
        try:
            return MaintenanceWindow(_datetime(start), _datetime(end))
        except ValueError as error:
            self.fail(f"{error}; expected START/END", param, ctx)


def _datetime(text: str) -> datetime:
    return datetime.fromtimestamp(nanos(text) // 1_000_000_000, UTC)


def _sla_options(function: FC) -> FC:
    for declare in (
        click.option(
            "--maintenance",
            "windows",
            type=_WindowParam(),
            multiple=True,
            metavar="START/END",
            help="Planned maintenance, RFC 3339; repeatable.",
        ),
        click.option("--objective-interval", type=DurationParam(), default="5m", show_default=True),
        click.option(
            "--objective",
            "objectives",
            type=_ObjectiveParam(),
            multiple=True,
            metavar="METRIC:TARGET:SEVERE",
            help=f"What each interval is to meet; METRIC is {_METRICS}; repeatable.",
        ),
        click.option(
            "--max-sample-gap",
            type=DurationParam(),
            default="30s",
            show_default=True,
            help="How far apart samples may be without the time between them being unknown.",
        ),
        click.option(
            "--unknown",
            type=click.Choice(["up", "down", "excluded"]),
            default="excluded",
            show_default=True,
            help="How time without telemetry counts.",
        ),
        click.option(
            "--min-outage",
            type=DurationParam(),
            default="60s",
            show_default=True,
            help="From which length on an outage counts.",
        ),
        click.option(
            "--period",
            type=click.Choice(["day", "week", "month", "quarter", "year"]),
            default="month",
            show_default=True,
        ),
        click.option(
            "--target", type=float, default=99.9, show_default=True, help="Availability to reach, in percent."
        ),
    ):
        function = declare(function)
    return function


@network.command()
@click.argument("network_id")
@device_option("One of its devices; repeatable.")
@click.option("--name", default="", help="For people.")
@click.option("--profile", metavar="ID", default="", help="Its score profile. Default: leo.")
@_sla_options
@client_command
def create(
    connection: Connection,
    network_id: str,
    device_ids: tuple[str, ...],
    name: str,
    profile: str,
    **terms: Any,
) -> None:
    """Create the network NETWORK_ID.

    \b
    Examples:
      spacelink network create north --device-id dish-01 --device-id dish-02 --name 'Northern sites'
      spacelink network create north --target 99.5 --objective latency_p95_ms:100:200 --objective qoo:90:50
    """
    sla = Sla(
        availability_target_percent=terms["target"],
        period=terms["period"],
        min_outage=timedelta(seconds=terms["min_outage"]),
        unknown_time=terms["unknown"],
        max_sample_gap=timedelta(seconds=terms["max_sample_gap"]),
        maintenance_windows=terms["windows"],
        objectives=terms["objectives"],
        objective_interval=timedelta(seconds=terms["objective_interval"]),
    )
    with connection.client() as client:
        client.create_network(network_id, device_ids, display_name=name, sla=sla, profile_id=profile)
    click.echo(f"network {network_id} is created")


@network.command("list")
@output_option
@client_command
def list_(connection: Connection, output: str) -> None:
    """List the networks.

    \b
    Examples:
      spacelink network list
    """
    with connection.client() as client:
        records = [
            {
                "network_id": each.network_id,
                "name": each.display_name,
                "devices": each.device_count,
                "target_percent": each.sla.availability_target_percent,
                "period": each.sla.period,
                "profile": each.profile_id or "leo",
            }
            for each in client.list_networks()
        ]
    write_records(output, records, things="networks")


@network.command()
@click.argument("network_id")
@click.option("--add", multiple=True, metavar="ID", help="A device to add; repeatable.")
@click.option("--remove", multiple=True, metavar="ID", help="A device to remove; repeatable.")
@client_command
def devices(connection: Connection, network_id: str, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Change the devices of NETWORK_ID, and list them.

    \b
    Examples:
      spacelink network devices north
      spacelink network devices north --add dish-03 --remove dish-01
    """
    with connection.client() as client:
        if add or remove:
            client.update_network_devices(network_id, add=add, remove=remove)
        for device_id in client.list_network_devices(network_id):
            click.echo(device_id)


for command in (health, sla, trend, incidents):
    network.add_command(command)
