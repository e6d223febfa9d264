"""The options that say what a token is bound to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import click

from spacelink._caveats import contradictions, parse
from spacelink.cli._moments import InstantParam
from spacelink.token import encode_caveats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.decorators import FC

    from spacelink.token import Bounds


_OPTIONS = (
    click.option("--scope", multiple=True, help="Scope such as telemetry:write or telemetry:*; repeatable."),
    click.option("--device", multiple=True, help="Device id, or site-7/* for all below site-7; repeatable."),
    click.option(
        "--network", multiple=True, help="Network id, or site-7/* for all below site-7; repeatable."
    ),
    click.option(
        "--expires",
        type=InstantParam(),
        help="When it ends: RFC 3339, a date, or a duration from now such as 90s, 30m, 12h, 7d.",
    ),
    click.option("--not-before", type=InstantParam(), help="When it starts, likewise."),
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
        click.UsageError: one cannot be written as a caveat, or no token with them
            would be good for anything.
    """
    # An option that may be repeated and was not given is an empty tuple.
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    caveats = [parse(_encode(key, value)) for key, value in chosen.items()]
    for problem in contradictions(caveats, datetime.now(UTC)):
        raise click.UsageError(f"the token would be of no use: {problem}")
    return cast("Bounds", chosen)


def _encode(key: str, value: Any) -> bytes:
    try:
        (data,) = encode_caveats({key: value})
    except ValueError as error:
        problem = str(error).removeprefix(f"{key}: ")
        raise click.UsageError(f"--{key.replace('_', '-')}: {problem}") from None
    return data
