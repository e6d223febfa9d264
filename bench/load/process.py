"""Runs a load in a process of its own, so that its work is not the orchestrator's."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvloop

from bench.load.grpc_streams import GrpcLoad
from bench.load.http_requests import HttpLoad
from bench.load.spec import LoadResult, LoadSpec

# gRPC does not survive a fork.
_processes = multiprocessing.get_context("spawn")


class LoadProcess:
    """A load that is connected and waits for the word to go."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The word that it is ready.
        self._receive()

    def run(self) -> LoadResult:
        """Run the load to its end.

        Raises:
            RuntimeError: the load failed; the text says why.
        """
        self._connection.send("go")
        result = self._receive()
        assert result is not None
        return result

    def _receive(self) -> LoadResult | None:
        try:
            error, result = self._connection.recv()
        except EOFError:
            raise RuntimeError("the load generator died") from None
        if error is not None:
            raise RuntimeError(f"load: {error!r}") from error
        found: LoadResult | None = result
        return found


@contextmanager
def load_process(spec: LoadSpec) -> Iterator[LoadProcess]:
    """Start a load generator; its batches are encoded and its connections open when this enters."""
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_main, args=(spec, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield LoadProcess(ours)
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()
        process.join()


def _main(spec: LoadSpec, connection: Connection) -> None:
    try:
        uvloop.run(_run(spec, connection))
    except Exception as error:
        connection.send((error, None))


async def _run(spec: LoadSpec, connection: Connection) -> None:
    load = GrpcLoad(spec) if spec.http is None else HttpLoad(spec, spec.http)
    await load.connect()
    # Many small objects live to the end; scanning them again and again would cost the load.
    gc.freeze()
    connection.send((None, None))
    await asyncio.to_thread(connection.recv)
    load.log.start()
    await load.run()
    connection.send((None, load.log.result()))
    await load.close()
