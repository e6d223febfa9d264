"""docs/tokens.md: its example is run from the first command to the last."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from spacelink import AdminClient, SpaceLinkClient
from spacelink.errors import SpaceLinkError
from tests.e2e.documents import DOCS, Shell, steps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer

DOCUMENT = DOCS / "tokens.md"
HOLDERS = ("ada", "acme", "site-7", "site-8", "dish-1", "dish-2")
OFFLINE = ("--collector host --target example.org:443", "--collector simulator --batch-age 0.2")


class Installation(Shell):
    """Where the operator of a server runs commands.

    Attributes:
        server: the server, whose operator's token is there.
    """

    def __init__(self, directory: Path, server: ServerProcess) -> None:
        super().__init__(
            directory, SPACELINK_SERVER=server.address, SPACELINK_ADMIN_SERVER=server.admin_address
        )
        self.server = server
        shutil.copy(server.data_dir / "operator.token", directory)

    def deliver(self, agent: str) -> None:
        """Run an agent until a sample of it is stored."""
        with self.client("acme") as client:
            self.run_until(agent, lambda: bool(list(client.list_latest_telemetry("site-7/dish-1"))))

    def client(self, holder: str) -> SpaceLinkClient:
        return SpaceLinkClient(self.server.address, token_file=self.directory / f"{holder}.token")

    def refusals(self) -> dict[str, str]:
        """Give why the tokens of the example are refused; empty for those that are not."""
        return {holder: self._refusal(holder) for holder in HOLDERS}

    def _refusal(self, holder: str) -> str:
        with self.client(holder) as client:
            try:
                client.get_session()
            except SpaceLinkError as error:
                return error.reason
        return ""


@pytest.fixture
def shell(servers: StartServer, tmp_path: Path) -> Installation:
    return Installation(tmp_path / "shell", servers(tmp_path / "data"))


def test_the_example_does_what_is_said_of_it(shell: Installation) -> None:
    printed: list[str] = []
    for kind, text in steps(DOCUMENT):
        if text.startswith("spacelink agent"):
            # No test measures the way to other hosts.
            shell.deliver(text.replace(*OFFLINE))
            assert set(shell.refusals().values()) == {""}
        else:
            output, errors = shell.run(kind, text)
            assert errors == "", text
            printed.append(output)
    banned = dict.fromkeys(("site-7", "dish-1", "dish-2"), "TOKEN_BANNED")
    assert shell.refusals() == {"ada": "", "acme": "", "site-8": "", **banned}
    with AdminClient(shell.server.admin_address, token_file=shell.directory / "operator-2.token") as operator:
        assert {tenant.tenant_id for tenant in operator.list_tenants()} == {"acme", "default"}
    (inspection,) = (text for text in printed if "\ntoken_id " in text)
    assert caveats(inspection) == caveats(DOCUMENT.read_text(encoding="utf-8"))


def caveats(text: str) -> list[str]:
    """Give the caveats that `token inspect` lists, without times."""
    listed = re.findall(r"^caveat +(\w+ = .*?) *$", text, re.MULTILINE)
    return [re.sub(r"= \d+-\S+", "= TIME", caveat) for caveat in listed]
