"""What goes with each call, and how it follows a file."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from spacelink._credentials import ANONYMOUS, credentials
from spacelink.errors import InvalidTokenError
from tests.client.tokens import minted

KEY = "slak_acme.0123456789abcdef0123456789abcdef.secret"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credential"


def bearer(token: object) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def replace(path: Path, text: object) -> None:
    """Put another file in its place, as one does with a credential in use."""
    new = path.with_suffix(".new")
    new.write_text(str(text))
    new.replace(path)


def test_without_a_credential_nothing_is_presented() -> None:
    assert ANONYMOUS.metadata() == credentials().metadata() == ()


def test_a_token_may_be_one_or_its_text() -> None:
    token = minted()
    assert credentials(token=token).metadata() == bearer(token)
    assert credentials(token=f" {token}\n").metadata() == bearer(token)


def test_an_api_key_and_a_tenant_have_headers_of_their_own() -> None:
    presented = credentials(api_key=KEY, tenant="acme").metadata()
    assert presented == (("x-api-key", KEY), ("x-spacelink-tenant", "acme"))
    assert credentials(tenant="acme").metadata() == (("x-spacelink-tenant", "acme"),)


@pytest.mark.parametrize("name", ["token_file", "api_key_file"])
@pytest.mark.parametrize("secret", [str(minted()), KEY])
def test_a_secret_given_for_a_file_is_not_shown(name: str, secret: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected the name of a file") as caught:
        credentials(**{name: secret})
    assert secret not in str(caught.value)


def test_files_hold_the_same(path: Path) -> None:
    token = minted()
    path.write_text(f"{token}\n")
    assert credentials(token_file=path).metadata() == bearer(token)
    assert credentials(token_file=str(path), tenant="acme").metadata()[1:] == (
        ("x-spacelink-tenant", "acme"),
    )
    path.write_text(f"{KEY}\r\n")
    assert credentials(api_key_file=path).metadata() == (("x-api-key", KEY),)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"token": str(minted()), "api_key": KEY}, "token and api_key"),
        ({"token_file": "a", "api_key_file": "b"}, "token_file and api_key_file"),
        ({"token": str(minted()), "token_file": "a"}, "token and token_file"),
    ],
)
def test_more_than_one_credential_is_refused(given: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=f"^expected one credential, not {names}$"):
        credentials(**given)


@pytest.mark.parametrize("key", ["", "two words", "slak_é", "line\nline", "x" * 1025])
def test_what_is_no_api_key_is_refused_and_not_shown(key: str, path: Path) -> None:
    path.write_text(key)
    for given in ({"api_key": key}, {"api_key_file": path}):
        with pytest.raises(ValueError, match=r"^(api_key_file .*: )?api_key: expected printable") as caught:
            credentials(**given)
        assert (str(path) in str(caught.value)) == ("api_key_file" in given)
        assert not key or key not in str(caught.value)


@pytest.mark.parametrize("text", ["", "slk_AAAA", f"{minted()}=", "slk_\udce9"])
def test_what_is_no_token_is_refused_and_not_shown(text: str, path: Path) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    for given in ({"token": text}, {"token_file": path}):
        with pytest.raises(InvalidTokenError, match=r"^(token_file .*: )?token: ") as caught:
            credentials(**given)
        assert (str(path) in str(caught.value)) == ("token_file" in given)
        assert not text or text not in str(caught.value)


def test_the_other_kind_of_credential_is_told(path: Path) -> None:
    path.write_text(f"{minted()}\n")
    with pytest.raises(ValueError, match=r": api_key: what came is a token$"):
        credentials(api_key_file=path)
    path.write_text(f"{KEY}\n")
    with pytest.raises(InvalidTokenError, match=r": token: what came is an API key$"):
        credentials(token_file=path)


def test_a_tenant_has_a_name() -> None:
    with pytest.raises(ValueError, match=r"^tenant 'a b': expected 1 to 128 characters"):
        credentials(tenant="a b")


def test_a_missing_file_is_an_error_at_the_start(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="credential"):
        credentials(token_file=path)


def test_a_huge_file_is_not_read_to_its_end(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidTokenError):
        credentials(token_file=path)


def test_a_replaced_file_is_read_again(path: Path) -> None:
    first, second = minted(), minted()
    path.write_text(str(first))
    following = credentials(token_file=path)
    assert following.metadata() == bearer(first)
    replace(path, second)
    assert following.metadata() == bearer(second)


def test_a_file_is_read_only_when_it_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(str(minted()))
    following = credentials(token_file=path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened again"))
    assert following.metadata() == following.metadata()


def test_a_bad_file_leaves_the_credential_in_use_and_is_told_of_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = minted(), minted()
    path.write_text(str(first))
    following = credentials(token_file=path)
    replace(path, f"{second}=")
    for _ in range(3):
        assert following.metadata() == bearer(first)
    assert caplog.text.count("keeping the credential at hand") == 1
    assert str(path) in caplog.text
    assert str(second) not in caplog.text
    replace(path, second)
    assert following.metadata() == bearer(second)


def test_a_file_that_goes_away_leaves_the_credential_in_use(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = minted(), minted()
    path.write_text(str(first))
    following = credentials(token_file=path)
    path.unlink()
    assert following.metadata() == bearer(first)
    path.mkdir()
    assert following.metadata() == bearer(first)
    assert "Is a directory" in caplog.text
    path.rmdir()
    path.write_text(str(second))
    assert following.metadata() == bearer(second)


async def test_who_waits_hears_of_another_credential_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spacelink._credentials._LOOK_SECONDS", 0.01)
    first, second = minted(), minted()
    path.write_text(str(first))
    following = credentials(token_file=path)
    waiting = asyncio.ensure_future(following.replaced(following.metadata()))
    looks = 0

    def counted(*args: Any, **kwargs: Any) -> os.stat_result:
        nonlocal looks
        looks += 1
        return stat(*args, **kwargs)

    stat = os.stat
    monkeypatch.setattr("spacelink._credentials.os.stat", counted)
    # The same again is no other credential.
    replace(path, first)
    async with asyncio.timeout(30):
        while looks < 5:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        replace(path, second)
        await waiting
    assert following.metadata() == bearer(second)
    await following.replaced(bearer(first))


async def test_a_credential_without_a_file_is_never_replaced() -> None:
    fixed = credentials(token=minted())
    waiting = asyncio.ensure_future(fixed.replaced(fixed.metadata()))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


def test_nothing_shows_a_credential(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = minted()
    path.write_text(str(token))
    shown = [
        repr(credentials(token=token)),
        repr(credentials(token_file=path)),
        repr(credentials(api_key=KEY)),
    ]
    for secret in (str(token), KEY):
        assert secret not in f"{shown}{caplog.text}"
