"""Tokens that other macaroon libraries have narrowed are as good as our own."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pymacaroons
import pytest

from spacelink import SpaceLinkClient
from spacelink.errors import PermissionDeniedError
from spacelink.token import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ServerProcess

# The npm package "macaroon"; node looks for modules in NODE_PATH, too. Its buffer
# doubles with each field that it writes, so it cannot write many caveats.
_NARROW_IN_NODE = """
const { importMacaroon } = require("macaroon");
const token = importMacaroon(new Uint8Array(Buffer.from(process.env.TOKEN, "base64url")));
token.addFirstPartyCaveat(process.env.CAVEAT);
process.stdout.write(Buffer.from(token.exportBinary()).toString("base64url"));
"""
_CAVEAT = "scope = telemetry:read"


def narrow_with_pymacaroons(encoded: str) -> str:
    macaroon = pymacaroons.Macaroon.deserialize(encoded)
    macaroon.add_first_party_caveat(_CAVEAT)
    return str(macaroon.serialize())


def narrow_with_node(encoded: str) -> str:
    node = [shutil.which("node") or "false", "-e"]
    if subprocess.run([*node, "require('macaroon')"], check=False, capture_output=True).returncode:
        pytest.skip("node, or its package macaroon, is not installed")
    done = subprocess.run(
        [*node, _NARROW_IN_NODE],
        env={**os.environ, "TOKEN": encoded, "CAVEAT": _CAVEAT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("narrow", [narrow_with_pymacaroons, narrow_with_node])
def test_is_accepted_within_its_bounds(server: ServerProcess, narrow: Callable[[str], str]) -> None:
    narrowed = PREFIX + narrow(server.token.removeprefix(PREFIX)).rstrip("=")
    with SpaceLinkClient(server.address, token=narrowed) as client:
        assert list(client.list_latest_telemetry()) == []
        assert client.get_session().scopes == ("telemetry:read",)
        with pytest.raises(PermissionDeniedError, match="scope"):
            client.ingest("dish-1", [0], latency_ms=[1.0])
