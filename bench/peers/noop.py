"""The transport's ceiling: the Ingest method without anything behind it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.base import Peer, Server
from bench.processes import free_port, running


class Noop(Peer):
    """A grpc.aio handler on uvloop that acks every message and drops it."""

    name = "no-op gRPC"
    durability = "none: nothing is kept"
    connections = (1, 4, 16, 64)
    window = 64
    keeps_data = False

    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run the handler."""
        port = free_port()
        command = [sys.executable, "-m", "bench.peers.noop_server", str(port)]
        with running(command, directory / "log", lambda: _accepts(port)) as process:
            yield Server(process.pid, "127.0.0.1", port, directory)

    def stored_values(self, server: Server) -> int:
        """Nothing is kept."""
        return 0


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
