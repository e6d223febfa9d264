"""Who the spool is: its lock, and the name of its stream at the server."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from spacelink_agent.spool.errors import SpoolError

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "stream.json"


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """The stream that the spool's batches belong to.

    Attributes:
        stream_id: its name at the server.
        base: what a batch's sequence in the log has more than in the stream.
    """

    stream_id: str
    base: int

    @classmethod
    def load(cls, directory: Path) -> StreamIdentity | None:
        """Read the identity; None if there is none, or none that can be read."""
        try:
            facts = json.loads((directory / _FILE).read_bytes())
            return cls(str(facts["stream_id"]), int(facts["base"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def create(cls, directory: Path, base: int) -> StreamIdentity:
        """Make a new one and keep it; it is on disk when this returns.

        Raises:
            OSError: it cannot be written; the old one holds.
        """
        identity = cls(str(uuid.uuid4()), base)
        temporary = directory / (_FILE + ".new")
        with temporary.open("wb") as file:
            file.write(json.dumps(asdict(identity)).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / _FILE)
        _sync_directory(directory)
        return identity

    @staticmethod
    def forget(directory: Path) -> None:
        """Remove the identity; it is gone for good when this returns."""
        (directory / _FILE).unlink(missing_ok=True)
        _sync_directory(directory)


def lock(directory: Path) -> int:
    """Keep other agents out until the descriptor is closed or the process ends.

    Raises:
        SpoolError: another agent has it.
    """
    fd = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise SpoolError(
            f"the spool {directory} is in use by another agent (process {owner or 'unknown'}); "
            "give each agent a --spool of its own"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
