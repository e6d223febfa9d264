"""The spool's errors."""

from __future__ import annotations


class SpoolError(Exception):
    """The spool cannot be opened; the text says why and what to do."""
