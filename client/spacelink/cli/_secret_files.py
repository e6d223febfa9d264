"""Files that hold a token or an API key; the secret itself, given for the name of one, is not shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from spacelink._credentials import is_secret

if TYPE_CHECKING:
    from click import Context, Parameter


class SecretFile(click.File):
    """A file that is open for reading."""

    def __init__(self) -> None:
        # What is not ASCII is not part of a token or a key; their readers say so.
        super().__init__(encoding="ascii", errors="replace")

    def convert(
        self, value: str | os.PathLike[str] | IO[Any], param: Parameter | None, ctx: Context | None
    ) -> IO[Any]:
        """Open the file."""
        _refuse_secret(self, value, param, ctx)
        return super().convert(value, param, ctx)


class SecretPath(click.Path):
    """A file that is read later, and again when it changes."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: str | os.PathLike[str], param: Parameter | None, ctx: Context | None) -> Any:
        """Give the path."""
        _refuse_secret(self, value, param, ctx)
        return super().convert(value, param, ctx)


def _refuse_secret(
    kind: click.ParamType[Any], value: Any, param: Parameter | None, ctx: Context | None
) -> None:
    if isinstance(value, str) and is_secret(value):
        kind.fail("expected the name of a file; what came is the secret itself", param, ctx)
