"""A partner's way in, and the examples for its developers: every command of both documents."""

from __future__ import annotations

import json
import select
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spacelink import SpaceLinkClient
from spacelink.errors import SpaceLinkError
from tests.e2e.calls import DEADLINE
from tests.e2e.documents import DOCS, Shell, steps
from tests.gateway_rest.bridges import start_bridge
from tests.server.webhooks.receiver import is_signed, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer
    from tests.gateway_rest.bridges import BridgeProcess
    from tests.server.webhooks.receiver import Receiver

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
PLACE_OF_HOOKS = "https://hooks.acme.example/spacelink"


def refusal(server: ServerProcess, **credential: str) -> str:
    """Give why a credential is refused; empty where it is not."""
    with SpaceLinkClient(server.address, **credential) as client:  # type: ignore[arg-type]
        try:
            client.get_session()
        except SpaceLinkError as error:
            return error.reason
    return ""


@dataclass(frozen=True)
class Onboarded:
    """A partner that docs/onboarding.md has led in.

    Attributes:
        server: the server.
        shell: where both sides ran their commands.
        hooks: what its webhook was sent.
        printed: what the commands printed.
        farewell: the document's last commands, which end all of it.
    """

    server: ServerProcess
    shell: Shell
    hooks: Receiver
    printed: str
    farewell: list[tuple[str, str]]

    def kept(self, name: str) -> str:
        """Give what a command has put into a file."""
        return (self.shell.directory / name).read_text().strip()


@pytest.fixture
def onboarded(servers: StartServer, tmp_path: Path) -> Iterator[Onboarded]:
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
    with receiving() as hooks:
        printed = "".join(shell.run(k, text.replace(PLACE_OF_HOOKS, hooks.url))[0] for k, text in way)
        yield Onboarded(server, shell, hooks, printed, [disable, ban, ban_sandbox])


@needs_jq
def test_the_way_in_leads_where_it_says(onboarded: Onboarded) -> None:
    server, kept = onboarded.server, onboarded.kept
    for text in ("ACME Corporation", "partner acme is approved; anna can log in", "delivered, answered"):
        assert text in onboarded.printed
    (request,) = onboarded.hooks.received
    assert is_signed(kept("hook.secret"), request)
    with SpaceLinkClient(server.address, token=kept("anna.token")) as anna:
        assert [samples.device_id for samples in anna.list_latest_telemetry()] == ["site-7/dish-1"]
        assert anna.get_ip_allowlist() == ("127.0.0.0/8", "192.0.2.0/24")
    credentials = [{"token": kept("anna.token")}]
    credentials += [{"api_key": kept(name)} for name in ("agents.key", "sandbox.key")]
    assert [refusal(server, **each) for each in credentials] == [""] * 3
    for step in onboarded.farewell:
        onboarded.shell.run(*step)
    assert [refusal(server, **each) for each in credentials] == ["TOKEN_BANNED"] * 3


@pytest.fixture
def bridge(onboarded: Onboarded, tmp_path: Path) -> Iterator[BridgeProcess]:
    bridge = start_bridge(tmp_path, onboarded.server.address, onboarded.server.admin_address)
    yield bridge
    bridge.kill()


@needs_jq
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_for_developers(onboarded: Onboarded, bridge: BridgeProcess) -> None:
    server, shell = onboarded.server, onboarded.shell
    places = {
        "https://spacelink.example": f"http://{bridge.address}",
        "spacelink.example:50051": server.address,
        "/var/lib/spacelink-agent": "spool",
        PLACE_OF_HOOKS: onboarded.hooks.url,
    }
    printed = []
    with SpaceLinkClient(server.address, token=onboarded.kept("anna.token")) as anna:
        anna.create_network("north", device_ids=["site-7/dish-1"])
        for kind, text in steps(DOCS / "partner-integration.md"):
            command = reduce(lambda text, place: text.replace(*place), places.items(), text)
            if " -N " in command:
                printed.append(watched(shell, command, anna))
            elif command.startswith("spacelink agent --"):
                start = datetime.now(UTC)
                shell.run_until(command, partial(has_samples, anna, start))
            else:
                printed.append(shell.run(kind, command)[0])
        hook_count = len(list(anna.list_webhooks()))
    _, _, _, stored, queried, event, python, *_ = printed
    assert json.loads(stored) == {"sample_count": 1}
    assert json.loads(queried.splitlines()[0])["timestamp"].startswith("2026-01-04T12:00:00")
    assert json.loads(event)["device_id"] == "site-7/dish-3"
    assert python.startswith("45.5\n")
    assert "north" in python
    assert hook_count == 2
    assert refusal(server, api_key=onboarded.kept("agents.key")) == ""


def has_samples(client: SpaceLinkClient, start: datetime) -> bool:
    """Tell whether samples since then are stored of the terminal that has an agent."""
    return any(len(batch) for batch in client.query_telemetry("site-7/dish-1", start))


def watched(shell: Shell, text: str, client: SpaceLinkClient) -> str:
    """Run a watch without end, and give the data of its first event."""
    watch = shell.start("console", f"exec {text}")
    assert watch.stdout is not None
    try:
        line = " "
        while line:
            if not select.select([watch.stdout], [], [], 0.2)[0]:
                # Until the watch has begun, what is sent is none of its business.
                client.ingest("site-7/dish-3", [np.datetime64("now")], latency_ms=[50])
                continue
            line = watch.stdout.readline()
            if line.startswith("data:"):
                return line.removeprefix("data:")
    finally:
        watch.terminate()
        watch.communicate(timeout=DEADLINE)
    pytest.fail("the watch ended")
