from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeVar

import pytest

from spacelink import audit as chains
from spacelink.token import Token
from spacelink_server.access import first_start
from spacelink_server.access.keys import MasterKeyError
from spacelink_server.storage import audit, tenants, tokens
from spacelink_server.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spacelink_server.access.keys import KeyRing
    from spacelink_server.storage.transactions import Connection

_T = TypeVar("_T")

MASTER_KEY = {"SPACELINK_MASTER_KEY": "5a" * 32}


class CrashError(Exception):
    """Stands for the end of the process."""


class CrashingStore(SqliteStore):
    """Ends before or after its first commit."""

    crash_before = False

    def transact(self, work: Callable[[Connection], _T], *, alone: bool = True) -> _T:
        def crashing(connection: Connection) -> _T:
            answer = work(connection)
            if self.crash_before:
                raise CrashError
            return answer

        super().transact(crashing)
        raise CrashError


def operator_token(directory: Path) -> Token:
    return Token.parse((directory / "operator.token").read_text().removesuffix("\n"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def check_operator_token(token: Token, keys: KeyRing) -> None:
    """Make sure that it is the installation's and good for all."""
    assert [caveat.decode() for caveat in token.macaroon.caveats] == ["tenant = *"]
    assert token.identifier.tenant == "*"
    root_key = keys.root_key("*", token.identifier.key_version)
    assert root_key is not None
    assert token.macaroon.verify(root_key)


def test_the_first_start_makes_keys_a_tenant_and_a_token(store: SqliteStore, tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        keys = first_start.prepare(store, tmp_path, {})
    finally:
        os.umask(old_mask)
    assert {path.name for path in tmp_path.iterdir()} >= {"master.key", "operator.token"}
    assert mode(tmp_path / "master.key") == mode(tmp_path / "operator.token") == 0o600
    token = operator_token(tmp_path)
    check_operator_token(token, keys)
    assert keys.current_version("default") == keys.current_version("*") == 1
    assert [row.tenant_id for row in store.read(lambda c: tenants.page(c, "", 10))] == ["default"]
    minted = store.read(lambda c: tokens.get(c, "*", token.identifier.token_id))
    assert minted is not None
    assert (minted.minter, minted.caveats, minted.expire_time) == ("system", ("tenant = *",), None)


def test_the_first_start_is_audited(store: SqliteStore, tmp_path: Path) -> None:
    first_start.prepare(store, tmp_path, {})
    for tenant_id, action in (("*", "token.mint"), ("default", "tenant.create")):
        rows = store.read(lambda c, t=tenant_id: audit.chain(c, t, after=0, limit=10))  # type: ignore[misc]
        assert [row.action for row in rows] == [action]
        assert chains.verify([row.line for row in rows]).intact


def test_later_starts_change_nothing(tmp_path: Path) -> None:
    contents = []
    for _ in range(3):
        store = SqliteStore(tmp_path)
        keys = first_start.prepare(store, tmp_path, {})
        check_operator_token(operator_token(tmp_path), keys)
        contents.append([(tmp_path / name).read_bytes() for name in ("master.key", "operator.token")])
        assert len(store.read(tenants.keys)) == 2
        store.close()
    assert contents[0] == contents[1] == contents[2]


def test_an_operators_token_that_was_moved_away_is_not_written_again(tmp_path: Path) -> None:
    for _ in range(2):
        store = SqliteStore(tmp_path)
        first_start.prepare(store, tmp_path, {})
        store.close()
        (tmp_path / "operator.token").unlink(missing_ok=True)
    assert [path.name for path in tmp_path.glob("operator*")] == []


@pytest.mark.parametrize("crash_before", [True, False])
def test_a_start_that_was_cut_short_is_completed(tmp_path: Path, crash_before: bool) -> None:
    crashing = CrashingStore(tmp_path)
    crashing.crash_before = crash_before
    with pytest.raises(CrashError):
        first_start.prepare(crashing, tmp_path, {})
    crashing.close()
    master_key = (tmp_path / "master.key").read_bytes()
    assert not (tmp_path / "operator.token").exists()
    store = SqliteStore(tmp_path)
    keys = first_start.prepare(store, tmp_path, {})
    check_operator_token(operator_token(tmp_path), keys)
    minted = store.read(lambda c: tokens.page(c, "*", None, 10))
    assert [row.token_id for row in minted] == [operator_token(tmp_path).identifier.token_id]
    store.close()
    assert (tmp_path / "master.key").read_bytes() == master_key
    assert {path.name for path in tmp_path.glob("*operator*")} == {"operator.token"}
    assert mode(tmp_path / "operator.token") == 0o600


def test_the_environment_may_have_the_master_key(store: SqliteStore, tmp_path: Path) -> None:
    for _ in range(2):
        keys = first_start.prepare(store, tmp_path, MASTER_KEY)
        check_operator_token(operator_token(tmp_path), keys)
    assert not (tmp_path / "master.key").exists()
    with pytest.raises(MasterKeyError, match="is missing"):
        first_start.prepare(store, tmp_path, {})


def test_another_master_key_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    first_start.prepare(store, tmp_path, {})
    with pytest.raises(MasterKeyError, match="not the one that the store was made with"):
        first_start.prepare(store, tmp_path, MASTER_KEY)
    (tmp_path / "master.key").unlink()
    with pytest.raises(MasterKeyError, match="is missing"):
        first_start.prepare(store, tmp_path, {})
    assert not (tmp_path / "master.key").exists()
