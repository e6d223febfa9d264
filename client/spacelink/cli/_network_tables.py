"""What is found about networks, for people at a terminal."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from spacelink.cli._charts import bar, line_chart
from spacelink.cli._tables import (
    add_device_column,
    console,
    decimals,
    details_table,
    plain_table,
    print_table,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.table import Table

    from spacelink.networks import (
        DeviceHealth,
        DeviceSla,
        HealthReport,
        HealthScore,
        NetworkHealth,
        ObjectiveResult,
        SlaReport,
        Trend,
        TrendPoint,
    )

_BAR_WIDTH = 12
# On narrower screens tables have less columns.
_WIDE = 110
_CHART_HEIGHT = 12
# What a chart's axis takes of the width, at least: a number and the line.
_AXIS_WIDTH = 11

# What still reads as a table.
_MOST_OUTAGES = 50

_UNITS = {"latency_ms": "ms", "jitter_ms": "ms", "packet_loss_percent": "%", "power_w": "W"}


def print_health(report: HealthReport) -> None:
    """Print the health of a network and its devices."""
    screen = console()
    window = report.window
    rows: list[tuple[str, Text | str]] = [
        ("network", Text(printable(report.network_id), "bold")),
        ("range", f"{moment(window.start_time)} to {moment(window.end_time)}"),
        ("profile", report.profile.profile_id),
        ("now", _network_score(report.now)),
        ("over the range", _network_score(window)),
        ("devices", _device_counts(window)),
    ]
    screen.print(details_table(rows))
    print_table(_health_table(report.devices, is_wide=screen.width >= _WIDE))
    screen.print("The network's score is that of its worst device.", style="dim")


def print_sla(report: SlaReport) -> None:
    """Print whether a network kept its SLA."""
    screen = console()
    whole = report.network
    verdict = Text("kept", "bold green") if whole.compliant else Text("broken", "bold red")
    if whole.availability_percent is None:
        verdict = Text("unknown: there is no telemetry", "bold yellow")
    screen.print(
        details_table(
            [
                ("network", Text(printable(report.display_name or report.network_id), "bold")),
                ("range", f"{moment(report.start_time)} to {moment(report.end_time)}"),
                ("looked at until", moment(report.evaluated_until_time)),
                ("SLA", verdict),
                ("target", f"{report.sla.availability_target_percent:g} %"),
                ("worst device", printable(whole.worst_device_id) or "-"),
                ("its availability", f"{percent(whole.availability_percent)} {worst_known(report)}"),
                ("all devices' time", f"{percent(whole.pooled_availability_percent)} {pooled_known(report)}"),
                ("devices that kept it", kept(report)),
            ]
        )
    )
    is_wide = screen.width >= _WIDE
    print_table(_sla_table(report.devices, is_wide=is_wide))
    _print_outages(report.devices, is_wide=is_wide)
    if whole.objectives:
        print_table(_objective_table(whole.objectives))
    screen.print("Unknown time is " + _UNKNOWN[report.sla.unknown_time], style="dim")


def print_trend(report: Trend) -> None:
    """Print a series as a chart."""
    screen = console()
    unit = _UNITS.get(report.metric, "")
    title = f"{report.metric} of {report.network_id}, every {length(report.step)}"
    screen.print(Text(printable(title), "bold"), Text("p50", "cyan"), Text("p95", "yellow"))
    if not report.points:
        console(stderr=True).print("no values")
        return
    p95, p50 = (_steps(report, name) for name in ("p95", "p50"))
    axis = _axis_width([value for value in (*p95, *p50) if value is not None])
    width = max(min(screen.width - axis, 120), 20)
    rows, low, high = line_chart([("yellow", p95), ("cyan", p50)], width, _CHART_HEIGHT)
    for row, text in enumerate(rows):
        value = high - (high - low) * row / (_CHART_HEIGHT - 1)
        label = f"{value:,.2f}" if row % 3 == 0 or row == len(rows) - 1 else ""
        screen.print(Text(label.rjust(axis - 3) + " ┤"), text, sep="", soft_wrap=True)
    start, end = moment(report.start_time), moment(report.end_time)
    screen.print(" " * axis + start + end.rjust(max(width - len(start), len(end) + 1)))
    table = plain_table()
    for name in ("", "values", "p50", "p95", "min", "max"):
        table.add_column(name, justify="right" if name else "left")
    for name, point in (("this range", report.current), ("the range before", report.previous)):
        table.add_row(name, *_point_cells(point))
    table.add_row("change", "", _change(report.p50_change), _change(report.p95_change), "", "")
    print_table(table)
    if unit:
        screen.print(f"Values in {unit}.", style="dim")


def _axis_width(values: Sequence[float]) -> int:
    # A chart of a flat line has one more below it, and above.
    return max(_AXIS_WIDTH, *(len(f"{end:,.2f}") + 3 for end in (min(values) - 1, max(values) + 1)))


def kept(report: SlaReport) -> str:
    """Write how many of the devices that were heard of kept their SLA."""
    known = [device for device in report.devices if device.availability_percent is not None]
    text = f"{sum(device.compliant for device in known):,} of {len(known):,}"
    unknown = report.network.unknown_device_count
    return f"{text}, {unknown:,} unknown" if unknown else text


def moment(time: datetime | None) -> str:
    """Write a time for people; UTC."""
    return "-" if time is None else time.strftime("%Y-%m-%d %H:%M:%S")


def length(time: timedelta) -> str:
    """Write a length of time for people, such as 1d 2h 5m or 59s."""
    seconds = time.total_seconds()
    if seconds % 1 and seconds < 60:
        return f"{seconds:.3f}s"
    rest = round(seconds)
    parts = []
    for name, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts) or "0s"


def percent(value: float | None) -> str:
    """Write an availability: digits enough to see a second of a month."""
    return "-" if value is None else f"{value:.4f} %"


def worst_known(report: SlaReport) -> str:
    """Say of how much of its time the worst device's availability is known, where that is not all."""
    worst = report.network.worst_device_id
    return _known(report, [device for device in report.devices if device.device_id == worst])


