"""The `spacelink agent rejected` commands: what was set aside, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spacelink.cli._output import output_option, sample_writer, write_records
from spacelink.cli.settings import config_file, setting
from spacelink_agent.settings import default_spool
from spacelink_agent.spool import Rejected, Spool, SpoolError, SpoolSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.decorators import FC

    from spacelink.columns import TelemetryColumns
    from spacelink_agent.spool import RejectedEntry


def _inherited_spool() -> Path:
    """Give the spool of `spacelink agent`, where the command line or its file names one there."""
    context = click.get_current_context().parent
    while context is not None:
        if "spool" in context.params:
            return Path(context.params["spool"])
        context = context.parent
    return default_spool()


def _spool_setting(function: FC) -> FC:
    function = setting(
        "--spool",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=_inherited_spool,
        show_default="~/.local/state/spacelink/spool",
        help="The agent's directory.",
    )(function)
    return config_file(shared=True)(function)


_names = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group()
def rejected() -> None:
    """Show, send again, export or discard what was set aside.

    A batch that the server will never store as it is, and a row that is no
    sample, are set aside below the spool, with the reason.
    """


@rejected.command("list")
@_spool_setting
@output_option
def list_(spool: Path, output: str) -> None:
    """List the batches and files of rows: when, of what, how many, and why.

    \b
    Examples:
      spacelink agent rejected list
      spacelink agent rejected list --spool /var/lib/spacelink-agent --output csv
    """
    records = [
        {
            "name": entry.name,
            "time": entry.time.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "device_id": entry.device_id,
            "samples": entry.samples,
            "reason": entry.reason,
            "message": entry.message,
            "file": str(entry.path),
        }
        for entry in _entries(spool, ())
    ]
    write_records(output, records, things="rejected batches")


@rejected.command()
@_spool_setting
@_names
def resend(spool: Path, names: tuple[str, ...]) -> None:
    """Put batches back into the spool: all, or those NAMEd by list.

    The next start of the agent sends them. That is of use when the cause is
    cured, such as a limit that was raised. Samples of a batch whose values are
    wrong stay set aside, as rows.

    \b
    Examples:
      spacelink agent rejected resend
      spacelink agent rejected resend 17 18
    """
    entries = _batches(spool, names)
    try:
        opened = Spool(spool, SpoolSettings())
    except SpoolError as error:
        raise click.ClickException(f"{error}; or stop that agent first") from None
    try:
        for entry in entries:
            if not opened.put_back(_samples(entry)):
                raise click.ClickException(f"the spool {spool} has no room for batch {entry.name}")
            entry.remove()
        told = "1 batch is" if len(entries) == 1 else f"{len(entries)} batches are"
        sent = "it" if len(entries) == 1 else "them"
        click.echo(f"{told} back in {spool}; the next start of the agent sends {sent}")
        if rows := opened.counters.bad_rows:
            click.echo(f"{rows} samples with wrong values stay set aside, as rows")
    finally:
        opened.close()
    _tell_of_rows(spool)


def _samples(entry: RejectedEntry) -> TelemetryColumns:
    try:
        return entry.read()
    except SpoolError as error:
        raise click.ClickException(str(error)) from None


@rejected.command()
@_spool_setting
@_names
def export(spool: Path, names: tuple[str, ...]) -> None:
    """Write the samples of batches as CSV: of all, or of those NAMEd by list.

    The format is that of `spacelink telemetry import`. Files of bad rows are CSV
    already; list says where they are.

    \b
    Examples:
      spacelink agent rejected export > rejected.csv
    """
    batches = list(map(_samples, _batches(spool, names)))
    writer = sample_writer("csv", ())
    for samples in batches:
        writer.write(samples)
    writer.close()
    _tell_of_rows(spool)


@rejected.command()
@_spool_setting
@click.option("--all", "all_", is_flag=True, help="Discard all there is.")
@_names
def discard(spool: Path, all_: bool, names: tuple[str, ...]) -> None:
    """Remove what list NAMEs for good.

    \b
    Examples:
      spacelink agent rejected discard rows-1d2c41e0
      spacelink agent rejected discard --all
    """
    if all_ == bool(names):
        raise click.UsageError("expected NAMEs as list gives them, or --all")
    entries = _entries(spool, names)
    for entry in entries:
        entry.remove()
    click.echo(f"{len(entries)} discarded")


def _tell_of_rows(spool: Path) -> None:
    for entry in _entries(spool, ()):
        if not entry.is_batch:
            click.echo(
                f"{entry.samples} bad rows are in {entry.path}: correct them there, replay that file, "
                f"and discard {entry.name}",
                err=True,
            )


def _batches(spool: Path, names: Sequence[str]) -> list[RejectedEntry]:
    entries = _entries(spool, names)
    for entry in entries:
        if names and not entry.is_batch:
            raise click.UsageError(f"{entry.name} is a file of rows: correct and replay {entry.path}")
    return [entry for entry in entries if entry.is_batch]


def _entries(spool: Path, names: Sequence[str]) -> list[RejectedEntry]:
    entries = Rejected(spool / "rejected").entries()
    known = {entry.name for entry in entries}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"{spool} has set aside no {', '.join(unknown)}; list says what there is")
    return [entry for entry in entries if not names or entry.name in names]
