"""The spacelink command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import ServerProcess

# Long enough for a machine that does much else.
COMMAND_SECONDS = 60.0


def spacelink(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "spacelink", *args],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env={**os.environ, **variables},
    )


def as_operator(server: ServerProcess, *args: str) -> str:
    """Run a command that must succeed with the operator's token, and give what it writes."""
    done = spacelink(
        *args,
        SPACELINK_SERVER=server.address,
        SPACELINK_ADMIN_SERVER=server.admin_address,
        SPACELINK_TOKEN_FILE=str(server.token_file),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
