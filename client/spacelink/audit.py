"""Audit chains: how events are written and hashed, and how an export is verified. Offline.

    line       = canonical JSON (RFC 8785) of an event with its event_hash
    event_hash = SHA-256(canonical JSON of the event without event_hash), in hex
    chain      = sequences from 1 without a gap; each event's previous_hash is
                 the event_hash of the one before, 64 zeros for the first

Whoever changes an event has to change the hashes of all that follow. What hashes
alone cannot show is that the newest events are missing, or that the whole chain
was written anew: for that, keep the hash of a last event somewhere else, and
verify against it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json: TypeAlias = "str | int | bool | list[Json] | Mapping[str, Json] | None"

FIRST_PREVIOUS_HASH = "0" * 64

_KEYS = frozenset(
    (
        "action",
        "actor",
        "detail",
        "event_hash",
        "event_time",
        "outcome",
        "previous_hash",
        "resource",
        "sequence",
        "tenant_id",
    )
)
_HASH = re.compile(r"[0-9a-f]{64}")
# RFC 8785 writes numbers as doubles are written; up to here, integers are the same.
_MAX_INTEGER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found out about a chain.

    Attributes:
        event_count: how many events hold, from the first on.
        head: the event_hash of the last of them; 64 zeros where there is none.
        broken_sequence: the sequence at which the chain breaks; 0 where it is
            intact.
        problem: how it breaks there; empty where it is intact.
    """

    event_count: int
    head: str
    broken_sequence: int = 0
    problem: str = ""

    @property
    def intact(self) -> bool:
        """Whether every event follows from the one before."""
        return not self.problem


class _BrokenError(Exception):
    """An event does not follow from the one before."""


def canonical_json(value: Json) -> bytes:
    """Write a value as RFC 8785 canonical JSON.

    Raises:
        ValueError: a text is not Unicode, or an integer is beyond 2**53 - 1.
        TypeError: the value is, or holds, a number with a fraction or something
            that JSON does not have.
    """
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def check_head(text: str) -> str:
    """Give the hash that a chain must end with in lower case; ValueError says what would be right."""
    head = text.strip().lower()
    if not _HASH.fullmatch(head):
        raise ValueError(f"{text!r}: expected the event_hash of an event, 64 hexadecimal digits")
    return head


def verify(lines: Iterable[bytes], expected_head: str = "") -> Verification:
    """Verify a tenant's whole chain: see Verifier."""
    verifier = Verifier()
    for line in lines:
        if not verifier.add(line.removesuffix(b"\n")):
            break
    return verifier.finish(expected_head)


class Verifier:
    """Follows a chain from its first event on."""

    def __init__(self) -> None:
        self._event_count = 0
        self._head = FIRST_PREVIOUS_HASH
        self._tenant_id: Json = None
        self._problem = ""

    def add(self, line: bytes) -> bool:
        """Take the next event in.

        Args:
            line: the event as it was exported, without its line end.

        Returns:
            False where the chain is broken; then nothing more is taken in.
        """
        if not self._problem:
            try:
                self._follow(_parse(line))
            except _BrokenError as error:
                self._problem = str(error)
        return not self._problem

    def finish(self, expected_head: str = "") -> Verification:
        """Tell what was found out.

        Args:
            expected_head: the event_hash that the last event must have, as
                check_head gives it; empty means any.

        Returns:
            Where the chain breaks first, if it does.
        """
        problem = self._problem
        if not problem and expected_head not in ("", self._head):
            problem = f"the chain ends with {self._head}, but the last event should be {expected_head}"
        broken_sequence = self._event_count + 1 if problem else 0
        return Verification(self._event_count, self._head, broken_sequence, problem)

    def _follow(self, event: dict[str, Json]) -> None:
        claimed_hash = str(event.pop("event_hash"))
        if event["sequence"] != self._event_count + 1:
            raise _BrokenError(f"found event {event['sequence']} in its place")
        if self._tenant_id not in (None, event["tenant_id"]):
            raise _BrokenError("the event is of another tenant")
        if claimed_hash != hashlib.sha256(canonical_json(event)).hexdigest():
            raise _BrokenError("the event is not the one that its event_hash was made from")
        if event["previous_hash"] != self._head:
            raise _BrokenError("previous_hash is not the event_hash of the event before")
        self._tenant_id = event["tenant_id"]
        self._event_count += 1
        self._head = claimed_hash


def _parse(line: bytes) -> dict[str, Json]:
    try:
        event = json.loads(line)
        canonical = canonical_json(event)
    # Lines nested without end, and integers of thousands of digits, too.
    except (ValueError, TypeError, RecursionError):
        raise _BrokenError("not an event: the line is not JSON as it was exported") from None
    if canonical != line:
        raise _BrokenError("the line is not written as it was exported")
    if not isinstance(event, dict) or event.keys() != _KEYS:
        raise _BrokenError(f"not an event: expected an object with {', '.join(sorted(_KEYS))}")
    return event


def _ordered(value: Json) -> Json:
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise ValueError(f"{value} is beyond 2**53 - 1: write it as a text")
        return value
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=_utf16)}
    raise TypeError(f"{value!r} has no canonical form")


def _utf16(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} is not a text")
    return key.encode("utf-16-be")
