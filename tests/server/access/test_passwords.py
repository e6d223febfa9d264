from __future__ import annotations

import asyncio
from collections.abc import Iterator

import argon2
import pytest

from spacelink_server.access import passwords
from spacelink_server.access.passwords import Passwords
from spacelink_server.errors import UnavailableError


@pytest.fixture
def hashing() -> Iterator[Passwords]:
    hashing = Passwords()
    yield hashing
    hashing.close()


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passwords]:
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(2, 128, 1, 24, 8))
    hashing = Passwords()
    yield hashing
    hashing.close()


async def test_a_hash_is_argon2id_of_one_password(hashing: Passwords) -> None:
    first, second = [await hashing.hash("correct horse") for _ in range(2)]
    assert first != second
    parameters = argon2.extract_parameters(first)
    assert parameters == argon2.profiles.RFC_9106_LOW_MEMORY
    assert await hashing.verify(first, "correct horse")
    assert not await hashing.verify(first, "correct horse ")
    assert not await hashing.verify(first, "")


async def test_a_user_that_does_not_exist_costs_as_much_as_any_other(
    cheap: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    matches = passwords._matches

    def note(password_hash: str, password: str) -> bool:
        checked.append(password_hash)
        return matches(password_hash, password)

    monkeypatch.setattr(passwords, "_matches", note)
    real = await cheap.hash("correct horse")
    assert not await cheap.verify(None, "correct horse")
    assert not await cheap.verify(real, "wrong")
    decoy, known = checked
    assert argon2.extract_parameters(decoy) == argon2.extract_parameters(known)
    assert len(decoy) == len(known)


async def test_too_many_at_once_are_sent_away(cheap: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_MAX_WAITING", 2)
    waiting = [asyncio.create_task(cheap.hash("a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError) as caught:
        await cheap.verify(None, "b")
    assert (caught.value.reason, caught.value.retry_seconds) == ("LOGINS_BUSY", 2.0)
    assert len(set(await asyncio.gather(*waiting))) == 2
    assert not await cheap.verify(None, "b")
