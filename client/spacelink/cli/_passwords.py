"""Passwords: from a prompt that does not show them, or a file; never from the command line."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING

import click

from spacelink.cli.settings import setting

if TYPE_CHECKING:
    from click.decorators import FC


def password_file_setting(function: FC) -> FC:
    """Declare --password-file."""
    return setting(
        "--password-file",
        type=click.File(encoding="utf-8"),
        help="File with the password, - for standard input; without it the password is asked for.",
    )(function)


def read_password(file: IO[str] | None, *, is_new: bool) -> str:
    """Read a password; a new one that is typed is asked for twice.

    Raises:
        click.UsageError: there is nobody to ask, or it is empty.
    """
    password = _read_file(file) if file else _ask(is_new)
    if not password:
        raise click.UsageError("the password is empty")
    return password


def _read_file(file: IO[str]) -> str:
    try:
        # The end of the line is the editor's; blanks may be meant.
        return file.read().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.UsageError("--password-file: expected text in UTF-8") from None


def _ask(is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("no password: give --password-file FILE, - for standard input")
    # On standard error: what the command prints may go to a file.
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True)
    return password
