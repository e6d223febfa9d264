"""Runs a load in a process of its own, so that its work is not the orchestrator's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvloop

from bench.load.grpc_streams import GrpcLoad
from bench.load.http_requests import HttpLoad
from bench.load.spec import LoadInterval, LoadResult, LoadSpec

# gRPC does not survive a fork.
_processes = multiprocessing.get_context("spawn")


class LoadProcess:
    """A load that is connected and waits for the word to go."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The word that it is ready.
        self._receive()

    def run(self, on_interval: Callable[[LoadInterval], None] = lambda _interval: None) -> LoadResult:
        """Run the load to its end.

        Args:
            on_interval: told what was acked, as often as the spec says.

        Raises:
            RuntimeError: the load failed; the text says why.
        """
        self._connection.send("go")
        while not isinstance(found := self._receive(), LoadResult):
            assert found is not None
            on_interval(found)
        return found

    def _receive(self) -> LoadResult | LoadInterval | None:
        try:
            error, result = self._connection.recv()
        except EOFError:
            raise RuntimeError("the load generator died") from None
        if error is not None:
            raise RuntimeError(f"load: {error!r}") from error
        found: LoadResult | LoadInterval | None = result
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
    done = asyncio.Event()
    reports = asyncio.create_task(_report(load, spec.report_seconds, connection, done))
    await load.run()
    done.set()
    await reports
    connection.send((None, load.result()))
    await load.close()


async def _report(
    load: GrpcLoad | HttpLoad, seconds: float, connection: Connection, done: asyncio.Event
) -> None:
    while seconds:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), seconds)
            return
        # On another thread: what takes long here counts as latency.
        await asyncio.to_thread(_send_interval, load.log.interval(), connection)


def _send_interval(interval: Callable[[], LoadInterval], connection: Connection) -> None:
    connection.send((None, interval()))
