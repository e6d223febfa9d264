"""spacelink token: narrow and explain tokens, offline."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from spacelink._caveats import Expires
from spacelink.cli._moments import DurationParam
from spacelink.cli._tables import console
from spacelink.cli.settings import setting
from spacelink.errors import InvalidTokenError
from spacelink.token import InvalidCaveat, Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.decorators import FC

    from spacelink._caveats import Caveat
    from spacelink.token import TokenInfo


@click.group()
def token() -> None:
    """Narrow and explain capability tokens."""


def _token_file() -> Callable[[FC], FC]:
    return setting(
        "--token-file",
        # What is not ASCII is not part of a token; the decoder of tokens says so.
        type=click.File(encoding="ascii", errors="replace"),
        help="File that holds the token, - for standard input; without it, SPACELINK_TOKEN is the token.",
    )


def _read_token(file: IO[str] | None) -> Token:
    text = file.read() if file else os.environ.get("SPACELINK_TOKEN", "")
    if not text.strip():
        raise click.UsageError("no token: give --token-file FILE, or set SPACELINK_TOKEN")
    try:
        return Token.parse(text.strip())
    except InvalidTokenError as error:
        raise click.ClickException(error.message) from None


def _to_instant(ctx: click.Context, param: click.Parameter, text: str | None) -> timedelta | str | None:
    if text is None:
        return None
    try:
        return timedelta(seconds=DurationParam().convert(text, param, ctx))
    except click.BadParameter:
        return text


@token.command()
@_token_file()
@click.option("--tenant", help="The only tenant it is good for; narrows an operator's token.")
@click.option("--scope", multiple=True, help="Scope such as telemetry:write or telemetry:*; repeatable.")
@click.option("--device", multiple=True, help="Device id, or site-7/* for all below site-7; repeatable.")
@click.option("--network", multiple=True, help="Network id, or site-7/* for all below site-7; repeatable.")
@click.option(
    "--expires", callback=_to_instant, help="RFC 3339 time, or a duration such as 90s, 30m, 12h, 7d."
)
@click.option("--not-before", callback=_to_instant, help="RFC 3339 time, or a duration from now.")
@click.option("--ip", multiple=True, help="Network such as 10.0.0.0/8 or 2001:db8::/32; repeatable.")
@click.option("--rate-limit", help="Calls in each window, such as 100/minute.")
@click.option("--quota", help="Units in each window, such as 10000/day.")
@click.option("--label", help="Name of the holder, seen in lineage and audit.")
def attenuate(token_file: IO[str] | None, **caveats: Any) -> None:
    """Print a narrower token: the given one with a caveat for each option.

    No server is involved, and none is told. What the given token does not
    allow, the new one does not allow either.

    \b
    Examples:
      spacelink token attenuate --token-file partner.token --device 'site-7/*' --label site-7 > site-7.token
      spacelink token attenuate --token-file site-7.token --scope telemetry:write --expires 12h
    """
    parent = _read_token(token_file)
    try:
        # An option that may be repeated and was not given is an empty tuple.
        narrower = parent.attenuate(
            **{key: value for key, value in caveats.items() if value not in (None, ())}
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(str(narrower))


@token.command()
@_token_file()
@click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default=lambda: "table" if sys.stdout.isatty() else "json",
    show_default="table on a terminal, json elsewhere",
)
def inspect(token_file: IO[str] | None, output: str) -> None:
    """Explain a token. Only a server can tell whether it is authentic.

    \b
    Examples:
      spacelink token inspect --token-file site-7.token
      spacelink token inspect --output json < site-7.token --token-file -
    """
    info = _read_token(token_file).inspect()
    if output == "json":
        click.echo(json.dumps(_to_json(info)))
    else:
        console().print(_to_table(info))


def _to_json(info: TokenInfo) -> dict[str, object]:
    return {
        "tenant": info.tenant,
        "token_id": info.token_id,
        "key_version": info.key_version,
        "expires": Expires(info.expires).value if info.expires else None,
        "labels": info.labels,
        "caveats": [_caveat_to_json(caveat) for caveat in info.caveats],
    }


def _caveat_to_json(caveat: Caveat | InvalidCaveat) -> dict[str, str]:
    if isinstance(caveat, InvalidCaveat):
        return {"invalid": _escape(caveat.data), "problem": caveat.problem}
    return {"key": caveat.key, "value": caveat.value}


def _to_table(info: TokenInfo) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in _to_json(info).items():
        if name not in ("labels", "caveats"):
            table.add_row(name, Text(str(value or "never")))
    for caveat in info.caveats:
        if isinstance(caveat, InvalidCaveat):
            table.add_row("invalid caveat", Text(_escape(caveat.data), "red"))
            table.add_row("", Text(caveat.problem))
        else:
            table.add_row("caveat", Text(str(caveat)))
    return table


def _escape(data: bytes) -> str:
    """Write bytes that anybody may have chosen so that a terminal obeys none of them."""
    return repr(data)[2:-1]
