"""The `spacelink telemetry` commands."""

from __future__ import annotations

import click

from spacelink.cli import (
    _telemetry_export,
    _telemetry_import,
    _telemetry_read,
    _telemetry_send,
    _telemetry_watch,
)


@click.group()
def telemetry() -> None:
    """Send, read and watch telemetry."""


telemetry.add_command(_telemetry_send.send)
telemetry.add_command(_telemetry_read.query)
telemetry.add_command(_telemetry_read.latest)
telemetry.add_command(_telemetry_read.summary)
telemetry.add_command(_telemetry_watch.watch)
telemetry.add_command(_telemetry_import.import_)
telemetry.add_command(_telemetry_export.export)
