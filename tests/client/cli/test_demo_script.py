"""docs/demo-script.md: the walk through the product against `spacelink up`, every command of it."""

from __future__ import annotations

import json
import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from spacelink import AdminClient, SpaceLinkClient
from spacelink.cli._first_look import ACCOUNTS
from spacelink.errors import UnauthenticatedError
from tests.client.cli.test_up import finish, read_until, start, suggestions
from tests.e2e.documents import DOCS, Shell, steps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess

DOCUMENT = DOCS / "demo-script.md"
# As it must be possible to write them.
LOGIN = (
    'curl -X POST http://localhost:8000/v1/auth/token -H "Content-Type: application/x-www-form-urlencoded" '
    '-d "username=enterprise_admin&password=admin123"'
)
SEND = (
    'curl -X POST http://localhost:8000/v1/telemetry/send -H "X-API-Key: $KEY" '
    '-H "Content-Type: application/json" -d \'{"device_id": "device-001", '
    '"organization": "ACME Corporation", "timestamp": "2026-01-04T12:00:00Z", '
    '"latency_ms": 45.5, "packet_loss_percent": 0.2, '
    '"signal_strength": -68.5, "status": "active"}\''
)


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="jq or curl is not installed")
def test_the_walk(tmp_path: Path) -> None:
    """Ports that are taken are replaced, so the addresses are those that it says."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = start(temporary=temporary)
    text = read_until(process, r"8 devices, [1-9]")
    rest, rest_admin = re.findall(r"http://(\S+)/docs", text)
    shell = Shell(tmp_path / "shell")
    for line in suggestions(text):
        if line.startswith("export "):
            shell.run("console", line)
    printed = {}
    for kind, command in steps(DOCUMENT):
        here = command.replace("localhost:8000", rest).replace("localhost:9090", rest_admin)
        printed[command], errors = shell.run(kind, here)
        assert "Error" not in errors, command
        # curl does not fail where it is told of a problem.
        assert "about:blank" not in printed[command], printed[command]
        if (told := told_of(command)) is not None:
            assert printed[command] == told, command
    assert json.loads(printed[LOGIN])["role"] == "admin"
    assert json.loads(printed[SEND]) == {"sample_count": 1}
    (summary,) = (output for command, output in printed.items() if "stats/summary" in command)
    assert json.loads(summary)["summaries"][0]["sample_count"] == 1
    assert "token.ban" in "".join(printed.values())
    process.send_signal(signal.SIGINT)
    assert finish(process) == 0


def told_of(command: str) -> str | None:
    """Give the answer that the document tells of a command, if it tells one."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(f"$ {command}\n")[2]
    answer = re.match(r"((?!\$ |```).+\n)+", text)
    return answer[0] if answer else None


def test_the_demo_accounts_are_in_no_other_server(server: ServerProcess) -> None:
    with AdminClient(server.admin_address, token=server.token) as admin:
        assert list(admin.list_users()) == []
    with SpaceLinkClient(server.address) as client:
        for name, password, _ in ACCOUNTS:
            with pytest.raises(UnauthenticatedError):
                client.create_session(name, password)
