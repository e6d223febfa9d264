from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING

import pytest

from spacelink._caveats import Label
from spacelink.token import Token
from spacelink_server.access.minting import Origin, origin_of, parse_caveats
from spacelink_server.errors import InvalidRequestError, RequestError, UnavailableError
from spacelink_server.storage import bans, tokens
from spacelink_server.storage.bans import Ban

if TYPE_CHECKING:
    from spacelink_server.access.verification import VerifiedToken
    from spacelink_server.storage.tokens import MintedToken
    from spacelink_server.storage.transactions import Connection
    from tests.server.installation import Installation


async def mint(installation: Installation, *caveats: str) -> MintedToken:
    return await installation.database.write(
        lambda c: installation.minter.mint(c, "default", Origin("system"), caveats)
    )


async def ban(installation: Installation, token: VerifiedToken) -> None:
    """Ban as another server does: in the store only."""
    row = Ban("default", "0" * 32, token.digests[-1], None, None, "", "system", time.time_ns())
    await installation.database.write(lambda connection: bans.insert(connection, row))


def verified(installation: Installation, token: MintedToken) -> VerifiedToken:
    text = installation.minter.text(token)
    assert text is not None
    return installation.verifier.verify(text)


async def test_the_text_of_a_stored_token_is_always_the_same(installation: Installation) -> None:
    token = await mint(installation, "label = a")
    text = installation.minter.text(token)
    stored = await installation.database.read(lambda c: tokens.get(c, "default", token.token_id))
    assert stored == token
    assert installation.minter.text(stored) == text
    assert text is not None
    parent = Token.parse(text)
    assert installation.minter.text(token, Label("b")) == str(parent.attenuate(label="b"))


async def test_digests_are_those_of_the_text(installation: Installation) -> None:
    token = await mint(installation, "label = a", "label = b")
    assert installation.minter.digests(token) == list(verified(installation, token).digests)
    text = installation.minter.text(token)
    assert text is not None
    last = hashlib.sha256(Token.parse(text).macaroon.signature).digest()
    assert verified(installation, token).digests[-1] == last


async def test_without_its_key_a_token_has_no_text(installation: Installation) -> None:
    token = (await mint(installation))._replace(key_version=2)
    assert installation.minter.text(token) is None
    assert installation.minter.digests(token) is None


async def test_no_token_is_minted_that_is_over_the_limits(installation: Installation) -> None:
    for caveats in ([f"label = {n}" for n in range(64)], [f"label = {n:0120}" for n in range(40)]):
        with pytest.raises(InvalidRequestError) as caught:
            await mint(installation, *caveats)
        assert caught.value.field == "caveats"
    rows = await installation.database.read(lambda c: tokens.page(c, "default", None, 10))
    assert rows == []


async def test_no_token_is_minted_for_a_tenant_without_keys(installation: Installation) -> None:
    with pytest.raises(RequestError) as caught:
        await installation.database.write(lambda c: installation.minter.mint(c, "acme", Origin("system"), ()))
    assert caught.value.reason == "TENANT_NOT_FOUND"


async def test_who_was_banned_meanwhile_mints_nothing(installation: Installation) -> None:
    """The call was let in, but the ban is committed before the token would be."""
    minter = verified(installation, await mint(installation))

    def work(connection: Connection) -> Origin:
        return origin_of(connection, minter, installation.bans)

    assert (await installation.database.write(work)).minter == minter.identifier.token_id
    await ban(installation, minter)
    with pytest.raises(UnavailableError) as unknown:
        await installation.database.write(work)
    assert unknown.value.reason == "BANS_CHANGED"
    await installation.bans.refresh()
    with pytest.raises(RequestError) as known:
        await installation.database.write(work)
    assert known.value.reason == "TOKEN_BANNED"


async def test_what_ends_a_minter_ends_what_its_tokens_mint(installation: Installation) -> None:
    caller = verified(installation, await mint(installation, "label = 0"))
    ancestors = set(caller.digests)
    for turn in range(1, 4):

        def work(
            connection: Connection, caller: VerifiedToken = caller, turn: int = turn
        ) -> tuple[Origin, MintedToken]:
            origin = origin_of(connection, caller, installation.bans)
            return origin, installation.minter.mint(connection, "default", origin, [f"label = {turn}"])

        origin, token = await installation.database.write(work)
        assert origin.ancestors == ancestors
        assert origin.minter == token.minter == caller.identifier.token_id
        caller = verified(installation, token)
        ancestors |= set(caller.digests)


async def test_tokens_minted_at_once_are_all_different(installation: Installation) -> None:
    minted = await asyncio.gather(*(mint(installation) for _ in range(20)))
    assert len({token.token_id for token in minted}) == 20


def test_caveats_are_given_as_they_were_asked_for() -> None:
    texts = ["scope = telemetry:write", "tenant = acme", "label = a"]
    assert parse_caveats(texts, "acme") == texts
    with pytest.raises(InvalidRequestError) as caught:
        parse_caveats(texts, "globex")
    assert (caught.value.field, caught.value.reason) == ("caveats[1]", "INVALID_CAVEAT")
