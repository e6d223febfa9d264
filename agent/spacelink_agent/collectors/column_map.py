"""How the columns of a CSV file become times, statuses and metrics."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink._names import METRIC_NAME_RULE, is_metric_name
from spacelink._sample_rules import EARLIEST_NANOS, TIME_RULE, bounds_of, latest_nanos
from spacelink._times import nanos
from spacelink.columns import METRICS, TelemetryColumns, status_number
from spacelink_agent.collectors import CollectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TIME = "time"
STATUS = "status"

_RULE = re.compile(r"(?P<name>[^=]+)=(?P<column>.+?)(?:(?P<operator>[*/])(?P<operand>[0-9.+-][0-9.eE+-]*))?")
_LARGEST = float(np.finfo(np.float32).max)

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
# Nanoseconds in the units of a time that is a number. From 1990 on, a number is
# a time of today or before in one of them at most.
_UNITS = (1_000_000_000, 1_000_000, 1_000, 1)

# The header of FjordLink's files is recognised by these.
_FJORDLINK = {"timestamp", "state", "pop_ping_latency_ms", "pop_ping_drop_rate", "downlink_throughput_bps"}
_FJORDLINK_RULES = (
    "time=timestamp",
    "status=state",
    "latency_ms=pop_ping_latency_ms",
    "packet_loss_percent=pop_ping_drop_rate*100",
    "downlink_mbps=downlink_throughput_bps/1e6",
    "uplink_mbps=uplink_throughput_bps/1e6",
    "obstruction_percent=fraction_obstructed*100",
    "azimuth_deg=boresight_azimuth_deg",
    "elevation_deg=boresight_elevation_deg",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a metric's values come from.

    A cell is read as float64, scaled as float64 and then rounded to float32.

    Attributes:
        name: the metric; or "time" or "status".
        column: the CSV column.
        factor: what cells are multiplied with.
        divisor: what they are divided by.
    """

    name: str
    column: str
    factor: float = 1.0
    divisor: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Tell whether a cell is the metric's value."""
        return self.factor == self.divisor == 1

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read METRIC=CSV_COLUMN, with *FACTOR or /DIVISOR behind it where units differ.

        Raises:
            ValueError: says what would be right.
        """
        match = _RULE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r}: expected METRIC=CSV_COLUMN, METRIC=CSV_COLUMN*FACTOR or .../DIVISOR")
        name, column, operator, operand = match.group("name", "column", "operator", "operand")
        if not is_metric_name(name):
            raise ValueError(f"metric {name!r}: expected time, status or {METRIC_NAME_RULE}")
        if operator and name in (TIME, STATUS):
            raise ValueError(f"{text!r}: {name} takes no factor; the unit of a time is known by its size")
        scale = _scale(text, operand) if operator else 1.0
        return cls(name, column, divisor=scale) if operator == "/" else cls(name, column, factor=scale)


def _scale(text: str, operand: str) -> float:
    try:
        scale = float(operand)
    except ValueError:
        scale = 0.0
    if scale == 0 or not math.isfinite(scale):
        raise ValueError(f"{text!r}: {operand!r} is no factor; expected a number other than 0")
    return scale


class Row(NamedTuple):
    """A sample out of a CSV row."""

    time: int
    status: int
    values: list[float]


class ColumnMap:
    """Makes samples of rows.

    FjordLink's files are recognised by their header. In others, columns that
    are named like metrics are taken for them, and "time" or "timestamp" for the
    time. Rules come on top of that.

    Args:
        header: the names of the file's columns.
        rules: the caller's own.

    Raises:
        CollectorError: a column is missing.
    """

    def __init__(self, header: Sequence[str], rules: Sequence[Rule]) -> None:
        self._header = header
        by_name = {rule.name: rule for rule in (*_default_rules(header), *rules)}
        for rule in by_name.values():
            if rule.column not in header:
                raise CollectorError(f"column {rule.column!r} is not in the header: {', '.join(header)}")
        if TIME not in by_name:
            raise CollectorError(
                "no column for the time; expected one named time or timestamp, "
                f"or --column time=NAME with a name out of {', '.join(header)}"
            )
        if len(by_name) == 1:
            raise CollectorError(
                "no column for any metric; expected some named like metrics, "
                f"or --column METRIC=NAME with names out of {', '.join(header)}"
            )
        self._time = header.index(by_name.pop(TIME).column)
        status = by_name.pop(STATUS, None)
        self._status = None if status is None else header.index(status.column)
        # The default for a dish's states is not for columns the caller chose.
        is_dish = set(header) >= _FJORDLINK and status not in rules
        self._read_status: Callable[[str], int] = _dish_status if is_dish else _status
        self._metrics = [(rule, header.index(rule.column)) for rule in by_name.values()]

    def row(self, cells: Sequence[str]) -> Row:
        """Read a row.

        Raises:
            ValueError: names the column and what would be right.
        """
        if len(cells) != len(self._header):
            raise ValueError(f"expected {len(self._header)} cells as in the header, got {len(cells)}")
        time = self._read(self._time, _nanos, cells)
        status = 0 if self._status is None else self._read(self._status, self._read_status, cells)
        return Row(time, status, [_value(rule, cells[index]) for rule, index in self._metrics])

    def columns(self, device_id: str, rows: Sequence[Row]) -> TelemetryColumns:
        """Make columns of rows."""
        values = np.array([row.values for row in rows], np.float64).astype(np.float32)
        values = values.reshape(len(rows), len(self._metrics))
        return TelemetryColumns(
            device_id,
            np.array([row.time for row in rows], np.int64),
            {rule.name: values[:, index] for index, (rule, _) in enumerate(self._metrics)},
            None if self._status is None else np.array([row.status for row in rows], np.uint8),
        )

    def _read(self, index: int, read: Callable[[str], int], cells: Sequence[str]) -> int:
        try:
            return read(cells[index])
        except ValueError as error:
            raise ValueError(f"column {self._header[index]}: {error}") from None


def _default_rules(header: Sequence[str]) -> list[Rule]:
    if set(header) >= _FJORDLINK:
        rules = [Rule.parse(text) for text in _FJORDLINK_RULES]
        return [rule for rule in rules if rule.column in header]
    named = [Rule(name, name) for name in header if name in (TIME, STATUS, *METRICS)]
    return [Rule(TIME, "timestamp"), *named] if "timestamp" in header else named


def _nanos(cell: str) -> int:
    """Read a time: RFC 3339, or a number of seconds, ms, µs or ns since 1970."""
    cell = cell.strip()
    latest = latest_nanos()
    if _NUMBER.fullmatch(cell):
        for unit in _UNITS:
            if EARLIEST_NANOS <= (time := int(Decimal(cell) * unit)) <= latest:
                return time
        raise ValueError(f"{cell}: expected seconds, ms, µs or ns since 1970, {TIME_RULE}")
    time = nanos(cell)
    if not EARLIEST_NANOS <= time <= latest:
        raise ValueError(f"{cell}: expected a time {TIME_RULE}")
    return time


def _status(cell: str) -> int:
    return status_number(cell) if cell else 0


def _dish_status(cell: str) -> int:
    return _DISH_STATES.get(cell, status_number("OFFLINE"))


# What a dish says of itself; in all other states it has no link.
_DISH_STATES: Mapping[str, int] = {
    "": 0,
    "CONNECTED": status_number("ACTIVE"),
    "STOWED": status_number("MAINTENANCE"),
}


def _value(rule: Rule, cell: str) -> float:
    if not cell:
        return math.nan
    try:
        value = float(cell) * rule.factor / rule.divisor
    except ValueError:
        raise ValueError(f"column {rule.column}: expected a number, got {cell!r}") from None
    if abs(value) > _LARGEST:
        raise ValueError(f"column {rule.column}: {cell} does not fit into a float32")
    bounds = bounds_of(rule.name)
    if not bounds.holds(value):
        scaled = "" if rule.is_plain else f" makes {rule.name} {value:g}, which"
        raise ValueError(f"column {rule.column}: {cell}{scaled} is out of range; expected {bounds.text}")
    return value
