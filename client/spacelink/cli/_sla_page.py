"""Whether an SLA was kept, as one HTML page with nothing beside it."""

from __future__ import annotations

from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING

from spacelink.cli import _plots
from spacelink.cli._network_tables import (
    kept,
    length,
    moment,
    objective_text,
    percent,
    pooled_known,
    worst_known,
)
from spacelink.cli._plots import bars, strips

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from spacelink.networks import DeviceSla, ObjectiveResult, SlaReport

# What still reads as a plot, or as a table.
_MOST_DEVICES = 60
_MOST_OUTAGES = 500
_TICKS = 6

_STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --panel: #ffffff; --ink: #1c1f23; --soft: #5b6470;
  --line: #d9dde2; --track: #e9ecef; --good: #1f7a4d; --bad: #b3261e; --fair: #a06a00; --rest: #7b8794; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --panel: #1c2126; --ink: #e8eaed;
  --soft: #a3adb8; --line: #353c44; --track: #2a3037; --good: #4cc38a; --bad: #ff7a70; --fair: #e0b04a;
  --rest: #8a95a1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 36px 0 10px; }
p { margin: 0 0 8px; } .soft { color: var(--soft); }
.verdict { display: inline-block; padding: 3px 12px; border-radius: 4px; font-weight: 600; }
.verdict.good { color: var(--good); border: 1px solid var(--good); }
.verdict.bad { color: var(--bad); border: 1px solid var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin-top: 20px; }
.figures div { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 12px; }
.figures b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: 14px; }
.key { margin: 10px 0 0; color: var(--soft); font-size: 13px; }
.key span { margin-right: 14px; }
.key i { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 0; border-radius: 2px; }
.wide { overflow-x: auto; } .wide + p { margin-top: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; }
td.good { color: var(--good); } td.bad { color: var(--bad); } td.fair { color: var(--fair); }
@media print { body { background: none; } figure, .figures div { break-inside: avoid; } }
"""

_UNKNOWN = {
    "up": "counts as up",
    "down": "counts as down",
    "excluded": "is left out of the availability",
}


def sla_page(report: SlaReport) -> str:
    """Write the page."""
    name = report.display_name or report.network_id
    start, end = moment(report.start_time), moment(report.end_time)
    title = f"SLA of {name}, {start} to {end}"
    parts = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="soft">Service level from {start} to {end} UTC</p>',
        _verdict(report),
        _figures(report),
        _section("Error budget of each device", _budgets(report.devices)),
        _section("Outages over time", _timeline(report)),
        _section("Objectives", _objectives(report.network.objectives)),
        _section("Devices", _device_table(report.devices)),
        _section("Outages", _outage_table(report.devices)),
        _section("How this was found", _method(report)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{_plots.STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>\n{content}</section>\n" if content else ""


def _verdict(report: SlaReport) -> str:
    text, kind = ("SLA kept", "good") if report.network.compliant else ("SLA broken", "bad")
    if report.network.availability_percent is None:
        text, kind = "SLA unknown: no telemetry", "fair"
    if report.evaluated_until_time < report.end_time:
        text += f" so far, as of {moment(report.evaluated_until_time)} UTC"
    return f'<p><span class="verdict {kind}">{text}</span></p>\n'


def _figures(report: SlaReport) -> str:
    whole = report.network
    figures = [
        ("availability agreed on", f"{report.sla.availability_target_percent:g} %"),
        (f"availability of the worst device {worst_known(report)}", percent(whole.availability_percent)),
        (
            f"availability of all together {pooled_known(report)}",
            percent(whole.pooled_availability_percent),
        ),
        ("devices kept the SLA", kept(report)),
        ("outages", f"{whole.outage_count:,}"),
    ]
    boxes = "".join(f"<div><b>{value}</b><span class=soft>{name}</span></div>" for name, value in figures)
    return f'<div class="figures">{boxes}</div>\n'


def _budgets(devices: Sequence[DeviceSla]) -> str:
    rows = []
    for device in devices[:_MOST_DEVICES]:
        whole, used = device.error_budget_minutes, device.error_budget_used_minutes
        share = min(used / whole, 1.0) if whole else float(used > 0)
        kind = "good" if device.compliant else "bad"
        text = "no telemetry" if device.availability_percent is None else f"{used:,.2f} of {whole:,.2f} min"
        rows.append((device.device_id, [(share, kind, f"{text} used")], text))
    return _figure(bars(rows), (("good", "used, within the budget"), ("bad", "overdrawn")), len(devices))


def _timeline(report: SlaReport) -> str:
    length_of_all = report.end_time - report.start_time

    def share(time: datetime) -> float:
        return (time - report.start_time) / length_of_all

    windows = [
        (
            share(max(window.start_time, report.start_time)),
            share(min(window.end_time, report.end_time)),
            "rest",
            window.description or "maintenance",
        )
        for window in report.sla.maintenance_windows
        if window.start_time < report.end_time and window.end_time > report.start_time
    ]
    rows = [
        (
            device.device_id,
            [
                *windows,
                *(
                    (
                        share(outage.start_time),
                        share(outage.end_time),
                        "bad",
                        f"{moment(outage.start_time)}, {length(outage.length)}",
                    )
                    for outage in device.outages
                ),
            ],
        )
        for device in report.devices[:_MOST_DEVICES]
    ]
    ticks = [
        _tick(report.start_time + length_of_all * number / _TICKS, length_of_all)
        for number in range(_TICKS + 1)
    ]
    key = (("bad", "outage"), ("rest", "maintenance"))
    return _figure(strips(rows, ticks), key, len(report.devices))


def _tick(time: datetime, range_length: timedelta) -> str:
    return f"{time:%d %b}" if range_length >= timedelta(days=3) else f"{time:%d %b %H:%M}"


def _objectives(results: Iterable[ObjectiveResult]) -> str:
    rows = []
    for result in results:
        count = result.interval_count or 1
        met, violated = result.met_interval_count / count, result.violated_interval_count / count
        severe = result.severely_violated_interval_count / count
        stack = [
            (met, "good", f"{result.met_interval_count:,} met"),
            (violated, "fair", f"{result.violated_interval_count:,} violated"),
            (severe, "bad", f"{result.severely_violated_interval_count:,} severely violated"),
        ]
        rows.append(
            (objective_text(result), stack, f"{100 * met:.2f} % of {result.interval_count:,} intervals")
        )
    if not rows:
        return ""
    return _figure(bars(rows), (("good", "met"), ("fair", "violated"), ("bad", "severely violated")), 0)


def _figure(plot: str, key: Iterable[tuple[str, str]], devices: int) -> str:
    signs = " ".join(f'<span><i class="{kind}"></i>{text}</span>' for kind, text in key)
    more = f"The {_MOST_DEVICES} worst of {devices:,} devices are shown. " if devices > _MOST_DEVICES else ""
    return f'<figure>{plot}<figcaption class="key">{more}{signs}</figcaption></figure>\n'


def _device_table(devices: Sequence[DeviceSla]) -> str:
    rows = []
    for device in devices:
        known = device.availability_percent is not None
        word, kind = ("kept", "good") if device.compliant else ("broken", "bad")
        rows.append(
            _row(
                (escape(device.device_id), ""),
                (word, kind) if known else ("unknown", "fair"),
                (percent(device.availability_percent), "n"),
                (f"{device.margin_percent:+.4f}" if known else "-", "n"),
                (f"{device.outage_count:,}", "n"),
                *((length(time), "n") for time in (device.down, device.dips, device.unknown)),
                (length(device.maintenance), "n"),
            )
        )
    heads = (
        "device",
        "SLA",
        "availability",
        "margin, pp",
        "outages",
        "down",
        "dips",
        "unknown",
        "maintenance",
    )
    note = '<p class="soft">The margin is the availability less the target, in percentage points (pp).</p>\n'
    return _table(heads, rows, numbers_from=2) + note


def _outage_table(devices: Sequence[DeviceSla]) -> str:
    found = [(outage, device.device_id) for device in devices for outage in device.outages]
    found.sort(key=lambda pair: pair[0].start_time)
    if not found:
        return "<p>There was none.</p>"
    rows = [
        _row(
            (escape(device_id), ""),
            (moment(outage.start_time), ""),
            (moment(outage.end_time) + (" and on" if outage.goes_on else ""), ""),
            (escape(outage.cause.replace("_", " ")) or "not known", ""),
            (length(outage.length), "n"),
            (length(outage.counted), "n"),
        )
        for outage, device_id in found[:_MOST_OUTAGES]
    ]
    heads = ("device", "from (UTC)", "to (UTC)", "cause", "length", "counted")
    table = _table(heads, rows, numbers_from=4)
    if len(found) > _MOST_OUTAGES:
        table += f'<p class="soft">These are the first {_MOST_OUTAGES} of {len(found):,}.</p>'
    return table


def _row(*cells: tuple[str, str]) -> str:
    inner = "".join(f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>" for text, kind in cells)
    return f"<tr>{inner}</tr>"


def _table(heads: Sequence[str], rows: Iterable[str], numbers_from: int) -> str:
    cells = "".join(
        f'<th class="n">{head}</th>' if number >= numbers_from else f"<th>{head}</th>"
        for number, head in enumerate(heads)
    )
    body = "".join(rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>\n'


def _method(report: SlaReport) -> str:
    sla = report.sla
    sentences = [
        "Availability = (period - excluded - outages) / (period - excluded).",
        f"An outage is at least {length(sla.min_outage)} in which a terminal said that it was offline, or "
        "lost all packets; shorter ones are dips and do not count.",
        f"Time without telemetry {_UNKNOWN[sla.unknown_time]}; it begins where samples are more than "
        f"{length(sla.max_sample_gap)} apart.",
        "Maintenance windows are left out.",
        "The network kept its SLA if each of its devices did; its availability is that of its worst device.",
    ]
    if sla.objectives:
        sentences.append(
            f"Objectives are held against intervals of {length(sla.objective_interval)} (RFC 9544); those "
            f"that touch an outage or maintenance are left out. Quality of Outcome is by the profile "
            f"{report.profile_id} (draft-ietf-ippm-qoo)."
        )
    return f'<p class="soft">{escape(" ".join(sentences))}</p>'
