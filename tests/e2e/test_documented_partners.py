"""docs/onboarding.md: a partner's way in, every command of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from spacelink import SpaceLinkClient
from spacelink.errors import SpaceLinkError
from tests.e2e.documents import DOCS, Shell, steps
from tests.server.webhooks.receiver import is_signed, receiving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer

PLACE_OF_HOOKS = "https://hooks.acme.example/spacelink"


def refusal(server: ServerProcess, **credential: str) -> str:
    """Give why a credential is refused; empty where it is not."""
    with SpaceLinkClient(server.address, **credential) as client:  # type: ignore[arg-type]
        try:
            client.get_session()
        except SpaceLinkError as error:
            return error.reason
    return ""


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_way_in_leads_where_it_says(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path / "data", "--webhook-allow-private")
    shell = Shell(
        tmp_path / "shell",
        SPACELINK_SERVER=server.address,
        SPACELINK_ADMIN_SERVER=server.admin_address,
        # A reader may have it from a first look around; the flags hold.
        SPACELINK_TOKEN_FILE="operator.token",
    )
    shutil.copy(server.token_file, shell.directory)
    *way, disable, ban, ban_sandbox = steps(DOCS / "onboarding.md")
    with receiving() as receiver:
        printed = "".join(shell.run(k, text.replace(PLACE_OF_HOOKS, receiver.url))[0] for k, text in way)
        (request,) = receiver.received
    for text in ("ACME Corporation", "partner acme is approved; anna can log in", "delivered, answered"):
        assert text in printed
    kept = {
        name: (shell.directory / name).read_text().strip()
        for name in ("anna.token", "agents.key", "sandbox.key")
    }
    assert is_signed((shell.directory / "hook.secret").read_text().strip(), request)
    with SpaceLinkClient(server.address, token=kept["anna.token"]) as anna:
        assert [samples.device_id for samples in anna.list_latest_telemetry()] == ["site-7/dish-1"]
        assert anna.get_ip_allowlist() == ("127.0.0.0/8", "192.0.2.0/24")
    credentials = [{"token": kept["anna.token"]}]
    credentials += [{"api_key": kept[name]} for name in ("agents.key", "sandbox.key")]
    assert [refusal(server, **each) for each in credentials] == [""] * 3
    for step in (disable, ban, ban_sandbox):
        shell.run(*step)
    assert [refusal(server, **each) for each in credentials] == ["TOKEN_BANNED"] * 3
