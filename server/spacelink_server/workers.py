"""Several processes that serve the same addresses.

The parent holds the ports, without listening on them, and starts the workers;
it makes no gRPC object, for those do not survive a fork, nor is one shared. The
kernel spreads connections over the workers. One that dies is replaced. When the
parent is told to stop, or dies, all of them drain.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import TYPE_CHECKING

from spacelink._listeners import ConfigError
from spacelink_server.access import first_start
from spacelink_server.app import opened
from spacelink_server.listeners import bind_for_a_moment
from spacelink_server.logs import start_logging
from spacelink_server.running import FAILURES, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from spacelink._listeners import Address
    from spacelink_server.config import ServerConfig
    from spacelink_server.logs import LogSettings

logger = logging.getLogger(__name__)

_SPAWN = multiprocessing.get_context("spawn")

# A worker that dies at its start is started anew this often: often enough for a
# database that comes back, seldom enough for the log.
_RESTART_SECONDS = 1.0

# Longer than a server takes to drain and to let calls under way finish.
_STOP_SECONDS = 15.0


@dataclass(slots=True)
class _Worker:
    number: int
    process: SpawnProcess
    # It says so when it is ready, or why it is not.
    words: Connection
    start_time: float
    is_ready: bool = False


def supervise(config: ServerConfig, logs: LogSettings, on_ready: Callable[[Address, Address], None]) -> None:
    """Run config.workers processes until SIGTERM or SIGINT, then drain them.

    Args:
        config: their settings.
        logs: how they log.
        on_ready: called with the addresses of the data and the admin plane once
            all workers accept calls.

    Raises:
        ConfigError: they cannot listen there, or the database's URL is none.
        StoreUnavailableError: and the others of running.FAILURES, as of a server
            in this process.
    """
    with contextlib.ExitStack() as stack:
        addresses = [
            stack.enter_context(_reserved(name, getattr(config, name))) for name in ("listen", "admin_listen")
        ]
        with opened(config) as store:
            first_start.prepare(store, config.data_dir, os.environ)
        config = replace(config, listen=addresses[0], admin_listen=addresses[1])
        told = stack.enter_context(_stop_signals())
        supervisor = stack.enter_context(contextlib.closing(_Supervisor(config, logs, told)))
        if supervisor.start():
            on_ready(config.listen, config.admin_listen)
            supervisor.watch()
        logger.info("draining %d workers", config.workers)
    logger.info("stopped")


class _Supervisor:
    """The workers."""

    def __init__(self, config: ServerConfig, logs: LogSettings, told: socket.socket) -> None:
        """Prepare to start workers.

        Args:
            config: their settings.
            logs: how they log.
            told: there is something to read when they are to stop.
        """
        self._config = config
        self._logs = logs
        self._told = told
        # Its other end closes with this process, however that ends.
        self._alive, self._parent = _SPAWN.Pipe(duplex=False)
        self._workers: list[_Worker] = []

    def start(self) -> bool:
        """Start all, and wait until they accept calls; False: they are to stop before that.

        Raises:
            ConfigError: one of them does not start; says why.
        """
        self._workers = [self._spawn(number + 1) for number in range(self._config.workers)]
        while waiting := [worker for worker in self._workers if not worker.is_ready]:
            heard = connection.wait([*(worker.words for worker in waiting), self._told])
            if self._told in heard:
                return False
            for worker in waiting:
                if worker.words in heard and (failure := _hear(worker)):
                    raise ConfigError(f"worker {worker.number}: {failure}")
        return True

    def watch(self) -> None:
        """Replace workers that die, until they are to stop."""
        while True:
            starting = [worker.words for worker in self._workers if not worker.is_ready]
            sentinels = [worker.process.sentinel for worker in self._workers]
            heard = connection.wait([*starting, *sentinels, self._told])
            if self._told in heard:
                return
            for worker in tuple(self._workers):
                failure = _hear(worker) if worker.words in heard else ""
                if worker.process.sentinel in heard or failure:
                    self._replace(worker, failure)

    def close(self) -> None:
        """Drain all, and wait until they have ended."""
        self._parent.close()
        self._alive.close()
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0.0))
            if worker.process.is_alive():
                logger.warning("worker %d does not end and is killed", worker.number)
                worker.process.kill()
                worker.process.join()
            worker.process.close()
            worker.words.close()

    def _replace(self, worker: _Worker, failure: str) -> None:
        worker.process.join()
        logger.error("worker %d ended with status %s %s", worker.number, worker.process.exitcode, failure)
        worker.process.close()
        worker.words.close()
        early = time.monotonic() - worker.start_time < _RESTART_SECONDS
        if early and connection.wait([self._told], _RESTART_SECONDS):
            self._workers.remove(worker)
            return
        self._workers[self._workers.index(worker)] = self._spawn(worker.number)

    def _spawn(self, number: int) -> _Worker:
        words, speaker = _SPAWN.Pipe(duplex=False)
        arguments = (number, self._config.of_worker(number), self._logs, speaker, self._alive)
        process = _SPAWN.Process(target=_work, args=arguments, name=f"worker-{number}")
        process.start()
        speaker.close()
        return _Worker(number, process, words, time.monotonic())


def _work(
    number: int, config: ServerConfig, logs: LogSettings, speaker: Connection, parent: Connection
) -> None:
    """Serve in a process of its own; stop when the parent has gone."""
    start_logging(logs, f"worker-{number}")
    try:
        run(config, lambda *_: speaker.send(""), parent.fileno())
    except FAILURES as error:
        speaker.send(str(error))
        raise SystemExit(1) from None


def _hear(worker: _Worker) -> str:
    """Give why a worker did not get ready; empty: it is."""
    try:
        failure: str = worker.words.recv()
    except EOFError:
        worker.process.join()
        return f"it ended with status {worker.process.exitcode}"
    worker.is_ready = not failure
    if worker.is_ready:
        logger.info("worker %d takes calls", worker.number)
    return failure


@contextlib.contextmanager
def _reserved(name: str, address: Address) -> Iterator[Address]:
    """Hold a port for sockets of this user that share it; 0 takes a free one.

    Raises:
        ConfigError: it is in use.
    """
    # Shared ports do not clash, so that one of another server would not be noticed.
    family, target = bind_for_a_moment(name, address)
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(target)
        yield replace(address, port=target[1])


@contextlib.contextmanager
def _stop_signals() -> Iterator[socket.socket]:
    """Give a socket with something to read once SIGTERM or SIGINT has come."""
    told, teller = socket.socketpair()
    with told, teller:
        teller.setblocking(False)

        def tell(*_: object) -> None:
            teller.send(b"\0")

        before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield told
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
