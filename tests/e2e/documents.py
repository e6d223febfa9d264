"""Documents whose commands are run, from the first to the last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.calls import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A command, and the lines that go on with it.
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)
# Keeps what a command exported for the next one.
_EXPORTS = "exports"


def steps(document: Path) -> Iterator[tuple[str, str]]:
    """Give the commands and programs of a document, in order, each with its kind."""
    for kind, text in _BLOCK.findall(document.read_text(encoding="utf-8")):
        if kind == "python":
            yield kind, text
        else:
            yield from ((kind, command) for command in _COMMAND.findall(text))


class Shell:
    """Where the reader of a document runs its commands.

    Attributes:
        directory: where the reader is.
    """

    def __init__(self, directory: Path, **variables: str) -> None:
        self.directory = directory
        directory.mkdir()
        program = directory / "spacelink"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m spacelink "$@"\n')
        program.chmod(0o700)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPACELINK_")},
            "PATH": f"{directory}:{os.environ['PATH']}",
            **variables,
        }

    def start(self, kind: str, text: str) -> subprocess.Popen[str]:
        """Start a step."""
        command = [sys.executable, "-c", text] if kind == "python" else ["sh", "-c", text]
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, kind: str, text: str) -> tuple[str, str]:
        """Run a step that must succeed, and give what it prints, to either output; exports stay."""
        if text.startswith("export "):
            text = f"set -e\n{text}\nenv -0 > {_EXPORTS}"
        process = self.start(kind, text)
        output, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, (text, output, errors)
        exports = self.directory / _EXPORTS
        if exports.exists():
            entries = exports.read_text().rstrip("\0").split("\0")
            self._environment = dict(entry.split("=", 1) for entry in entries)
            exports.unlink()
        return output, errors

    def run_until(self, text: str, is_done: Callable[[], bool]) -> None:
        """Run a command that does not end by itself until something is done, and have it end well."""
        process = self.start("console", f"exec {text}")
        try:
            deadline = time.monotonic() + DEADLINE
            while not is_done():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
