"""`spacelink telemetry send`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from spacelink._sample_rules import TIME_RULE, bounds_of
from spacelink.cli._connection import Connection, client_command
from spacelink.cli._moments import MomentParam
from spacelink.cli._sample_cells import BadRowError, is_storable, read_value
from spacelink.columns import METRICS, TelemetryColumns, status_names

if TYPE_CHECKING:
    from click.decorators import FC

_STATUSES = [name for name in status_names() if name != "UNSPECIFIED"]


def _metric_options(function: FC) -> FC:
    for name in reversed(METRICS):
        function = click.option(f"--{name.replace('_', '-')}", name, type=float, metavar="X")(function)
    return function


@click.command()
@click.option("--device-id", required=True, help="The device the sample is of.")
@click.option(
    "--time",
    type=MomentParam(),
    default="now",
    show_default=True,
    help="RFC 3339, or some time ago such as -5m.",
)
@_metric_options
@click.option(
    "--metric", "others", multiple=True, metavar="NAME=X", help="Any other metric; may be repeated."
)
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False))
@client_command
def send(
    connection: Connection,
    device_id: str,
    time: int,
    others: tuple[str, ...],
    status: str | None,
    **metrics: float | None,
) -> None:
    """Send one sample, and wait until it is committed to disk.

    \b
    Examples:
      spacelink telemetry send --device-id dish-01 --latency-ms 31.5 --status active
      spacelink telemetry send --device-id dish-01 --time -5m --metric azimuth_deg=212.5
    """
    values = {name: value for name, value in metrics.items() if value is not None}
    values |= dict(map(_name_and_value, others))
    if not values and status is None:
        raise click.UsageError("nothing to send; give a metric, such as --latency-ms 31.5, or --status")
    if not is_storable(time):
        raise click.UsageError(f"--time: expected a time {TIME_RULE}")
    for name, value in values.items():
        _check_value(name, value)
    try:
        sample = TelemetryColumns.from_arrays(
            device_id, [time], status=status, **{name: [value] for name, value in values.items()}
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with connection.client() as client:
        client.submit_telemetry(sample)
    click.echo(f"1 sample of {device_id} committed")


def _name_and_value(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.UsageError(f"--metric {text}: expected NAME=X, such as azimuth_deg=212.5") from None


def _check_value(name: str, value: float) -> None:
    flag = f"--{name.replace('_', '-')}" if name in METRICS else f"--metric {name}"
    if math.isnan(value):
        # It stands for what was not measured; nobody sends that.
        raise click.UsageError(f"{flag}: nan is no value; expected {bounds_of(name).text}")
    try:
        read_value(name, value)
    except BadRowError as error:
        raise click.UsageError(f"{flag}: {error.problem}") from None
