"""`bench tokens`: what it takes to verify a token that was never seen, and one that was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pymacaroons

from spacelink._caveats import ANY
from spacelink.token import Token
from spacelink_server.access import first_start
from spacelink_server.access.bans import BanList
from spacelink_server.access.keys import KeyRing
from spacelink_server.access.verification import TokenVerifier
from spacelink_server.access.writes import Database
from spacelink_server.storage.sqlite import SqliteStore

# In a round; fewer than the verifier remembers, so that the second time all are cached.
_TOKENS = 2000


@dataclass(slots=True)
class Verifications:
    """Microseconds a token, a figure for each round.

    Attributes:
        cold: by the server, never seen before: decoded, verified, held against
            the bans, its caveats parsed.
        cached: by the server, seen before.
        pymacaroons: decoded and verified by pymacaroons, with a verifier that
            accepts every caveat unread.
    """

    cold: list[float] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)
    pymacaroons: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """Give the median of each."""
        return {
            "cold": median(self.cold),
            "cached": median(self.cached),
            "pymacaroons": median(self.pymacaroons),
        }


def measure_verification(rounds: int) -> Verifications:
    """Verify tokens with five caveats, ours and pymacaroons' turn by turn."""
    return asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> Verifications:
    found = Verifications()
    with TemporaryDirectory() as place, ThreadPoolExecutor(1) as thread:
        store = SqliteStore(Path(place))
        keys = first_start.prepare(store, Path(place), {})
        operator = Token.parse((Path(place) / first_start.OPERATOR_TOKEN_FILE).read_text().strip())
        bans = BanList(Database(store, thread, thread), _ignore)
        verifier = TokenVerifier(keys, bans)
        theirs = _their_verification(keys, operator)
        for number in range(rounds):
            texts = [_narrowed(operator, number * _TOKENS + index) for index in range(_TOKENS)]
            # They are known for five seconds from now.
            await bans.refresh()
            found.cold.append(_microseconds(verifier.verify, texts))
            found.cached.append(_microseconds(verifier.verify, texts))
            found.pymacaroons.append(_microseconds(theirs, texts))
        store.close()
    return found


def _narrowed(operator: Token, number: int) -> str:
    """Give a sensor's token with five caveats, the operator's own among them."""
    # As the tokens of a site are made: what they are for is the same for all of them.
    token = operator.attenuate(
        scope="telemetry:write telemetry:read",
        device="site-7/*",
        expires="2999-01-01T00:00:00Z",
        label=f"sensor-{number}",
    )
    return str(token)


def _their_verification(keys: KeyRing, operator: Token) -> Callable[[str], Any]:
    root_key = keys.root_key(ANY, operator.identifier.key_version)
    assert root_key is not None
    verifier = pymacaroons.Verifier()
    verifier.satisfy_general(lambda _: True)
    prefix = str(operator).index("_") + 1
    return lambda text: verifier.verify(pymacaroons.Macaroon.deserialize(text[prefix:]), root_key)


def _microseconds(verify: Callable[[str], Any], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        verify(text)
    return (time.perf_counter() - start) / len(texts) * 1e6


async def _ignore(_: bool) -> None:
    pass
