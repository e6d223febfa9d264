"""The cells of a file of samples: what each may hold, and what is wrong with one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacelink import _rows
from spacelink._names import IDENTIFIER_RULE, METRIC_NAME_RULE, is_identifier, is_metric_name
from spacelink._sample_rules import EARLIEST_NANOS, TIME_RULE, bounds_of, latest_nanos
from spacelink._times import nanos
from spacelink.columns import MAX_EXTRA, METRICS, RESERVED, status_names, status_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STATUSES = [name for name in status_names() if name != "UNSPECIFIED"]
_TIME_RULE = f"RFC 3339 such as 2026-01-31T12:00:00Z, {TIME_RULE}"
_OWN = (_rows.DEVICE, _rows.TIME, _rows.STATUS, _rows.EXTRA, *METRICS)


class Nanos(int):
    """A time that is a number already: nanoseconds since 1970 UTC."""


class Row(NamedTuple):
    """A sample."""

    device_id: str
    time: int
    status: int
    metrics: dict[str, float]


class BadRowError(Exception):
    """A row is no sample.

    Attributes:
        column: the one that is wrong; empty where it is the row as a whole.
        value: what is in it.
        problem: what would be right.
    """

    def __init__(self, column: str, problem: str, value: object = "") -> None:
        super().__init__(f"{column}: {problem}" if column else problem)
        self.column = column
        self.problem = problem
        self.value = value


class BadColumnsError(Exception):
    """A file's columns are not those of samples."""


def check_columns(names: Sequence[str], device_id: str) -> None:
    """Look at the columns of a file before its rows are.

    Args:
        names: the columns.
        device_id: the device of rows that do not name one; may be empty.

    Raises:
        BadColumnsError: says what would be right.
    """
    found = f"its columns are {', '.join(names)}"
    for name in names:
        if names.count(name) > 1:
            raise BadColumnsError(f"column {name!r} is there {names.count(name)} times; expected it once")
    if _rows.TIME not in names:
        raise BadColumnsError(f"no column time; expected one with {_TIME_RULE}; {found}")
    if _rows.DEVICE not in names and not device_id:
        raise BadColumnsError(f"no column device_id; --device-id ID says whose samples they are; {found}")
    others = [name for name in names if name not in _OWN]
    for name in others:
        if problem := _name_problem(name):
            raise BadColumnsError(f"column {name!r}: {problem}")
    if len(others) > MAX_EXTRA:
        raise BadColumnsError(f"{len(others)} metrics besides the usual ones; expected at most {MAX_EXTRA}")


def _name_problem(name: str) -> str:
    """Say what is wrong with the name of a metric; empty if nothing is."""
    if not is_metric_name(name):
        return f"expected {METRIC_NAME_RULE}"
    if name in RESERVED and name not in METRICS:
        return "expected another name; this one is no metric's"
    return ""


def read_row(cells: dict[str, Any], device_id: str) -> Row:
    """Make a sample of a row's cells.

    Args:
        cells: by column; those that are missing or None are not measured.
        device_id: the device, where the row does not name one.

    Raises:
        BadRowError: names the column.
    """
    device, moment, status = (cells.pop(name, None) for name in (_rows.DEVICE, _rows.TIME, _rows.STATUS))
    return Row(
        _device(device or device_id),
        _time(moment),
        _status(status or 0),
        {name: read_value(name, cell) for name, cell in cells.items()},
    )


def _device(cell: object) -> str:
    if not isinstance(cell, str) or not is_identifier(cell):
        raise BadRowError(_rows.DEVICE, f"expected {IDENTIFIER_RULE}, got {cell!r}", cell)
    return cell


def _time(cell: object) -> int:
    moment = _nanos(cell)
    if moment is None or not is_storable(moment):
        raise BadRowError(_rows.TIME, f"expected {_TIME_RULE}, got {cell!r}", cell)
    return moment


def is_storable(moment: int) -> bool:
    """Tell whether a server takes samples of a time, in nanoseconds since 1970 UTC."""
    return EARLIEST_NANOS <= moment <= latest_nanos()


def _nanos(cell: object) -> int | None:
    if isinstance(cell, Nanos):
        return int(cell)
    try:
        return nanos(cell) if isinstance(cell, str) else None
    except ValueError:
        return None


def _status(cell: str | int) -> int:
    try:
        return status_number(cell)
    except (ValueError, TypeError):
        expected = f"expected one of {', '.join(_STATUSES)}, got {cell!r}"
        raise BadRowError(_rows.STATUS, expected, cell) from None


def read_value(name: str, cell: str | float | None) -> float:
    """Read the value of a metric; None is NaN, a missing one.

    Raises:
        BadRowError: the name is no metric's, or the value cannot be stored.
    """
    if name not in METRICS and (problem := _name_problem(name)):
        raise BadRowError(name, problem, cell)
    try:
        value = math.nan if cell is None else float(cell)
    except (TypeError, ValueError):
        raise BadRowError(name, f"expected a number, got {cell!r}", cell) from None
    bounds = bounds_of(name)
    # Too large a number is infinite as a float32, and no more within the bounds.
    with np.errstate(over="ignore"):
        if not bounds.holds(value):
            raise BadRowError(name, f"{cell} is out of range; expected {bounds.text}", cell)
    return value


def read_extra(cell: str) -> Mapping[str, Any]:
    """Read the cell of a CSV file that holds metrics without a column of their own.

    Raises:
        BadRowError: it holds something else.
    """
    try:
        extra = json.loads(cell)
    except json.JSONDecodeError:
        extra = cell
    if not isinstance(extra, dict | None):
        raise BadRowError(_rows.EXTRA, f"expected a JSON object, got {cell!r}", cell)
    return extra or {}
