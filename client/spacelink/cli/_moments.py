"""Moments and durations on the command line."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

import click

from spacelink._caveats import Expires
from spacelink._times import nanos

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(rf"(\d{{1,6}})([{''.join(_SECONDS)}])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# What 64 bits of nanoseconds hold of.
_YEARS = range(1678, 2262)


class MomentParam(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """RFC 3339, a date (its start in UTC), "now", or some time ago such as -1h, -7d; gives nanoseconds."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read what was typed."""
        if isinstance(value, int):
            return value
        if value == "now":
            return time.time_ns()
        if value.startswith("-") and (ago := _seconds(value[1:])) is not None:
            return time.time_ns() - ago * 1_000_000_000
        try:
            return nanos(_start_of_date(value))
        except ValueError:
            rule = "RFC 3339 such as 2026-01-31T12:00:00Z, a date, now, or some time ago such as -1h"
            self.fail(_refuse(value, rule), param, ctx)


class InstantParam(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """RFC 3339, a date (its start in UTC), or a duration from now; gives what Token.attenuate takes."""

    name = "time"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | timedelta:
        """Read what was typed."""
        if isinstance(value, timedelta):
            return value
        if (seconds := 0 if value == "now" else _seconds(value)) is not None:
            return timedelta(seconds=seconds)
        text = _start_of_date(value)
        try:
            return Expires.from_text(text).value
        except ValueError:
            rule = (
                "RFC 3339 such as 2027-01-31T12:00:00Z, a date, or a duration from now such as 90s, 12h or 7d"
            )
            self.fail(_refuse(value, rule), param, ctx)


class DurationParam(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """A number with a unit, such as 20s, 5m, 1h, 7d; gives seconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read what was typed."""
        seconds = value if isinstance(value, int) else _seconds(value)
        if seconds is None:
            self.fail(f"{value!r}: expected a number with a unit, such as 20s, 5m or 1h", param, ctx)
        return seconds


def _start_of_date(text: str) -> str:
    return f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text


def _refuse(text: str, rule: str) -> str:
    """Say what is wrong with a text that is no moment, and what would be right."""
    return f"{text!r}: {_problem(text)}expected {rule}"


def _problem(text: str) -> str:
    if text.isdecimal():
        return f"a number needs a unit ({', '.join(_SECONDS)}); "
    try:
        moment = datetime.fromisoformat(_start_of_date(text))
    except ValueError as error:
        # Where it can tell the parts apart, it says which is out of range.
        return "" if "isoformat" in str(error) or not _DATE.match(text) else f"{error}; "
    if moment.tzinfo is None:
        return "the time zone is missing, Z for UTC or an offset such as +01:00; "
    return "" if moment.year in _YEARS else f"the year must be from {_YEARS[0]} to {_YEARS[-1]}; "


def _seconds(text: str) -> int | None:
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _SECONDS[match[2]] if match else None
