"""The credential that a command was given: which one holds, and what it is.

A flag holds whatever the environment has, and a variable whatever a file of
settings has. No error shows the secret, nor what else a file held.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from spacelink._credentials import credentials, is_secret
from spacelink.cli.settings import setting
from spacelink.errors import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.decorators import FC

    from spacelink._credentials import Credentials

# Not opened before it is known that it holds.
SECRET_FILE = click.Path(allow_dash=True, readable=False)

# Longer than any token or key; a file that was given by mistake is not read to its end.
_MAX_FILE = 16 * 1024

_VARIABLES = {"token": "SPACELINK_TOKEN", "api_key": "SPACELINK_API_KEY"}
_EXPECTED = {"token": "a token (slk_...)", "api_key": "an API key (slak_...)"}
# What holds before what.
_SOURCES = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


def token_file_setting(help: str) -> Callable[[FC], FC]:  # noqa: A002 - click's name for it
    """Declare --token-file, for take_credential."""
    return setting("--token-file", type=SECRET_FILE, metavar="FILE", help=help)


def api_key_file_setting(help: str) -> Callable[[FC], FC]:  # noqa: A002 - click's name for it
    """Declare --api-key-file, for take_credential."""
    return setting("--api-key-file", type=SECRET_FILE, metavar="FILE", help=help)


@dataclass(frozen=True, slots=True, repr=False)
class GivenCredential:
    """A token or an API key that a command was given.

    Attributes:
        kind: "token" or "api_key".
        place: the flag, the variable or the key in a file of settings that gave it.
        file: the file that holds it, - for standard input; empty where text is it.
        text: the secret itself; empty where a file holds it.
    """

    kind: str
    place: str
    file: str = ""
    text: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.file}".rstrip()

    def read(self) -> str:
        """Give the secret.

        Raises:
            click.UsageError: there is none to read.
            click.ClickException: what is there is something else.
        """
        text = self.text or read_secret_file(self.place, self.file, _EXPECTED[self.kind])
        try:
            credentials(**{self.kind: text})
        except (ValueError, InvalidTokenError) as error:
            raise click.ClickException(self._refuse(error)) from None
        return text

    def follow(self) -> Credentials:
        """Give it as a client presents it, which reads a file again when it changes.

        Raises:
            click.UsageError: there is none to read, or what is there is something else.
        """
        name, value = (f"{self.kind}_file", self.file) if self.file else (self.kind, self.text)
        try:
            return credentials(**{name: value})
        except OSError as error:
            raise click.UsageError(_unreadable(self.place, self.file, error, _EXPECTED[self.kind])) from None
        except (ValueError, InvalidTokenError) as error:
            raise click.UsageError(self._refuse(error)) from None

    def _refuse(self, error: Exception) -> str:
        if is_secret(self.file):
            return _secret_itself(self.place)
        # Behind the name of what it is for.
        problem = str(error).rpartition(f"{self.kind}: ")[2]
        return f"{self}: not {_EXPECTED[self.kind]}: {problem}"


def take_credential(settings: dict[str, Any]) -> GivenCredential | None:
    """Take the credential that holds out of a command's settings; None where there is none.

    Raises:
        click.UsageError: more than one was given in the same way.
    """
    given = [credential for kind in _VARIABLES for credential in _given(kind, settings)]
    first = min((source for source, _ in given), default=0)
    chosen = [credential for source, credential in given if source == first]
    if len(chosen) > 1:
        raise click.UsageError(f"expected one credential, not {' and '.join(c.place for c in chosen)}")
    return chosen[0] if chosen else None


def _given(kind: str, settings: dict[str, Any]) -> Iterator[tuple[int, GivenCredential]]:
    """Give what of a kind was given, with how much it holds; less is more."""
    name = f"{kind}_file"
    if name not in click.get_current_context().params:
        return
    file, source = settings.pop(name), click.get_current_context().get_parameter_source(name)
    if file and source in _SOURCES:
        flag, variable = f"--{name.replace('_', '-')}", f"{_VARIABLES[kind]}_FILE"
        order = _SOURCES.index(source)
        yield order, GivenCredential(kind, (flag, variable, name)[order], file=file)
    text = os.environ.get(_VARIABLES[kind], "").strip()
    # Of two variables of a kind, the file's holds.
    if text and source is not ParameterSource.ENVIRONMENT:
        order = _SOURCES.index(ParameterSource.ENVIRONMENT)
        yield order, GivenCredential(kind, _VARIABLES[kind], text=text)


def read_secret_file(place: str, file: str, expected: str) -> str:
    """Read a file that holds a secret, without blanks around it.

    Args:
        place: what the file was given as, for errors.
        file: its name, - for standard input.
        expected: what it should hold, for errors.

    Raises:
        click.UsageError: it cannot be read, is empty, or the secret itself was
            given for its name.
    """
    if is_secret(file):
        raise click.UsageError(_secret_itself(place))
    try:
        # What is not ASCII is not part of a token or a key; their readers say so.
        with click.open_file(file, encoding="ascii", errors="replace") as opened:
            text = str(opened.read(_MAX_FILE)).strip()
    except OSError as error:
        raise click.UsageError(_unreadable(place, file, error, expected)) from None
    if not text:
        raise click.UsageError(f"{place} {file} is empty; expected {expected}")
    return text


def _unreadable(place: str, file: str, error: OSError, expected: str) -> str:
    return f"{place} {file}: cannot be read: {error.strerror}; expected a file with {expected}"


def _secret_itself(place: str) -> str:
    return f"{place}: expected the name of a file; what came is the secret itself"
