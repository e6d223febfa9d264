"""Tables on terminals of any width: nothing that people read or copy is cut."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from spacelink import AdminClient, SpaceLinkClient, TelemetryColumns
from spacelink.cli import main
from spacelink.cli._tables import fit, plain_table
from spacelink.columns import METRICS
from spacelink.networks import Objective, Sla
from tests.client.cli.conftest import terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import ServerProcess

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
HOUR = ("--start", "2026-01-31T12:00:00Z", "--end", "2026-01-31T13:00:00Z")
WIDTHS = [80, 100, 160]
LONG = "site-north/building-17/roof/dish-01"


@pytest.fixture(scope="module")
def fleet(server: ServerProcess) -> str:
    """Give a network with devices of short and long names, whose values are small and large."""
    count = 600
    loss = np.zeros(count)
    loss[100:300] = 100
    metrics = {name: np.full(count, 1234567.25) for name in METRICS if not name.endswith("percent")}
    samples = [
        TelemetryColumns.from_arrays(
            device_id,
            NOON + np.arange(count) * 1_000_000_000,
            status="MAINTENANCE",
            packet_loss_percent=loss,
            obstruction_percent=np.full(count, 3.3e-4),
            azimuth_deg=np.full(count, -123.5),
            **metrics,
        )
        for device_id in ("d1", LONG)
    ]
    with SpaceLinkClient(server.address, token=server.token) as client:
        client.ingest_columns(samples)
        sla = Sla(
            objectives=(Objective("latency_ms", 50, 100, 95),), max_sample_gap=np.timedelta64(30, "s").item()
        )
        client.create_network("north", ["d1", LONG], display_name="The north of everything", sla=sla)
    return "north"


@pytest.fixture
def show(server: ServerProcess) -> Callable[..., str]:
    """Run a command as on a terminal of some width, and give what it shows."""

    def show(width: int, *args: str) -> str:
        variables = {
            "SPACELINK_SERVER": server.address,
            "SPACELINK_ADMIN_SERVER": server.admin_address,
            "SPACELINK_TOKEN_FILE": str(server.token_file),
            "SPACELINK_TENANT": "default",
            "COLUMNS": str(width),
            "TERM": "xterm",
            # What makes a pipe a terminal for rich.
            "FORCE_COLOR": "1",
        }
        result = CliRunner().invoke(main, [*args, "--output", "table"], env=variables)
        assert result.exit_code == 0, result.output
        text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width
        return text

    return show


@pytest.mark.parametrize("width", WIDTHS)
def test_values_of_samples_are_whole(show: Callable[..., str], fleet: str, width: int) -> None:
    for command in ("query", "latest"):
        text = show(width, "telemetry", command, "--device-id", "d1")
        assert re.search(r"^ d1 +2026-01-31 12:0\d:\d\d +1,234,567.25 .* MAINTENANCE", text, re.MULTILINE)
        # What has no room is named, so that nobody takes it for not measured.
        shown = text.count("1,234,567.25") // text.count("MAINTENANCE")
        assert ("no room for" in text) == (shown < 6)
        assert ("azimuth_deg" in text) == (width < 160)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_device_with_a_long_name_is_folded_and_its_values_are_whole(
    show: Callable[..., str], fleet: str, width: int
) -> None:
    text = show(width, "telemetry", "latest", "--device-id", LONG)
    assert "1,234,567.25" in text
    rows = [line[1:].split("  ")[0].strip() for line in text.splitlines() if line.startswith(" ")]
    assert LONG in "".join(rows)


@pytest.mark.parametrize("width", WIDTHS)
def test_figures_of_summaries_are_whole(show: Callable[..., str], fleet: str, width: int) -> None:
    for flags in ((), ("--per-device",)):
        text = show(width, "telemetry", "summary", *flags)
        row = next(line for line in text.splitlines() if "latency_ms" in line)
        assert row.count("1,2") >= 2
        assert "packet_loss_percent" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_figures_of_networks_are_whole(show: Callable[..., str], fleet: str, width: int) -> None:
    health = show(width, "network", "health", fleet, *HOUR)
    assert "2026-01-31 12:09:59" in health
    assert re.search(r" 1,23\d,\d{3}\.\d\d | 33\.\d\d ", health), health
    sla = show(width, "network", "sla", fleet, *HOUR)
    assert "of the 16 % of time that is known" in sla
    assert "66.6667 %" in sla
    trend = show(width, "network", "trend", fleet, "latency_ms", *HOUR)
    assert trend.count("1,2") >= 4
    assert fleet in show(width, "network", "list")


def test_a_network_shows_how_much_is_known_in_its_report(
    server: ServerProcess, fleet: str, tmp_path: Path
) -> None:
    file = tmp_path / "north.html"
    variables = {"SPACELINK_SERVER": server.address, "SPACELINK_TOKEN_FILE": str(server.token_file)}
    asked = ["network", "sla", fleet, *HOUR, "--report", str(file)]
    assert CliRunner().invoke(main, asked, env=variables).exit_code == 0
    page = file.read_text(encoding="utf-8")
    assert "availability of the worst device of the 16 % of time that is known" in page


@pytest.mark.parametrize("width", WIDTHS)
def test_ids_are_whole_so_that_they_can_be_copied(
    show: Callable[..., str], server: ServerProcess, width: int
) -> None:
    name = f"t{uuid.uuid4()}"
    with (
        AdminClient(server.admin_address, token=server.token) as admin,
        SpaceLinkClient(server.address, token=server.token, tenant="default") as client,
    ):
        token = admin.mint_token(tenant_id="default", scope=["telemetry:*"], label=name)
        admin.ban_token(token=token, reason="leaked into the log of a machine", tenant_id="default")
        admin.create_tenant(name)
        admin.create_user(name, "a long password", "customer", tenant_id="default")
        key = client.generate_api_key(scope=["telemetry:read"])
        bans = list(admin.list_bans(tenant_id="default"))
        tokens = list(admin.list_tokens(tenant_id="default"))
    words = set(show(width, "token", "list").split())
    assert {each.token_id for each in tokens} <= words
    words = set(show(width, "token", "bans").split())
    assert {part for ban in bans for part in (ban.ban_id, ban.digest)} <= words
    assert name in show(width, "tenant", "list").split()
    assert name in show(width, "user", "list").split()
    assert key.api_key.key_id in show(width, "api-key", "list").split()


def test_on_a_real_terminal(server: ServerProcess, fleet: str) -> None:
    with terminal("telemetry", "latest", *server.flags, columns=80) as screen:
        assert screen.wait() == 0
    assert "1,234,567.25" in screen.text
    assert "no room for" in screen.text
    assert "…" not in screen.text


@pytest.mark.parametrize("width", range(20, 70, 7))
def test_columns_are_as_wide_as_there_is_room(width: int) -> None:
    """No word is cut where all longest ones fit; else the caller is told."""
    table = plain_table()
    for name in ("number of it", "an id", "some remark"):
        table.add_column(name)
    table.add_row("1,234.50", "0123456789abcdef", "words that can be put below each other")
    fits = fit(table, width)
    # Two blanks or a blank and a border between columns.
    assert fits == (width >= 8 + 16 + 6 + 2 * 3)
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    words = captured.get().split()
    assert ({"1,234.50", "0123456789abcdef", "remark"} <= set(words)) or not fits
