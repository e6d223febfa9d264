"""What Ctrl-C means to the command from its first moment on.

Imports nothing that takes time.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# 128 and the number of SIGINT, as shells tell it.
INTERRUPTED = 130


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def end_at_once() -> None:
    """Have Ctrl-C end the process without a word while modules are imported.

    An exception in the midst of an import would be shown as a traceback, or as an
    error of the module's.
    """
    # Who starts it in the background of a shell may have it ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Have Ctrl-C raise KeyboardInterrupt, if it was made to end the process at once."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
