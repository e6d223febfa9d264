"""Where a listener listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from spacelink._channel import is_loopback


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Read HOST:PORT; port 0 lets the system choose.

        Raises:
            ValueError: names the setting.
        """
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{name} {text!r}: expected HOST:PORT, such as 127.0.0.1:50051")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(str(self))
