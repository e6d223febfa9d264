from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.v1.session_pb2 import ROLE_ADMIN
from spacelink_server.access.sessions import end_sessions
from spacelink_server.errors import RequestError
from spacelink_server.storage import accounts, bans, tokens
from spacelink_server.storage.accounts import User

if TYPE_CHECKING:
    from tests.server.installation import Installation

PASSWORD = "correct horse"


@pytest.fixture
async def alice(installation: Installation) -> User:
    password_hash = await installation.passwords.hash(PASSWORD)
    user = User("default", "alice", ROLE_ADMIN, password_hash, False, time.time_ns())
    await installation.database.write(lambda connection: accounts.insert(connection, user))
    return user


@pytest.mark.parametrize("changes", [{"password_hash": "another"}, {"disabled": True}, {"role": 4}])
async def test_who_was_changed_while_logging_in_is_not_let_in(
    installation: Installation, alice: User, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    verify = installation.passwords.verify

    async def verify_slowly(password_hash: str | None, password: str) -> bool:
        right = await verify(password_hash, password)
        changed = alice._replace(**changes)
        await installation.database.write(lambda connection: accounts.update(connection, changed))
        return right

    monkeypatch.setattr(installation.passwords, "verify", verify_slowly)
    with pytest.raises(RequestError) as caught:
        await installation.sessions.begin("default", "alice", PASSWORD)
    assert caught.value.reason == "INVALID_LOGIN"
    assert not await installation.database.read(lambda c: tokens.live_ids(c, "default", "user:alice", 0))


async def test_only_sessions_that_are_still_alive_are_ended(installation: Installation, alice: User) -> None:
    session = await installation.sessions.begin("default", "alice", PASSWORD)
    expired = await installation.sessions.begin("default", "alice", PASSWORD)
    token_id = installation.verifier.verify(session.token).identifier.token_id
    expired_id = installation.verifier.verify(expired.token).identifier.token_id

    def end(connection: Any) -> int:
        row = tokens.get(connection, "default", expired_id)
        assert row is not None
        tokens.insert(connection, row._replace(token_id="0" * 32, expire_time=1), ())
        return end_sessions(connection, alice, "account.disable", "user:ops")

    assert await installation.database.write(end, installation.bans.refresh) == 2
    made = await installation.database.read(lambda c: bans.page(c, "default", None, 10))
    assert {ban.token_id for ban in made} == {token_id, expired_id}
    assert {(ban.reason, ban.actor) for ban in made} == {("account.disable", "user:ops")}
    with pytest.raises(RequestError) as caught:
        installation.verifier.verify(session.token)
    assert caught.value.reason == "TOKEN_BANNED"
