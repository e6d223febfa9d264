"""Runs a server in this process."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from typing import TYPE_CHECKING

from spacelink._listeners import ConfigError
from spacelink_server.access.keys import MasterKeyError
from spacelink_server.app import serve
from spacelink_server.storage.migrations import SchemaMismatchError
from spacelink_server.storage.sqlite import DataDirectoryInUseError
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from spacelink._listeners import Address
    from spacelink_server.config import ServerConfig

# Why a server does not start; their texts are for its operator.
FAILURES = (
    ConfigError,
    DataDirectoryInUseError,
    MasterKeyError,
    SchemaMismatchError,
    StoreUnavailableError,
)

# A stream's messages are handled on the event loop while a thread commits. The
# thread needs Python's global lock for short moments only; at the default of
# 5 ms it would wait that long for each of them on a busy loop.
_SWITCH_SECONDS = 0.0005

# How many more objects there must be than at the last time before Python looks for
# cycles of them. With its 700 it looks 430 times during a report over a thousand
# devices, which takes 8 % of the report's time, and finds none.
_COLLECT_AFTER = 20_000

# What mallopt calls them, in glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
# Left alone, glibc gives threads eight arenas a core, and takes ever larger arrays from
# them: what a summary in some thread once needed is never given back. Few arenas do,
# for threads that mostly wait for Python's global lock; and what is larger than this,
# as the arrays of a reader are, is mapped by itself and goes when it is freed.
_ARENAS = 2
_MAPPED_BYTES = 1024 * 1024


def run(
    config: ServerConfig, on_ready: Callable[[Address, Address], None], stop_on: int | None = None
) -> None:
    """Run a server until it is told to stop; see app.serve."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(_COLLECT_AFTER)
    _bound_memory()
    _run(serve(config, on_ready, stop_on))


def _bound_memory() -> None:
    """Have memory that is freed go back to the system, where the C library can be told so."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # only glibc has it
        return
    mallopt(_M_ARENA_MAX, _ARENAS)
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def _run(main: Coroutine[None, None, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # there is none for Windows and PyPy
        asyncio.run(main)
    else:
        uvloop.run(main)
