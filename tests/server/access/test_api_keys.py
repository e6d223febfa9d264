from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spacelink_server.access.minting import Origin
from spacelink_server.errors import RequestError, UnavailableError
from spacelink_server.storage import api_keys, bans
from spacelink_server.storage.store import StoreUnavailableError

if TYPE_CHECKING:
    from spacelink_server.access.api_keys import IssuedKey
    from tests.server.installation import Installation


async def generate(installation: Installation) -> IssuedKey:
    return await installation.database.write(
        lambda c: installation.api_keys.generate(c, "default", Origin("system"), (), "")
    )


async def last_use(installation: Installation, issued: IssuedKey) -> int | None:
    key = await installation.database.read(lambda c: api_keys.get(c, "default", issued.key.key_id))
    assert key is not None
    return key.last_use_time


async def test_a_key_that_another_server_ended_is_believed_for_ten_seconds(
    installation: Installation,
) -> None:
    issued = await generate(installation)
    text = await installation.api_keys.token_of(issued.text)
    await installation.database.write(lambda c: api_keys.revoke(c, "default", issued.key.key_id))
    installation.clock.ahead = 9
    assert await installation.api_keys.token_of(issued.text) == text
    installation.clock.ahead = 11
    with pytest.raises(RequestError) as caught:
        await installation.api_keys.token_of(issued.text)
    assert caught.value.reason == "INVALID_TOKEN"


async def test_a_refresh_forgets_what_was_believed(installation: Installation) -> None:
    issued = await generate(installation)
    await installation.api_keys.token_of(issued.text)
    await installation.database.write(lambda c: api_keys.revoke(c, "default", issued.key.key_id))
    await installation.api_keys.refresh()
    with pytest.raises(RequestError):
        await installation.api_keys.token_of(issued.text)


async def test_uses_that_could_not_be_written_are_written_later(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued, other = [await generate(installation) for _ in range(2)]
    await installation.api_keys.token_of(issued.text)

    def fail(work: object, *, alone: bool) -> None:
        raise StoreUnavailableError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(installation.store, "transact", fail)
        with pytest.raises(UnavailableError):
            await installation.api_keys.settle()
    await installation.api_keys.token_of(other.text)
    await installation.api_keys.settle()
    assert await last_use(installation, issued)
    assert await last_use(installation, other)


async def test_a_key_whose_time_is_over_is_banned_once(installation: Installation) -> None:
    issued = await generate(installation)
    other = await generate(installation)
    end = issued.key.create_time + 10**9
    await installation.database.write(lambda c: api_keys.set_expiry(c, "default", issued.key.key_id, end))
    await installation.api_keys.settle()
    assert not await installation.database.read(lambda c: bans.page(c, "default", None, 10))
    installation.clock.ahead = 2
    for _ in range(2):
        await installation.api_keys.settle()
    (ban,) = await installation.database.read(lambda c: bans.page(c, "default", None, 10))
    assert (ban.token_id, ban.actor) == (issued.token.token_id, "system")
    assert installation.bans.is_banned(("default",), issued.token.token_id, ())
    assert not installation.bans.is_banned(("default",), other.token.token_id, ())
