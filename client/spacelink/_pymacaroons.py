"""The one place that calls pymacaroons: it mints and narrows, always in the V2 format.

Its decoder and verifier accept what must be refused, so bytes come to it only
after spacelink.macaroon has decoded them, and are verified there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymacaroons import MACAROON_V2, Macaroon
from pymacaroons.serializers import BinarySerializer

if TYPE_CHECKING:
    from collections.abc import Iterable


def mint(root_key: bytes, identifier: bytes, caveats: Iterable[bytes]) -> bytes:
    """Return the binary form of a new macaroon signed with root_key."""
    return _extend(Macaroon(identifier=identifier, key=root_key, version=MACAROON_V2), caveats)


def attenuate(data: bytes, caveats: Iterable[bytes]) -> bytes:
    """Return the binary form of the macaroon in data with caveats added.

    data must have passed spacelink.macaroon.decode.
    """
    return _extend(BinarySerializer().deserialize_raw(data), caveats)


def _extend(macaroon: Macaroon, caveats: Iterable[bytes]) -> bytes:
    for caveat in caveats:
        macaroon.add_first_party_caveat(caveat)
    data: bytes = BinarySerializer().serialize_raw(macaroon)
    return data
