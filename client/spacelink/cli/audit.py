"""The `spacelink audit` commands."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from spacelink import audit as chain
from spacelink.cli._connection import Connection, admin_command
from spacelink.cli._progress import byte_progress, count_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# No event is nearly as long; what is not an export need not have any lines.
_MAX_LINE = 1024 * 1024

_STDOUT = "-"

_EXPECTED = "expected the file that `spacelink audit export` wrote, an event on each line"
_TAIL_UNCHECKED = (
    "not checked: whether events are missing at the end. For that give --expect-head HASH, "
    "the last one's hash as `spacelink audit export` told it"
)


@click.group()
def audit() -> None:
    """Export and verify the record of what was done."""


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, writable=True, allow_dash=True), default=_STDOUT)
@admin_command
def export(connection: Connection, file: str) -> None:
    """Write a tenant's whole audit chain to FILE, or to standard output.

    Each line is an event, oldest first. The hash of the last one goes to
    standard error: kept in another place, it shows later that nothing is missing
    at the end.

    \b
    Examples:
      spacelink audit export acme.jsonl --tenant acme
      spacelink audit export | jq 'select(.action == "token.ban")'
    """
    with connection.admin_client() as client, _opened(file) as out:
        result = _write(client.export_audit(tenant_id=connection.tenant), out)
    if not result.intact:
        raise click.ClickException(_describe(file, result))
    click.echo(f"{result.event_count:,} events, the last one's hash: {result.head}", err=True)


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """Open a file that is there when it is whole: a part of a chain looks like one."""
    if file == _STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = Path(f"{file}.partial")
    try:
        with partial.open("wb") as out:
            yield out
        partial.replace(file)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _write(lines: Iterable[bytes], out: IO[bytes]) -> chain.Verification:
    verifier = chain.Verifier()
    with count_progress("events") as show:
        for count, line in enumerate(lines, 1):
            verifier.add(line)
            out.write(line + b"\n")
            show(count)
    return verifier.finish()


@audit.command()
@click.argument("file", type=click.File("rb"))
@click.option("--expect-head", metavar="HASH", help="The hash that the last event must have.")
def verify(file: IO[bytes], expect_head: str | None) -> None:
    """Verify an exported audit chain, without a server.

    Tells the first event that was changed, added, left out or moved. Only
    --expect-head shows that events are missing at the end: `audit export` tells
    the hash on standard error, to be kept where nobody who could cut the file
    can change it. A file without events is an error.

    \b
    Examples:
      spacelink audit verify acme.jsonl
      spacelink audit verify acme.jsonl --expect-head "$(cat acme.head)"
    """
    try:
        head = chain.check_head(expect_head) if expect_head is not None else ""
    except ValueError as error:
        raise click.UsageError(f"--expect-head {error}") from None
    result = chain.verify(_lines(file), head)
    if not result.intact:
        raise click.ClickException(_describe(file.name, result))
    click.echo(f"{result.event_count:,} events, all intact; the last one's hash: {result.head}")
    if not head:
        click.echo(_TAIL_UNCHECKED)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    read = 0
    with byte_progress("verifying", _size(file)) as show:
        while line := file.readline(_MAX_LINE):
            read += len(line)
            show(read)
            yield line
    if not read:
        raise click.ClickException(f"{file.name}: no events, so nothing to verify; {_EXPECTED}")


def _size(file: IO[bytes]) -> int | None:
    """Give how many bytes there are to read; None where only the end will tell."""
    if not file.seekable():
        return None
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _describe(name: str, result: chain.Verification) -> str:
    return f"{name}: the chain breaks at event {result.broken_sequence}: {result.problem}"
