"""VictoriaMetrics, single node, from its Debian package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.encoders import native, remote_write
from bench.load.spec import HttpTarget
from bench.peers.base import Peer, Server, answers, get_json
from bench.processes import free_port, running
from bench.walk import START_SECONDS

_PROTOCOLS = {
    "remote write": HttpTarget(
        "/api/v1/write",
        ("Content-Type: application/x-protobuf", "Content-Encoding: snappy"),
        remote_write.encode,
    ),
    "native": HttpTarget("/api/v1/import/native", (), native.encode),
}
# Longer than any run reaches past the first sample.
_RANGE_SECONDS = 10 * 365 * 86400


class VictoriaMetrics(Peer):
    """A node with its defaults but a retention that covers the samples, fed by one of its protocols."""

    durability = "in memory; on disk within seconds"

    def __init__(self, protocol: str) -> None:
        self.name = f"VictoriaMetrics ({protocol})"
        self.http = _PROTOCOLS[protocol]

    def unavailable(self) -> str | None:
        """Say so where the package is not installed."""
        return None if shutil.which("victoria-metrics") else "the package victoria-metrics is not installed"

    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run a node."""
        port, data = free_port(), directory / "data"
        command = ["victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={data}"]
        command += ["-retentionPeriod=100y", "-search.maxQueryDuration=5m", "-loggerLevel=ERROR"]
        url = f"http://127.0.0.1:{port}/health"
        with running(command, directory / "log", lambda: answers(url)) as process:
            yield Server(process.pid, "127.0.0.1", port, data)

    def stored_values(self, server: Server) -> int:
        """Count with count_over_time over all series, after a flush that makes the newest samples visible."""
        get_json(server, "/internal/force_flush")
        end = START_SECONDS + _RANGE_SECONDS - 1
        query = f"sum(count_over_time(%7Bdevice!=%22%22%7D[{_RANGE_SECONDS}s]))"
        answer = get_json(server, f"/api/v1/query?nocache=1&time={end}&query={query}")
        return int(answer["data"]["result"][0]["value"][1])
