"""Moments and durations on the command line."""

from __future__ import annotations

import re
import time

import click

from spacelink._times import nanos

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(rf"(\d{{1,6}})([{''.join(_SECONDS)}])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


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
            return nanos(f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value)
        except ValueError as error:
            self.fail(f"{error}, a date, now, or some time ago such as -1h", param, ctx)


class DurationParam(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """A number with a unit, such as 20s, 5m, 1h, 7d; gives seconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read what was typed."""
        seconds = value if isinstance(value, int) else _seconds(value)
        if seconds is None:
            self.fail(f"{value!r}: expected a number with a unit, such as 20s, 5m or 1h", param, ctx)
        return seconds


def _seconds(text: str) -> int | None:
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _SECONDS[match[2]] if match else None