def pooled_known(report: SlaReport) -> str:
    """Say of how much of all devices' time the availability is known, where that is not all."""
    return _known(report, report.devices)


def _known(report: SlaReport, devices: Sequence[DeviceSla]) -> str:
    share = _known_share(report, devices)
    if share == 1 or not devices:
        return ""
    # Rounded down: what is not wholly known must not seem to be.
    known = f"{math.floor(100 * share)} %" if share >= 0.01 else "less than 1 %"
    if report.sla.unknown_time == "excluded":
        return f"of the {known} of time that is known"
    return f"with {known} of time known"


def _known_share(report: SlaReport, devices: Sequence[DeviceSla]) -> float:
    """Tell of how much of the devices' time, outside of maintenance, there is telemetry: 0 to 1."""
    looked_at = report.evaluated_until_time - report.start_time
    counted = sum((looked_at - device.maintenance for device in devices), timedelta())
    unknown = sum((device.unknown for device in devices), timedelta())
    return max(1 - unknown / counted, 0.0) if counted > timedelta() else 1.0


_UNKNOWN = {
    "up": "counted as up.",
    "down": "counted as down.",
    "excluded": "left out of the availability.",
}


def _score_style(score: float) -> str:
    # The profiles' own ends: perfect, and useless.
    return "green" if score >= 90 else "yellow" if score > 0 else "red"


def _score(score: float | None) -> Text:
    return Text("-") if score is None else Text(f"{score:.0f}", _score_style(score))


def _network_score(health: NetworkHealth) -> Text:
    if health.score is None or health.worst_device is None:
        return Text("no telemetry", "yellow")
    text = Text.assemble(_score(health.score), " ", bar(health.score / 100, 20, _score_style(health.score)))
    text.append(f"  worst: {printable(health.worst_device.device_id)}, median {health.median_score:.0f}")
    return text


def _device_counts(health: NetworkHealth) -> Text:
    text = Text(f"{health.device_count:,}, of them {health.scored_device_count:,} scored")
    if health.silent_device_count:
        text.append(f", {health.silent_device_count:,} silent", "red")
    return text


def _health_table(devices: tuple[DeviceHealth, ...], *, is_wide: bool) -> Table:
    table = plain_table()
    add_device_column(table)
    for name in ("now", "range", *(("",) if is_wide else ())):
        table.add_column(name, no_wrap=True)
    table.add_column("held down by")
    for name in ("R", "MOS", "offline %", "samples") if is_wide else ():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last sample (UTC)", no_wrap=True)
    for device in devices:
        window = device.window
        table.add_row(
            Text(printable(device.device_id)),
            _score(device.now.score),
            _score(window.score),
            *((_score_bar(window.score),) if is_wide else ()),
            _held_down_by(window),
            *(_more_of_health(window) if is_wide else ()),
            moment(device.last_sample_time),
        )
    return table


def _score_bar(score: float | None) -> Text:
    return Text() if score is None else bar(score / 100, _BAR_WIDTH, _score_style(score))


def _more_of_health(window: HealthScore) -> tuple[str, str, str, str]:
    voice = window.voice
    return (
        "-" if voice is None else f"{voice.r_factor:.1f}",
        "-" if voice is None else f"{voice.mos:.2f}",
        decimals(window.offline_sample_percent),
        f"{window.sample_count:,}",
    )


