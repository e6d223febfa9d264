"""Tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spacelink import _rows
from spacelink.columns import concatenate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from spacelink.columns import TelemetryColumns

# Wide enough for all columns where no terminal sets a limit.
_PIPE_WIDTH = 240

_UNITS = {"ms": "ms", "percent": "%", "dbm": "dBm", "mbps": "Mbit/s", "w": "W", "deg": "°", "s": "s"}
_STATUS_STYLES = {"ACTIVE": "green", "DEGRADED": "yellow", "OFFLINE": "red", "MAINTENANCE": "blue"}


def console(*, stderr: bool = False) -> Console:
    """Make a console; a pipe gets lines of any length."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def plain_table() -> Table:
    """Make a table in the style of all of them."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def details_table(rows: Iterable[tuple[str, Text | str]]) -> Table:
    """Make a table of what there is to say about one thing: names and values."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value if isinstance(value, Text) else Text(printable(value)))
    return table


def heading(metric: str) -> str:
    """Put a metric's unit below its name: latency_ms becomes latency, ms."""
    name, _, suffix = metric.rpartition("_")
    if not name or suffix not in _UNITS:
        return metric
    return f"{name.replace('_', ' ')}\n{_UNITS[suffix]}"


def status_text(status: str) -> Text:
    """Colour a status."""
    return Text(status, _STATUS_STYLES.get(status, ""))


def decimals(value: float) -> str:
    """Write a value for people; a missing one is a dash."""
    if np.isnan(value):
        return "-"
    return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:,.2f}"


class SampleTable:
    """Collects samples and prints them as one table at the end."""

    def __init__(self) -> None:
        self._parts: list[TelemetryColumns] = []

    def write(self, samples: TelemetryColumns) -> None:
        """Take samples of one device."""
        self._parts.append(samples)

    def close(self) -> None:
        """Print the table."""
        if self._parts:
            console().print(_sample_table(self._parts))
        else:
            console(stderr=True).print("no samples")


def _sample_table(parts: Sequence[TelemetryColumns]) -> Table:
    # Joined as if of one device, so that all rows get the same cells.
    everything = concatenate(parts)
    devices = [part.device_id for part in parts for _ in range(len(part))]
    metrics = {name: v.tolist() for name, v in everything.metrics.items() if not np.isnan(v).all()}
    table = plain_table()
    table.add_column("device", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    for name in metrics:
        table.add_column(heading(name), justify="right")
    table.add_column("status")
    times = np.datetime_as_string(everything.time_unix_nano.view("datetime64[ns]"), unit="ms").tolist()
    statuses = _rows.status_texts(everything.status) if everything.status is not None else [""] * len(times)
    for device, time, status, *values in zip(devices, times, statuses, *metrics.values(), strict=True):
        cells = [decimals(value) for value in values]
        table.add_row(device, time.replace("T", " "), *cells, status_text(status))
    return table


def print_records(records: Sequence[Mapping[str, object]], things: str = "samples") -> None:
    """Print records that all have the same keys, or that there are no such things."""
    if not records:
        console(stderr=True).print(f"no {things}")
        return
    table = plain_table()
    for name, value in records[0].items():
        # Folded, because half an id names nothing.
        table.add_column(
            name.replace("_", " "), justify="right" if _is_number(value) else "left", overflow="fold"
        )
    for record in records:
        table.add_row(*(_cell(value) for value in record.values()))
    console().print(table)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> Text:
    """Write a value; what anybody may have chosen must not be taken for markup or control a terminal."""
    if value is None or value is False:
        return Text("-")
    if isinstance(value, list):
        return Text("\n").join(map(_cell, value))
    if isinstance(value, float):
        return Text(decimals(value))
    return Text("yes" if value is True else f"{value:,}" if isinstance(value, int) else printable(str(value)))


def printable(text: str) -> str:
    """Write a text so that a terminal obeys nothing in it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
