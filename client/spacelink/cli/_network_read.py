"""`spacelink network health`, `sla`, `trend` and `incidents`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spacelink.cli import _network_tables as tables
from spacelink.cli._connection import Connection, client_command
from spacelink.cli._known import warn_of_metrics
from spacelink.cli._moments import DurationParam, MomentParam
from spacelink.cli._output import output_option, report_option, to_record, write_records
from spacelink.cli._sla_page import sla_page
from spacelink.columns import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.decorators import FC

    from spacelink.networks import HealthReport, Incident, SlaReport, Trend


# What a trend can follow besides metrics that devices made up: the scores.
_TRENDS = (*METRICS, "qoo", "r_factor")


def device_option(help: str) -> Callable[[FC], FC]:  # noqa: A002 - click's name for it
    """Declare --device-id."""
    return click.option("--device-id", "device_ids", multiple=True, metavar="ID", help=help)


def _range_options(default_start: str) -> Callable[[FC], FC]:
    def declare(function: FC) -> FC:
        start = click.option(
            "--start",
            type=MomentParam(),
            help="First moment: RFC 3339, a date, now, or some time ago such as -1h. "
            f"Default: {default_start}.",
        )
        end = click.option("--end", type=MomentParam(), help="Moment to stop before. Default: now.")
        return start(end(function))

    return declare


_profile_option = click.option(
    "--profile", metavar="ID", default="", help="The score profile. Default: the network's."
)


@click.command()
@click.argument("network_id")
@_range_options("an hour before the end")
@_profile_option
@device_option("Only this device of the network; repeatable.")
@report_option
@client_command
def health(
    connection: Connection,
    network_id: str,
    start: int | None,
    end: int | None,
    profile: str,
    device_ids: tuple[str, ...],
    output: str,
) -> None:
    """Score NETWORK_ID and its devices, the worst first.

    \b
    Examples:
      spacelink network health north
      spacelink network health north --start -7d --profile voice
    """
    with connection.client() as client:
        report = client.get_network_health(
            network_id, start=start, end=end, profile_id=profile, device_ids=device_ids
        )
    _write(output, report, tables.print_health, _health_rows)


@click.command()
@click.argument("network_id")
@click.option("--period", type=MomentParam(), help="A moment in the calendar period wanted. Default: now.")
@click.option("--start", type=MomentParam(), help="First moment of any other range.")
@click.option("--end", type=MomentParam(), help="Moment to stop before.")
@device_option("Only this device of the network; repeatable.")
@click.option(
    "--report",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE.html",
    help="Write a page to send, with plots, instead.",
)
@report_option
@client_command
def sla(
    connection: Connection,
    network_id: str,
    period: int | None,
    start: int | None,
    end: int | None,
    device_ids: tuple[str, ...],
    file: Path | None,
    output: str,
) -> None:
    """Tell whether NETWORK_ID kept its SLA.

    \b
    Examples:
      spacelink network sla north
      spacelink network sla north --period 2026-01-15T00:00:00Z --report north-2026-01.html
    """
    with connection.client() as client:
        report = client.get_network_sla(
            network_id, period=period, start=start, end=end, device_ids=device_ids
        )
    if file is None:
        _write(output, report, tables.print_sla, _sla_rows)
        return
    try:
        file.write_text(sla_page(report), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from None
    click.echo(f"{file} is written")


@click.command()
@click.argument("network_id")
@click.argument("metric")
@_range_options("a day before the end")
@click.option("--step", type=DurationParam(), help="Time between points. Default: fits the range.")
@_profile_option
@device_option("Only this device of the network; repeatable.")
@report_option
@client_command
def trend(
    connection: Connection,
    network_id: str,
    metric: str,
    output: str,
    **options: Any,
) -> None:
    """Follow METRIC of NETWORK_ID over time: a metric such as latency_ms, or qoo or r_factor.

    \b
    Examples:
      spacelink network trend north latency_ms
      spacelink network trend north qoo --start -7d --step 1h --output csv
    """
    with connection.client() as client:
        report = client.get_network_trend(
            network_id,
            metric,
            options["start"],
            options["end"],
            step=None if options["step"] is None else timedelta(seconds=options["step"]),
            profile_id=options["profile"],
            device_ids=options["device_ids"],
        )
    _write(output, report, tables.print_trend, _trend_rows)
    if not report.points and report.previous is None:
        warn_of_metrics([metric], (), "no device of the network has it in the range", _TRENDS)


@click.command()
@click.argument("network_id", default="")
@_range_options("the beginning")
@device_option("Only this device; repeatable.")
@click.option("--open", "open_only", is_flag=True, help="Only those that are open.")
@output_option
@client_command
def incidents(
    connection: Connection,
    network_id: str,
    start: int | None,
    end: int | None,
    device_ids: tuple[str, ...],
    open_only: bool,
    output: str,
) -> None:
    """List incidents of NETWORK_ID, or of all devices, the newest first.

    \b
    Examples:
      spacelink network incidents --open
      spacelink network incidents north --start -24h --output csv
    """
    with connection.client() as client:
        found = client.list_incidents(network_id, start, end, device_ids=device_ids, open_only=open_only)
        records = [_incident_record(incident) for incident in found]
    write_records(output, records, things="incidents", droppable=("incident_id", "detect_time", "threshold"))


def _write(output: str, report: Any, picture: Any, rows: Any) -> None:
    if output == "table":
        picture(report)
    elif output == "json":
        click.echo(json.dumps(to_record(report)))
    else:
        write_records("csv", rows(report))


def _health_rows(report: HealthReport) -> list[dict[str, object]]:
    names = sorted(
        {item.input for device in report.devices for item in device.window.items},
    )
    return [
        {
            "device_id": device.device_id,
            "score_now": device.now.score,
            "score": device.window.score,
            "sample_count": device.window.sample_count,
            **dict.fromkeys(names),
            **{item.input: item.measured for item in device.window.items},
            "r_factor": device.window.voice.r_factor if device.window.voice else None,
            "mos": device.window.voice.mos if device.window.voice else None,
            "offline_sample_percent": device.window.offline_sample_percent,
        }
        for device in report.devices
    ]


def _sla_rows(report: SlaReport) -> list[dict[str, object]]:
    rows = []
    for device in report.devices:
        record = to_record(device)
        for name in ("outages", "objectives", "all_objectives"):
            del record[name]
        rows.append(record)
    return rows


def _trend_rows(report: Trend) -> list[dict[str, object]]:
    return [to_record(point) for point in report.points]


def _incident_record(incident: Incident) -> dict[str, object]:
    record = to_record(incident)
    # The id is for programs, so it comes last.
    return {**{name: value for name, value in record.items() if name != "incident_id"}, **record}
