"""The options that say what a token is bound to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import click

from spacelink.cli._moments import DurationParam
from spacelink.token import encode_caveats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.decorators import FC

    from spacelink.token import Bounds


def _to_instant(ctx: click.Context, param: click.Parameter, text: str | None) -> timedelta | str | None:
    if text is None:
        return None
    try:
        return timedelta(seconds=DurationParam().convert(text, param, ctx))
    except click.BadParameter:
        return text


_OPTIONS = (
    click.option("--scope", multiple=True, help="Scope such as telemetry:write or telemetry:*; repeatable."),
    click.option("--device", multiple=True, help="Device id, or site-7/* for all below site-7; repeatable."),
    click.option(
        "--network", multiple=True, help="Network id, or site-7/* for all below site-7; repeatable."
    ),
    click.option(
        "--expires", callback=_to_instant, help="RFC 3339 time, or a duration such as 90s, 30m, 12h, 7d."
    ),
    click.option("--not-before", callback=_to_instant, help="RFC 3339 time, or a duration from now."),
    click.option("--ip", multiple=True, help="Network such as 10.0.0.0/8 or 2001:db8::/32; repeatable."),
    click.option("--rate-limit", help="Calls in each window, such as 100/minute."),
    click.option("--quota", help="Units in each window, such as 10000/day."),
    click.option("--label", help="Name of the holder, seen in lineage and audit."),
)


def caveat_options(function: FC) -> FC:
    """Declare an option for each kind of caveat but tenant."""
    for declare in reversed(_OPTIONS):
        function = declare(function)
    return function


def given(options: Mapping[str, Any]) -> Bounds:
    """Give the options that were given, as the arguments of Token.attenuate.

    Raises:
        click.UsageError: one cannot be written as a caveat.
    """
    # An option that may be repeated and was not given is an empty tuple.
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    try:
        encode_caveats(chosen)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return cast("Bounds", chosen)
