"""The `spacelink token` commands; those here are offline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from spacelink._caveats import ANY, Expires
from spacelink.cli import _token_admin, _token_bans
from spacelink.cli._caveat_options import caveat_options, given
from spacelink.cli._given_credential import take_credential, token_file_setting
from spacelink.cli._output import details_option
from spacelink.cli._tables import console, details_table
from spacelink.token import InvalidCaveat, Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink._caveats import Caveat
    from spacelink.token import TokenInfo


@click.group()
def token() -> None:
    """Mint, narrow, explain and ban capability tokens."""


_token_file = token_file_setting(
    "File that holds the token, - for standard input; without it, SPACELINK_TOKEN is the token."
)


def _read_token(settings: dict[str, Any]) -> Token:
    credential = take_credential(settings)
    if credential is None:
        raise click.UsageError("no token: give --token-file FILE, or set SPACELINK_TOKEN")
    return Token.parse(credential.read())


@token.command()
@_token_file
@click.option("--tenant", help="The only tenant it is good for; narrows an operator's token.")
@caveat_options
def attenuate(**settings: Any) -> None:
    """Print a narrower token: the given one with a caveat for each option.

    No server is involved, and none is told. What the given token does not
    allow, the new one does not allow either; one that no server would accept is
    not made.

    \b
    Examples:
      spacelink token attenuate --token-file partner.token --device 'site-7/*' --label site-7 > site-7.token
      spacelink token attenuate --token-file site-7.token --scope telemetry:write --expires 12h
    """
    parent = _read_token(settings)
    bounds = given(settings)
    if not bounds:
        raise click.UsageError("nothing to narrow it with; give an option, such as --device or --expires")
    for problem in parent.inspect().problems():
        raise click.ClickException(f"the given token is of no use: {problem}")
    try:
        narrower = parent.attenuate(**bounds)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for problem in narrower.inspect().problems():
        raise click.UsageError(f"the token would be of no use: {problem}")
    click.echo(str(narrower))


@token.command()
@_token_file
@details_option
def inspect(output: str, **settings: Any) -> None:
    """Explain a token. Only a server can tell whether it is authentic, or banned.

    \b
    Examples:
      spacelink token inspect --token-file site-7.token
      spacelink token inspect --output json < site-7.token --token-file -
    """
    info = _read_token(settings).inspect()
    if output == "json":
        click.echo(json.dumps(_to_json(info)))
    else:
        console().print(details_table(_to_rows(info)))


def _to_json(info: TokenInfo) -> dict[str, object]:
    return {
        "tenant": info.tenant,
        "issuer": info.issuer,
        "token_id": info.token_id,
        "key_version": info.key_version,
        "digest": info.digest,
        "expires": Expires(info.expires).value if info.expires else None,
        "labels": info.labels,
        "caveats": [_caveat_to_json(caveat) for caveat in info.caveats],
        "problems": info.problems(),
    }


def _caveat_to_json(caveat: Caveat | InvalidCaveat) -> dict[str, str]:
    if isinstance(caveat, InvalidCaveat):
        return {"invalid": _escape(caveat.data), "problem": caveat.problem}
    return {"key": caveat.key, "value": caveat.value}


def _to_rows(info: TokenInfo) -> Iterator[tuple[str, str | Text]]:
    yield "tenant", _tenant(info.tenant)
    if info.issuer != info.tenant:
        yield "issuer", "* (an operator's token)" if info.issuer == ANY else info.issuer
    yield "token_id", info.token_id
    yield "key_version", str(info.key_version)
    yield "digest", info.digest
    yield "expires", Expires(info.expires).value if info.expires else "never"
    for caveat in info.caveats:
        if isinstance(caveat, InvalidCaveat):
            yield "invalid caveat", Text(_escape(caveat.data), "red")
            yield "", caveat.problem
        else:
            yield "caveat", str(caveat)
    for problem in info.problems():
        yield "problem", Text(problem, "red")


def _tenant(tenant: str) -> str:
    return {ANY: "* (all)", "": "none"}.get(tenant, tenant)


def _escape(data: bytes) -> str:
    """Write bytes that anybody may have chosen so that a terminal obeys none of them."""
    return repr(data)[2:-1]


for command in (*_token_admin.COMMANDS, *_token_bans.COMMANDS):
    token.add_command(command)