def _held_down_by(score: HealthScore) -> str:
    if not score.items:
        return "no samples" if not score.sample_count else f"missing: {', '.join(score.missing_inputs)}"
    worst = min(score.items, key=lambda item: item.score)
    return f"{worst.input} {decimals(worst.measured)}" if worst.score < 100 else ""


def _sla_table(devices: tuple[DeviceSla, ...], *, is_wide: bool) -> Table:
    table = plain_table()
    add_device_column(table)
    table.add_column("SLA")
    times = ("down", "dips", "unknown", "maintenance") if is_wide else ("down", "unknown")
    for name in ("availability", *(("margin, pp",) if is_wide else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for name in times:
        table.add_column(name, justify="right")
    table.add_column("error budget used, minutes" if is_wide else "budget used, min", no_wrap=True)
    for device in devices:
        verdict = Text("kept", "green") if device.compliant else Text("broken", "red")
        if device.availability_percent is None:
            verdict = Text("unknown", "yellow")
        margin = "-" if device.availability_percent is None else f"{device.margin_percent:+.4f}"
        table.add_row(
            Text(printable(device.device_id)),
            verdict,
            percent(device.availability_percent),
            *((margin,) if is_wide else ()),
            *(length(getattr(device, name)) for name in times),
            _budget(device, is_wide=is_wide),
        )
    return table


def _budget(device: DeviceSla, *, is_wide: bool) -> Text:
    whole, used = device.error_budget_minutes, device.error_budget_used_minutes
    if not is_wide:
        return Text(f"{used:.2f} of {whole:.2f}")
    share = used / whole if whole else float(used > 0)
    drawn = bar(share, _BAR_WIDTH, "green" if device.compliant else "red")
    return drawn + Text(f" {used:.2f} of {whole:.2f}")


def _print_outages(devices: tuple[DeviceSla, ...], *, is_wide: bool) -> None:
    found = [(device.device_id, outage) for device in devices for outage in device.outages]
    if not found:
        return
    table = plain_table()
    add_device_column(table, "outage of")
    for name in ("from (UTC)", *(("to (UTC)",) if is_wide else ())):
        table.add_column(name, no_wrap=True)
    for name in ("length", "counted", "cause"):
        table.add_column(name)
    for device_id, outage in found[:_MOST_OUTAGES]:
        goes_on = " …" if outage.goes_on else ""
        cause = outage.cause.replace("_", " ") or "not known"
        end = (moment(outage.end_time) + goes_on,) if is_wide else ()
        lengths = (length(outage.length) + goes_on, length(outage.counted))
        table.add_row(Text(printable(device_id)), moment(outage.start_time), *end, *lengths, cause)
    print_table(table)
    if len(found) > _MOST_OUTAGES:
        console(stderr=True).print(
            f"These are {_MOST_OUTAGES} of {len(found):,} outages; --output json has all."
        )


def _objective_table(results: tuple[ObjectiveResult, ...]) -> Table:
    table = plain_table()
    table.add_column("objective")
    for name in ("intervals", "met", "violated", "severely", "violated %", "severely %"):
        table.add_column(name, justify="right")
    for result in results:
        counts = (
            result.interval_count,
            result.met_interval_count,
            result.violated_interval_count,
            result.severely_violated_interval_count,
        )
        shares = (result.violated_percent, result.severely_violated_percent)
        table.add_row(objective_text(result), *(f"{count:,}" for count in counts), *map(decimals, shares))
    return table


def objective_text(result: ObjectiveResult) -> str:
    """Say what an objective asks for."""
    objective = result.objective
    if objective is None:
        return "all together"
    if objective.metric == "latency_ms":
        return f"latency p{objective.percentile:g} at most {objective.target:g} ms"
    if objective.metric == "qoo":
        return f"Quality of Outcome at least {objective.target:g}"
    return f"packet loss at most {objective.target:g} %"


def _steps(report: Trend, name: str) -> list[float | None]:
    """Give a value for each step, None where there is no point."""
    count = -(-(report.end_time - report.start_time) // report.step)
    values: list[float | None] = [None] * count
    for point in report.points:
        values[(point.start_time - report.start_time) // report.step] = getattr(point, name)
    return values


def _point_cells(point: TrendPoint | None) -> list[str]:
    if point is None:
        return ["0", *["-"] * 4]
    return [f"{point.count:,}", *map(decimals, (point.p50, point.p95, point.min, point.max))]


def _change(value: float | None) -> str:
    return "-" if value is None else f"{value:+,.2f}"
