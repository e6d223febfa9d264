"""Caveats that bound when, from where and how much."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Self

from spacelink._caveats.base import CallContext, Caveat, Failure, Success

# Clocks of holders and servers differ by seconds. A token used a little early
# harms nobody; one used after its expiry might, so expires has no leeway.
NOT_BEFORE_LEEWAY = timedelta(seconds=30)

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_UNIT_OF = {seconds: unit for unit, seconds in _UNITS.items()}
# Leaves room for sums of amounts in a 64-bit counter, and a double counts to it exactly.
_MAX_AMOUNT = 10**15


@dataclass(frozen=True, slots=True)
class _Instant(Caveat):
    """A time in UTC and whole seconds."""

    time: datetime

    def __post_init__(self) -> None:
        if self.time.tzinfo is not UTC or self.time.microsecond:
            raise ValueError(f"{self.time.isoformat()} is not in UTC and whole seconds")

    @classmethod
    def from_text(cls, text: str) -> Self:
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is not None:
                return cls(time.astimezone(UTC).replace(microsecond=0))
        except (ValueError, OverflowError):
            pass
        raise ValueError(f"{text!r} is not a time with its zone, such as 2027-01-01T12:00:00Z")

    @property
    def value(self) -> str:
        return f"{self.time.isoformat()[:19]}Z"


class Expires(_Instant):
    """The call is before the time; no leeway."""

    __slots__ = ()
    key = "expires"

    def check(self, call: CallContext) -> Success | Failure:
        if call.now < self.time:
            return Success()
        return Failure(f"expired at {self.value}")


class NotBefore(_Instant):
    """The call is not before the time, with 30 s of leeway."""

    __slots__ = ()
    key = "not_before"

    def check(self, call: CallContext) -> Success | Failure:
        if call.now + NOT_BEFORE_LEEWAY >= self.time:
            return Success()
        return Failure(f"not valid before {self.value}")


@dataclass(frozen=True, slots=True)
class Ip(Caveat):
    """The peer's address is inside one of the networks."""

    key = "ip"
    networks: tuple[IPv4Network | IPv6Network, ...]

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError("the list is empty")
        for network in self.networks:
            if isinstance(network, IPv6Network):
                _require_plain(network)

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(tuple(_to_network(word) for word in text.split()))

    @property
    def value(self) -> str:
        return " ".join(map(str, self.networks))

    def check(self, call: CallContext) -> Success | Failure:
        peer = call.peer
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        if peer is not None and any(peer in network for network in self.networks):
            return Success()
        return Failure(f"the peer's address is not in {self.value!r}")


@dataclass(frozen=True, slots=True)
class _Limit(Caveat):
    """An amount in each fixed window; always holds here, for only the server knows what is used up.

    Attributes:
        amount: at least 1.
        window: seconds: of a second, a minute, an hour or a day.
    """

    amount: int
    window: int

    def __post_init__(self) -> None:
        if not 1 <= self.amount <= _MAX_AMOUNT or self.window not in _UNIT_OF:
            raise ValueError(
                f"expected amount/unit, such as 100/minute: an amount from 1 to {_MAX_AMOUNT} "
                f"and a unit out of {', '.join(_UNITS)}"
            )

    @classmethod
    def from_text(cls, text: str) -> Self:
        amount, _, unit = text.partition("/")
        return cls(int(amount) if amount.isdecimal() else 0, _UNITS.get(unit, 0))

    @property
    def value(self) -> str:
        return f"{self.amount}/{_UNIT_OF[self.window]}"

    def check(self, call: CallContext) -> Success | Failure:
        return Success()


class RateLimit(_Limit):
    """At most so many calls, or batches of an ingest, in each window."""

    __slots__ = ()
    key = "rate_limit"


class Quota(_Limit):
    """At most so many units, or samples of an ingest, in each window."""

    __slots__ = ()
    key = "quota"


def _require_plain(network: IPv6Network) -> None:
    # A peer at a mapped address is an IPv4 peer, so this would never hold.
    if network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{network} is a mapped IPv4 network: write it as IPv4")
    # Zones name interfaces of one host, and matching leaves them out.
    if network.network_address.scope_id is not None:
        raise ValueError(f"{network} has a zone: write it without")


def _to_network(word: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(word)
    except ValueError:
        raise ValueError(
            f"{word!r} is not a network such as 10.0.0.0/8 or 2001:db8::/32 with no bits behind the prefix"
        ) from None
