"""An audit chain that many wrote at once, exported, and verified where there is no server."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from spacelink import AsyncAdminClient, audit
from tests.e2e.commands import as_operator, spacelink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import ServerProcess

WRITERS = 8
EVENTS = 50  # of each writer
CHANGED_BYTES = 100


@dataclass(frozen=True)
class Export:
    """A chain as it was exported from a server that is no longer there."""

    lines: list[bytes]
    head: str
    directory: Path

    def verify(self, lines: list[bytes], *flags: str) -> str:
        """Verify lines by the command; give its one line."""
        path = self.directory / "audit.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        # An address where nobody listens: verifying needs none.
        done = spacelink("audit", "verify", str(path), *flags, SPACELINK_ADMIN_SERVER="127.0.0.1:1")
        assert done.returncode == (0 if "all intact" in done.stdout else 1), done.stderr
        return done.stdout + done.stderr

    def breaks_at(self, lines: list[bytes], *flags: str) -> int:
        """Tell at which event the command says that the chain breaks."""
        _, _, rest = self.verify(lines, *flags).partition("the chain breaks at event ")
        return int(rest.partition(":")[0])


async def write_events(server: ServerProcess) -> None:
    """Write as several clients at once, each on a connection of its own."""

    async def write(number: int) -> None:
        async with AsyncAdminClient(server.admin_address, token=server.token) as admin:
            for event in range(EVENTS):
                await admin.mint_token(tenant_id="acme", label=f"writer-{number}-{event}")

    await asyncio.gather(*map(write, range(WRITERS)))


@pytest.fixture(scope="module")
def export(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Export:
    directory = tmp_path_factory.mktemp("audit")
    as_operator(server, "tenant", "create", "acme")
    asyncio.run(write_events(server))
    path = directory / "export.jsonl"
    as_operator(server, "audit", "export", str(path), "--tenant", "acme")
    server.kill()
    lines = path.read_bytes().splitlines()
    return Export(lines, audit.verify(lines).head, directory)


def test_what_many_wrote_at_once_is_one_chain(export: Export) -> None:
    assert len(export.lines) == 1 + WRITERS * EVENTS
    assert f"{len(export.lines)} events, all intact" in export.verify(
        export.lines, "--expect-head", export.head
    )
    minted = [line for line in export.lines if b'"action":"token.mint"' in line]
    labels = {line.partition(b"label = ")[2].partition(b'"')[0] for line in minted}
    assert labels == {f"writer-{n}-{event}".encode() for n in range(WRITERS) for event in range(EVENTS)}


def test_any_byte_that_is_changed_is_found_where_it_is(export: Export) -> None:
    chance = random.Random(3)
    for _ in range(CHANGED_BYTES):
        lines = list(export.lines)
        place = chance.randrange(len(lines))
        line = bytearray(lines[place])
        line[chance.randrange(len(line))] ^= chance.randrange(1, 256)
        lines[place] = bytes(line)
        found = audit.verify(lines, export.head)
        assert (found.intact, found.broken_sequence, found.event_count) == (False, place + 1, place), line


TAMPERING: dict[str, tuple[int, Callable[[list[bytes]], list[bytes]]]] = {
    "a byte changed": (201, lambda lines: [*lines[:200], lines[200].replace(b"mint", b"mind"), *lines[201:]]),
    "an event dropped": (201, lambda lines: [*lines[:200], *lines[201:]]),
    "the first event dropped": (1, lambda lines: lines[1:]),
    "two events swapped": (201, lambda lines: [*lines[:200], lines[201], lines[200], *lines[202:]]),
    "an event repeated": (202, lambda lines: [*lines[:201], *lines[200:]]),
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_tampering_is_found_where_it_begins(export: Export, tampering: str) -> None:
    broken, tamper = TAMPERING[tampering]
    assert audit.verify(tamper(export.lines), export.head).broken_sequence == broken


def test_the_command_names_the_event(export: Export) -> None:
    for tampering in ("a byte changed", "an event dropped", "two events swapped"):
        broken, tamper = TAMPERING[tampering]
        assert export.breaks_at(tamper(export.lines)) == broken


def test_a_tail_that_was_cut_shows_by_the_expected_head(export: Export) -> None:
    cut = export.lines[:-1]
    assert "all intact" in export.verify(cut), "by itself a shorter chain is a chain"
    assert export.breaks_at(cut, "--expect-head", export.head) == len(export.lines)
