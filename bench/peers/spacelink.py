"""The SpaceLink server on its embedded store."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from bench.peers.base import Peer, Server
from bench.processes import running
from spacelink.v1.telemetry_pb2 import SummarizeTelemetryRequest
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub

_READY = re.compile(rb"^ready data=([\d.]+):(\d+)", re.MULTILINE)
_SUMMARY_TIMEOUT = 300.0


class SpaceLink(Peer):
    """`spacelink server` with its defaults."""

    name = "SpaceLink"
    durability = "committed and fsynced (SQLite WAL, synchronous=FULL)"
    connections = (1, 4, 16, 64)
    window = 64

    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run the server."""
        data, log = directory / "data", directory / "log"
        command: list[str | Path] = [sys.executable, "-m", "spacelink", "server", "--data-dir", data]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
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
