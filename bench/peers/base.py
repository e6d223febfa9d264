"""What the benchmark needs to know of a system."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load.spec import HttpTarget

_COUNT_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        pid: its process.
        host: where it takes batches in.
        port: the port of the same.
        data: the directory that holds what it stores.
        metadata: what gRPC calls carry: the token, where one is asked for.
        database_pid: the process that starts those of its database, if it has one.
    """

    pid: int
    host: str
    port: int
    data: Path
    metadata: tuple[tuple[str, str], ...] = ()
    database_pid: int | None = None

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT."""
        return f"{self.host}:{self.port}"


class Peer(ABC):
    """A system that takes batches in.

    Attributes:
        name: how the report calls it.
        durability: what an ack of it means.
        connections: how many connections or streams to try; the third is what is
            taken without a calibration.
        window: batches under way on each of them.
        http: how to send over HTTP, or None for gRPC Ingest streams.
        keeps_data: whether there is anything to count.
    """

    name: str
    durability: str
    connections: tuple[int, ...] = (1, 2, 4, 8)
    window: int = 1
    http: HttpTarget | None = None
    keeps_data: bool = True

    def unavailable(self) -> str | None:
        """Say why the system cannot run here, or give None."""
        return None

    @abstractmethod
    @contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run a server that keeps everything below a directory."""

    @abstractmethod
    def stored_values(self, server: Server) -> int:
        """Count the values that are stored."""


def get_json(server: Server, path: str) -> Any:
    """Get a JSON document over HTTP."""
    with urllib.request.urlopen(f"http://{server.address}{path}", timeout=_COUNT_TIMEOUT) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def answers(url: str) -> bool:
    """Tell whether a URL answers."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
