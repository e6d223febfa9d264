"""The metadata of calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


def values(metadata: Metadata, key: str) -> list[str]:
    """Give all values of a key, in their order."""
    return [str(value) for name, value in metadata if name == key]
