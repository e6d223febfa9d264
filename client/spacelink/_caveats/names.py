"""Caveats that name things: the tenant, scopes, devices, networks, and the holder."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from spacelink._caveats.base import ANY, CallContext, Caveat, Failure, Success
from spacelink._names import IDENTIFIER_RULE, is_identifier

if TYPE_CHECKING:
    from collections.abc import Collection

_SCOPE = re.compile(r"(\*|[a-z][a-z0-9_]*):(\*|[a-z][a-z0-9_]*)", re.ASCII)
# The name that the older REST SDK has for reading anything.
SCOPE_ALIASES = {"api:read": "*:read"}


@dataclass(frozen=True, slots=True)
class Tenant(Caveat):
    """The call is about this tenant; ANY allows every one. Always the first caveat."""

    key = "tenant"
    tenant: str

    def __post_init__(self) -> None:
        if self.tenant != ANY and not is_identifier(self.tenant):
            raise ValueError(f"{self.tenant!r} is not a tenant: expected {IDENTIFIER_RULE}")

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(text)

    @property
    def value(self) -> str:
        return self.tenant

    def check(self, call: CallContext) -> Success | Failure:
        if self.tenant in (ANY, call.tenant):
            return Success()
        about = "all tenants" if call.tenant == ANY else f"tenant {call.tenant!r}"
        return Failure(f"the call is about {about}, but the token is for tenant {self.tenant!r} only")


@dataclass(frozen=True, slots=True)
class Label(Caveat):
    """Always holds; names the holder, and makes siblings distinct."""

    key = "label"
    label: str

    def __post_init__(self) -> None:
        if not is_identifier(self.label):
            raise ValueError(f"{self.label!r} is not a label: expected {IDENTIFIER_RULE}")

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(text)

    @property
    def value(self) -> str:
        return self.label

    def check(self, call: CallContext) -> Success | Failure:
        return Success()


@dataclass(frozen=True, slots=True)
class _Words(Caveat):
    """A list of words with one blank between them."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("the list is empty")
        for word in self.words:
            self._require(word)

    @staticmethod
    @abstractmethod
    def _require(word: str) -> None:
        """Raise ValueError if word cannot be in the list."""

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(tuple(text.split()))

    @property
    def value(self) -> str:
        return " ".join(self.words)


class Scope(_Words):
    """The scope of the method is in the list."""

    __slots__ = ()
    key = "scope"

    @staticmethod
    def _require(word: str) -> None:
        if not _SCOPE.fullmatch(word):
            raise ValueError(
                f"{word!r} is not a scope: expected resource:action, such as telemetry:write, "
                "with * for any resource or any action"
            )

    def check(self, call: CallContext) -> Success | Failure:
        if any(_covers(word, call.scope) for word in self.words):
            return Success()
        return Failure(f"scope {call.scope!r} is not in {self.value!r}")


class _Names(_Words):
    """A list of names, or of name/* for everything below a name."""

    __slots__ = ()

    @staticmethod
    def _require(word: str) -> None:
        if not is_identifier(word[:-1] if word.endswith("/*") else word):
            raise ValueError(
                f"{word!r} is not a name: expected {IDENTIFIER_RULE}; at the end, /* stands for all below"
            )

    def _check_names(self, names: Collection[str]) -> Success | Failure:
        prefixes = tuple(word[:-1] for word in self.words if word.endswith("/*"))
        for name in names:
            if name not in self.words and not name.startswith(prefixes):
                return Failure(f"{self.key} {name!r} is not in {self.value!r}")
        return Success()


class Device(_Names):
    """Every device that the call names is in the list."""

    __slots__ = ()
    key = "device"

    def covers(self, device_id: str) -> bool:
        """Tell whether a device is in the list."""
        return isinstance(self._check_names((device_id,)), Success)

    def check(self, call: CallContext) -> Success | Failure:
        return self._check_names(call.devices)


class Network(_Names):
    """Every network that the call names is in the list."""

    __slots__ = ()
    key = "network"

    def check(self, call: CallContext) -> Success | Failure:
        return self._check_names(call.networks)


def _covers(granted: str, wanted: str) -> bool:
    pairs = zip(SCOPE_ALIASES.get(granted, granted).split(":"), wanted.split(":"), strict=True)
    return all(pattern in (ANY, part) for pattern, part in pairs)
