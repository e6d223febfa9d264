"""Runs the spacelink command as a child that does not outlive its parent.

The parent holds the other end of standard input and never writes to it. However
the parent ends, the pipe closes with it, and the child ends at once.
"""

from __future__ import annotations

import os
import sys
import threading

from spacelink.cli import main


def _end_with_parent() -> None:
    # Not by sys.stdin: its lock, held here, would be missed at interpreter exit.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(sys.argv[1:], prog_name="spacelink")
