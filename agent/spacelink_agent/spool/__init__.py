"""The disk spool: samples are on disk before anything else happens to them."""

from spacelink_agent.spool.counters import Counters
from spacelink_agent.spool.errors import SpoolError
from spacelink_agent.spool.rejected import Rejected, RejectedEntry
from spacelink_agent.spool.spool import FullPolicy, Spool, SpoolSettings
from spacelink_agent.spool.state import Position

__all__ = [
    "Counters",
    "FullPolicy",
    "Position",
    "Rejected",
    "RejectedEntry",
    "Spool",
    "SpoolError",
    "SpoolSettings",
]
