"""Starts the servers and looks at what they use."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_START_DEADLINE = 60.0
_STOP_DEADLINE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; it has answered when this enters and has stopped cleanly when this leaves.

    Raises:
        RuntimeError: it ended or did not answer in time; its log is quoted.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.fspath(part) for part in command], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_ready(process, log, is_ready)
        yield process
        process.terminate()
        process.wait(_STOP_DEADLINE)
    finally:
        process.kill()
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_DEADLINE
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def free_port() -> int:
    """Find a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def peak_rss_bytes(pid: int) -> int:
    """Give the largest resident set that a process has had."""
    return _status_kib(pid, "VmHWM") * 1024


def rss_bytes(pid: int) -> int:
    """Give the resident set of a process."""
    return _status_kib(pid, "VmRSS") * 1024


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has used."""
    return sum(_ticks(pid)[:2]) / _TICKS


def family_cpu_seconds(pid: int) -> float:
    """Give the processor time that a process and its children have used, those that have ended too."""
    ticks = sum(_ticks(pid))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # One that ends meanwhile goes over to its parent.
        with suppress(OSError):
            ticks += sum(_ticks(int(child)))
    return ticks / _TICKS


def _ticks(pid: int) -> tuple[int, int, int, int]:
    """Give a process's user and system time, and those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return user, system, children_user, children_system


def machine_cpu_seconds() -> float:
    """Give the processor time that the whole machine has used."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


def disk_bytes(directory: Path) -> int:
    """Add up the disk space of all files below a directory."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"no {name} in the status of process {pid}")
