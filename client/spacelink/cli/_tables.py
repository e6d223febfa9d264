"""Tables on the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from spacelink import _rows
from spacelink.columns import METRICS, concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.table import Column

    from spacelink.columns import TelemetryColumns

# Wider than any table, for where no terminal sets a limit.
_ANY_WIDTH = 100_000
# Device ids may have 128 characters: longer ones than this share of the width are folded,
# and where there is no other way all those longer than so many characters.
_ID_SHARE = 0.4
_FOLDED_ID = 16

# In samples, what goes first where there is no room for all: the end of this.
_MOST_WANTED = ("latency_ms", "packet_loss_percent", "downlink_mbps", "uplink_mbps", "jitter_ms")
_SECOND = 1_000_000_000
# Parts of a second are for programs.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z")

_UNITS = {"ms": "ms", "percent": "%", "dbm": "dBm", "mbps": "Mbit/s", "w": "W", "deg": "°", "s": "s"}
_STATUS_STYLES = {"ACTIVE": "green", "DEGRADED": "yellow", "OFFLINE": "red", "MAINTENANCE": "blue"}


def console(*, stderr: bool = False) -> Console:
    """Make a console; a pipe gets lines of any length."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _ANY_WIDTH
    return made


def plain_table() -> Table:
    """Make a table in the style of all of them."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def add_device_column(table: Table, name: str = "device") -> None:
    """Add a column of device ids: of all that a table holds, these alone may be folded anywhere."""
    table.add_column(name, overflow="fold")


def fit(table: Table, width: int, id_width: int | None = None) -> bool:
    """Give a table's columns widths at which no word or number is cut; tell whether there are such.

    Args:
        table: the table, with all its rows.
        width: of the terminal.
        id_width: device ids up to this length are whole, too; None: up to some share of
            the width.
    """
    longest = max(_FOLDED_ID, int(width * _ID_SHARE)) if id_width is None else id_width
    spans = [_span(column, longest) for column in table.columns]
    # Two blanks between cells, and one at either end.
    room = width - 2 * len(spans)
    spare = room - sum(span.minimum for span in spans)
    if spare < 0:
        return False
    wanted = sum(span.span for span in spans)
    for column, span in zip(table.columns, spans, strict=True):
        column.width = span.minimum + span.span * min(spare, wanted) // max(wanted, 1)
    return True


def print_table(table: Table) -> None:
    """Print a table, with no word of it cut where that is possible."""
    screen = console()
    if not fit(table, screen.width):
        fit(table, screen.width, _FOLDED_ID)
    screen.print(table)


def _span(column: Column, id_width: int) -> Measurement:
    """Tell how wide a column must be, and how wide it can use to be."""
    # Rich would find out the same, in three times the time.
    texts = {cell.plain if isinstance(cell, Text) else str(cell) for cell in (column.header, *column.cells)}
    widest = max(cell_len(line) for text in texts for line in text.splitlines() or [""])
    if column.no_wrap:
        return Measurement(widest, widest)
    least = max(cell_len(word) for text in texts for word in text.split() or [""])
    return Measurement(min(least, id_width) if column.overflow == "fold" else least, widest)


def fitted(
    make: Callable[[Sequence[str]], Table], names: Sequence[str], droppable: Sequence[str], width: int
) -> tuple[Table | None, list[str]]:
    """Make the table with the most columns that fit.

    Args:
        make: makes it with some of the columns.
        names: all columns.
        droppable: those that it can do without, the first ones first.
        width: of the terminal.

    Returns:
        The table, or None where even the others do not fit, and what was left out.
    """
    # Ids that are whole are worth most columns, but not all.
    for id_width, most in ((None, max(len(droppable) - 1, 0)), (_FOLDED_ID, len(droppable))):
        for count in range(most + 1):
            dropped = droppable[:count]
            table = make([name for name in names if name not in dropped])
            if fit(table, width, id_width):
                return table, [name for name in names if name in dropped]
    return None, []


def print_left_out(names: Sequence[str]) -> None:
    """Say which columns had no room."""
    if names:
        console(stderr=True).print(f"no room for {', '.join(names)}; --output json or csv has all")


def details_table(rows: Iterable[tuple[str, Text | str]]) -> Table:
    """Make a table of what there is to say about one thing: names and values."""
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
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
        if not self._parts:
            console(stderr=True).print("no samples")
            return
        screen = console()
        rows = _SampleRows(self._parts)
        names = list(rows.metrics)
        table, left_out = fitted(rows.table, names, sorted(names, key=_wanted, reverse=True), screen.width)
        screen.print(table or rows.table(()))
        print_left_out(left_out)


def _wanted(metric: str) -> int:
    """Give a metric's place in the order of how much it is wanted."""
    order = (*_MOST_WANTED, *METRICS)
    return order.index(metric) if metric in order else len(order)


class _SampleRows:
    """The cells of samples of several devices."""

    def __init__(self, parts: Sequence[TelemetryColumns]) -> None:
        # Joined as if of one device, so that all rows get the same cells.
        everything = concatenate(parts)
        self._devices = [part.device_id for part in parts for _ in range(len(part))]
        times = everything.time_unix_nano
        unit = "ms" if (times % _SECOND).any() else "s"
        moments = times.view("datetime64[ns]").astype(f"datetime64[{unit}]")
        self._times = np.datetime_as_string(moments).tolist()
        status = everything.status
        self._statuses = [""] * len(times) if status is None else _rows.status_texts(status)
        self.metrics = {name: v.tolist() for name, v in everything.metrics.items() if not np.isnan(v).all()}

    def table(self, names: Sequence[str]) -> Table:
        """Make the table of some metrics."""
        table = plain_table()
        add_device_column(table)
        table.add_column("time (UTC)", no_wrap=True)
        for name in names:
            table.add_column(heading(name), justify="right")
        table.add_column("status", no_wrap=True)
        columns = [self.metrics[name] for name in names]
        for device, time, status, *values in zip(
            self._devices, self._times, self._statuses, *columns, strict=True
        ):
            cells = [decimals(value) for value in values]
            table.add_row(device, time.replace("T", " "), *cells, status_text(status))
        return table


def print_records(
    records: Sequence[Mapping[str, object]], things: str = "samples", droppable: Sequence[str] = ()
) -> None:
    """Print records that all have the same keys, or that there are no such things.

    As a table; where their ids and numbers are too wide for one, one below the other.

    Args:
        records: the records.
        things: what they are.
        droppable: keys that a narrow table can do without, the first ones first.
    """
    if not records:
        console(stderr=True).print(f"no {things}")
        return
    screen = console()

    def make(names: Sequence[str]) -> Table:
        return _record_table(records, names)

    table, left_out = fitted(make, list(records[0]), droppable, screen.width)
    if table is not None:
        screen.print(table)
        print_left_out(left_out)
        return
    for record in records:
        screen.print(details_table([(_words(name), _cell(value)) for name, value in record.items()]))
        screen.print()


def _record_table(records: Sequence[Mapping[str, object]], names: Sequence[str]) -> Table:
    table = plain_table()
    for name in names:
        value = records[0][name]
        if name == "device_id":
            add_device_column(table, _words(name))
        else:
            table.add_column(_words(name), justify="right" if _is_number(value) else "left")
    for record in records:
        table.add_row(*(_cell(record[name]) for name in names))
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


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
    if isinstance(value, int):
        return Text("yes" if value is True else f"{value:,}")
    return Text(printable(_MOMENT.sub(r"\1Z", str(value))))


def printable(text: str) -> str:
    """Write a text so that a terminal obeys nothing in it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
