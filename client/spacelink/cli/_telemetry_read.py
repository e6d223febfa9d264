"""`spacelink telemetry query`, `latest` and `summary`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spacelink._times import rfc3339
from spacelink.cli._connection import Connection, client_command
from spacelink.cli._known import (
    Seen,
    check_metrics,
    end_on_unknown,
    unknown_devices,
    warn_of_metrics,
)
from spacelink.cli._moments import MomentParam
from spacelink.cli._output import SampleWriter, output_option, sample_writer, write_records
from spacelink.cli._tables import console

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from click.decorators import FC

    from spacelink.columns import TelemetryColumns
    from spacelink.results import TelemetrySummary

# What still reads as a table; more is for a file.
_TABLE_ROWS = 1000

_NOT_SAMPLED = "no sample in the range has it"


def devices_option(function: FC) -> FC:
    """Declare --device-id."""
    return click.option(
        "--device-id", "device_ids", multiple=True, help="A device; may be repeated. Default: all devices."
    )(function)


def metrics_option(function: FC) -> FC:
    """Declare --metric."""
    return click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="NAME",
        callback=check_metrics,
        help="A metric, or status; may be repeated. Default: all.",
    )(function)


def range_options(function: FC) -> FC:
    """Declare --start and --end."""
    start = click.option(
        "--start",
        type=MomentParam(),
        help="First moment: RFC 3339, now, or some time ago: -90s, -15m, -1h, -7d. Default: the beginning.",
    )
    end = click.option("--end", type=MomentParam(), help="Moment to stop before. Default: no end.")
    return start(end(function))


@click.command()
@devices_option
@range_options
@metrics_option
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"The most samples wanted. Default: {_TABLE_ROWS} in a table, all otherwise.",
)
@output_option
@client_command
def query(
    connection: Connection,
    device_ids: tuple[str, ...],
    start: int | None,
    end: int | None,
    metrics: tuple[str, ...],
    limit: int | None,
    output: str,
) -> None:
    """Read the samples in the range start <= time < end, device by device.

    Times have all their nanoseconds and values the fewest digits that give them
    back, so json and csv are exact; `import` reads both. In csv and arrow,
    metrics without a column of their own are in the cell extra, unless they are
    asked for with --metric.

    The exit status is 1 where a device is named of which the server has no
    sample; the others' samples are written all the same.

    \b
    Examples:
      spacelink telemetry query --device-id dish-01 --start -15m
      spacelink telemetry query --start 2026-01-31T00:00:00Z --output csv > samples.csv
      spacelink telemetry query --start -1h --metric latency_ms --output json | jq .latency_ms
    """
    most = limit or (_TABLE_ROWS if output == "table" else None)
    with connection.client() as client:
        writer = sample_writer(output, metrics)
        seen = Seen()
        batches = seen.each(client.query_telemetry(device_ids, start, end, metrics))
        is_complete = _write(batches, most, writer)
        unknown = unknown_devices(client, device_ids, seen.device_ids)
    writer.close()
    if not is_complete and limit is None:
        console(stderr=True).print(
            f"These are the first {_TABLE_ROWS:,} samples; --limit N shows more, --output csv gives all."
        )
    if is_complete:
        warn_of_metrics(metrics, seen.metrics, _NOT_SAMPLED)
    end_on_unknown(unknown)


def _write(batches: Iterable[TelemetryColumns], limit: int | None, writer: SampleWriter) -> bool:
    """Write up to limit samples; tell whether that was all."""
    for samples in batches:
        if limit == 0:
            return False
        writer.write(samples.take(slice(limit)))
        if limit is not None:
            if len(samples) > limit:
                return False
            limit -= len(samples)
    return True


@click.command()
@devices_option
@output_option
@client_command
def latest(connection: Connection, device_ids: tuple[str, ...], output: str) -> None:
    """Read the newest sample of each device.

    The exit status is 1 where a device is named of which the server has none.

    \b
    Examples:
      spacelink telemetry latest
      spacelink telemetry latest --device-id dish-01 --output json
    """
    with connection.client() as client:
        writer = sample_writer(output, ())
        seen = Seen()
        for sample in seen.each(client.list_latest_telemetry(device_ids)):
            writer.write(sample)
    writer.close()
    end_on_unknown(sorted(set(device_ids) - seen.device_ids))


@click.command()
@devices_option
@range_options
@metrics_option
@click.option("--per-device", is_flag=True, help="A summary of each device instead of one of all.")
@output_option
@client_command
def summary(
    connection: Connection,
    device_ids: tuple[str, ...],
    start: int | None,
    end: int | None,
    metrics: tuple[str, ...],
    per_device: bool,
    output: str,
) -> None:
    """Summarise each metric in the range start <= time < end.

    The exit status is 1 where a device is named of which the server has no
    sample.

    \b
    Examples:
      spacelink telemetry summary --start -1h
      spacelink telemetry summary --per-device --metric latency_ms --output csv
    """
    with connection.client() as client:
        summaries = client.summarize_telemetry(device_ids, start, end, metrics, per_device=per_device)
        unknown = unknown_devices(client, device_ids, {each.device_id for each in summaries})
    records = [record for summary in summaries for record in _records(summary, per_device)]
    write_records(output, records, droppable=("p99", "min", "p50", "p95"))
    if output == "table" and not per_device:
        for whole in summaries:
            console().print(f"{whole.sample_count:,} samples")
            console().print(f"from {_text(whole.first_time)} to {_text(whole.last_time)}")
    found = {name for each in summaries for name in each.metrics}
    warn_of_metrics(metrics, found, _NOT_SAMPLED)
    end_on_unknown(unknown)


def _records(summary: TelemetrySummary, per_device: bool) -> list[dict[str, object]]:
    return [
        {
            **({"device_id": summary.device_id} if per_device else {}),
            "metric": name,
            "count": metric.count,
            "mean": metric.mean,
            "min": metric.min,
            "p50": metric.p50,
            "p95": metric.p95,
            "p99": metric.p99,
            "max": metric.max,
        }
        for name, metric in summary.metrics.items()
    ]


def _text(time: np.datetime64) -> str:
    return rfc3339(time.reshape(1).view("i8"))[0]
