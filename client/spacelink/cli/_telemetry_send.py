"""`spacelink telemetry send` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spacelink.cli._connection import Connection, client_command
from spacelink.cli._moments import MomentParam
from spacelink.cli._progress import byte_progress
from spacelink.cli._samples_file import open_samples
from spacelink.columns import METRICS, TelemetryColumns, status_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.decorators import FC

# Starting over is worse than waiting for a server that restarts on a busy
# machine.
_IMPORT_RETRY_SECONDS = 15.0

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


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@client_command
def import_(connection: Connection, file: Path) -> None:
    """Store the samples of a FILE as `query` writes it.

    FILE is CSV or JSON lines, plain or gzip. It needs device_id and time
    (RFC 3339); every other cell is a metric, but for status and extra. An
    import that broke off may be repeated: queries give samples that are equal
    in every column once.

    \b
    Examples:
      spacelink telemetry import samples.csv.gz
      spacelink telemetry query --output csv > samples.csv
      spacelink telemetry import --server 127.0.0.1:50061 samples.csv
    """
    with (
        open_samples(file) as samples,
        connection.client(_IMPORT_RETRY_SECONDS) as client,
        byte_progress("reading", file.stat().st_size) as advance,
    ):

        def batches() -> Iterator[TelemetryColumns]:
            for batch in samples.batches():
                advance(samples.position)
                yield batch

        count = client.ingest_columns(batches())
    click.echo(f"{count:,} samples committed")
