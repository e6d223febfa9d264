"""That the search at the end of the run would find what it looks for."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from spacelink import _pymacaroons
from spacelink.token import Token, TokenIdentifier
from spacelink_server.access.keys import KeyRing
from tests.leaks import Watch

if TYPE_CHECKING:
    from pathlib import Path

MASTER = bytes(range(32))
PASSWORD = "correct horse battery staple"
DIGEST = "6b176fced877de2d282660e669c2aa16064e632b19e51716658b88da049dc560"
ROOT_KEY = KeyRing(MASTER)._derive("tenant-key", "acme", 1)
PARENT = Token.decode(
    _pymacaroons.mint(ROOT_KEY, TokenIdentifier("acme", 1, "0" * 32).encode(), [b"tenant = acme"])
)
LEAF = PARENT.attenuate(label="leaf")


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    watch = Watch()
    watch.token(str(LEAF))
    watch.text(PASSWORD)
    watch.data_dir(tmp_path)
    (tmp_path / "master.key").write_text(f"{MASTER.hex()}\n")
    (tmp_path / "operator.token").write_text(f"{LEAF.attenuate(label='operator')}\n")
    watch.log(tmp_path / "server.log")
    watch.log(tmp_path / "never-written.log")
    return watch


@pytest.mark.parametrize(
    "secret",
    [
        str(LEAF),
        str(LEAF.attenuate(label="operator")),
        str(LEAF.attenuate(label="nobody-told-of")),
        base64.b64encode(LEAF.data).decode(),
        LEAF.macaroon.signature.hex(),
        LEAF.macaroon.signature.hex().upper(),
        PARENT.macaroon.signature.hex(),
        base64.b64encode(PARENT.macaroon.signature).decode(),
        base64.urlsafe_b64encode(PARENT.macaroon.verify(ROOT_KEY)[0]).decode(),
        repr(PARENT.macaroon.signature),
        MASTER.hex(),
        base64.b64encode(MASTER).decode(),
        PASSWORD,
        base64.b64encode(PASSWORD.encode()).decode(),
        f"slak_acme.{'0' * 32}.{'A' * 43}",
    ],
)
def test_a_secret_is_found(watch: Watch, tmp_path: Path, secret: str) -> None:
    (tmp_path / "server.log").write_text(f"a call\nwith x='{secret}', that\nfailed\n")
    assert watch.leaks()


def test_what_is_no_secret_is_not_found(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(f"token:{'0' * 32} digest {DIGEST} slk_ slk_... user:ada horse\n")
    assert watch.leaks() == []
