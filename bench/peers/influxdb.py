"""InfluxDB 1.x from its Debian package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.encoders import line_protocol
from bench.load.spec import HttpTarget
from bench.peers.base import Peer, Server, answers, get_json
from bench.processes import free_port, running

_DATABASE = "bench"
# The store's own defaults, so wal-fsync-delay is 0: every write is fsynced before its ack. Only its own
# traffic and its log of every request are switched off.
_CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{data}/meta"
[data]
  dir = "{data}/data"
  wal-dir = "{data}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
"""


class InfluxDB(Peer):
    """A node with its default durability, fed by line protocol."""

    name = "InfluxDB (line protocol)"
    durability = "fsynced (WAL)"
    http = HttpTarget(f"/write?db={_DATABASE}&precision=s", (), line_protocol.encode)

    def unavailable(self) -> str | None:
        """Say so where the package is not installed."""
        return None if shutil.which("influxd") else "the package influxdb is not installed"

    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run a node with an empty database."""
        port, data, config = free_port(), directory / "data", directory / "influxdb.conf"
        config.write_text(_CONFIG.format(port=port, rpc_port=free_port(), data=data))
        command: list[str | Path] = ["influxd", "run", "-config", config]
        url = f"http://127.0.0.1:{port}/ping"
        with running(command, directory / "log", lambda: answers(url)) as process:
            server = Server(process.pid, "127.0.0.1", port, data)
            get_json(server, f"/query?q=CREATE+DATABASE+{_DATABASE}")
            yield server

    def stored_values(self, server: Server) -> int:
        """Count every field."""
        query = f"SELECT+count(*)+FROM+{line_protocol.MEASUREMENT}"
        answer = get_json(server, f"/query?db={_DATABASE}&q={query}")
        _time, *counts = answer["results"][0]["series"][0]["values"][0]
        return sum(counts)
