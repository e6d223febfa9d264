"""Processes that `spacelink up` starts and ends."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from pathlib import Path

# Time for draining streams and flushing spools, which both bound themselves to
# less.
_STOP_SECONDS = 12.0
_LOG_TAIL_LINES = 12

# What the caller has set for other servers, credentials among it, is not for these.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SPACELINK_")}


class Child:
    """A spacelink command in a process of its own, logging to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self._name = name
        self._process = process
        self._log_file = log_file

    @classmethod
    async def start(cls, name: str, *args: str, log_file: Path, is_read: bool = False) -> Self:
        """Start `spacelink NAME ARGS`.

        Args:
            name: the command.
            args: its arguments.
            log_file: where its output goes.
            is_read: its standard output is for first_line instead.
        """
        with log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "spacelink.cli._child",
                name,
                *args,
                env=_ENVIRONMENT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if is_read else log,
                stderr=log,
                # Ctrl-C is for the parent, which ends its children in order.
                start_new_session=True,
            )
        return cls(name, process, log_file)

    async def first_line(self, timeout: float) -> str:  # noqa: ASYNC109 - the caller knows how long
        """Wait for the first line of its standard output.

        Raises:
            click.ClickException: it ended, or said nothing in time.
        """
        assert self._process.stdout is not None  # noqa: S101 - is_read made the pipe
        try:
            async with asyncio.timeout(timeout):
                line = await self._process.stdout.readline()
                if not line:
                    await self.ended()
        except TimeoutError:
            raise click.ClickException(f"the {self._name} is not ready after {timeout:.0f} s") from None
        return line.decode()

    async def ended(self) -> None:
        """Wait until it ends by itself, which it must not.

        Raises:
            click.ClickException: holds the end of its log.
        """
        status = await self._process.wait()
        tail = self._log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        raise click.ClickException(
            "\n  ".join([f"the {self._name} ended with status {status}; the end of its log:", *tail])
        )

    async def stop(self) -> None:
        """End it, by force if it takes too long."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
