from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from spacelink import SpaceLinkClient
from spacelink.cli._charts import bar, line_chart
from spacelink.cli._network_tables import length
from spacelink.networks import MaintenanceWindow, Objective, Sla
from tests.client.cli.conftest import Run
from tests.conftest import ServerProcess

START = "2025-01-01T00:00:00Z"
END = "2025-01-01T01:00:00Z"
RANGE = ("--start", START, "--end", END)


@pytest.fixture(scope="module")
def fleet(server: ServerProcess) -> str:
    """Give a network with an hour of telemetry, an outage in it, and markup in its name."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    sla = Sla(
        maintenance_windows=(
            MaintenanceWindow(start + timedelta(minutes=50), start + timedelta(minutes=55)),
        ),
        objectives=(Objective("latency_ms", 50, 100, 95), Objective("qoo", 90, 10)),
    )
    times = (np.arange(3600) + int(start.timestamp())) * 1_000_000_000
    loss = np.zeros(3600)
    loss[600:800] = 100
    with SpaceLinkClient(server.address, token_file=server.token_file) as client:
        client.ingest("good", times, latency_ms=np.linspace(20, 40, 3600), packet_loss_percent=np.zeros(3600))
        client.ingest("bad", times, latency_ms=np.full(3600, 60.0), packet_loss_percent=loss)
        devices = ["good", "bad", "silent"]
        client.create_network("north", devices, display_name="<b>North</b> & Co", sla=sla)
    return "north"


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(0, 4).plain == "····"
    assert bar(0.5, 4).plain == "██··"
    assert bar(0.53125, 4).plain == "██▏·"
    assert bar(7, 4).plain == "████"


def test_a_line_goes_through_its_values() -> None:
    rows, low, high = line_chart([("", [0.0, 1.0])], 2, 2)
    assert (low, high) == (0, 1)
    assert [row.plain for row in rows] == ["⠀⡜", "⡜⠀"]


def test_a_line_breaks_where_there_is_no_value() -> None:
    rows, *_ = line_chart([("", [0.0, None, None, 0.0])], 2, 1)
    dots = sum(bin(ord(letter) - 0x2800).count("1") for letter in rows[0].plain)
    assert dots == 2


def test_flat_lines_lie_in_the_middle() -> None:
    rows, low, high = line_chart([("", [5.0] * 8)], 4, 3)
    assert (low, high) == (4, 6)
    assert [bool(row.plain.strip("⠀")) for row in rows] == [False, True, False]


def test_lengths_are_told_to_the_second() -> None:
    assert length(timedelta(seconds=59)) == "59s"
    assert length(timedelta(seconds=1.25)) == "1.250s"
    assert length(timedelta(days=1, hours=2, seconds=5)) == "1d 2h 5s"
    assert length(timedelta()) == "0s"


def test_networks_are_created_and_listed(run: Run) -> None:
    made = run(
        *("network", "create", "west", "--device-id", "a", "--name", "West", "--target", "99.5"),
        *("--objective", "latency_p95_ms:100:200", "--maintenance", f"{START}/{END}"),
    )
    assert (made.exit_code, made.output) == (0, "network west is created\n")
    assert run("network", "create", "west").exit_code == 1
    listed = [json.loads(line) for line in run("network", "list").output.splitlines()]
    assert {
        "network_id": "west",
        "name": "West",
        "devices": 1,
        "target_percent": 99.5,
        "period": "month",
        "profile": "leo",
    } in listed
    changed = run("network", "devices", "west", "--add", "b", "--remove", "a")
    assert changed.output == "b\n"


@pytest.mark.parametrize(
    "option",
    [
        ("--objective", "latency:1:2"),
        ("--objective", "qoo:1"),
        ("--objective", "qoo:a:b"),
        ("--maintenance", START),
        ("--unknown", "maybe"),
        ("--min-outage", "60"),
    ],
)
def test_wrong_terms_are_a_usage_error(run: Run, option: tuple[str, str]) -> None:
    result = run("network", "create", "never", *option)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "never", "--target", "200"), "Error: --target: expected above 0 and up to 100"),
        (("create", "never", "--objective", "qoo:10:20"), "Error: --objective: expected"),
        (("health", "north", "--start", "now", "--end", "-1h"), "Error: --end: expected"),
    ],
)
def test_what_the_server_has_against_a_field_names_the_flag(
    run: Run, fleet: str, arguments: tuple[str, ...], said: str
) -> None:
    result = run("network", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(said)


def test_health_as_json_csv_and_table(run: Run, fleet: str) -> None:
    report = json.loads(run("network", "health", fleet, *RANGE).output)
    assert [device["device_id"] for device in report["devices"]] == ["silent", "bad", "good"]
    assert report["window"]["worst_device"]["device_id"] == "bad"
    rows = list(
        csv.DictReader(io.StringIO(run("network", "health", fleet, *RANGE, "--output", "csv").output))
    )
    assert [row["device_id"] for row in rows] == ["silent", "bad", "good"]
    assert rows[0]["score"] == ""
    assert float(rows[1]["packet_loss_percent"]) == pytest.approx(100 * 200 / 3600)
    table = run("network", "health", fleet, *RANGE, "--output", "table").output
    assert re.search(r"bad .*packet_loss_percent 5\.56", table)
    assert re.search(r"silent .*no samples", table)


def test_sla_as_json_csv_and_table(run: Run, fleet: str) -> None:
    report = json.loads(run("network", "sla", fleet, *RANGE).output)
    assert report["devices"][0]["down"] == 200
    rows = list(csv.DictReader(io.StringIO(run("network", "sla", fleet, *RANGE, "--output", "csv").output)))
    assert [(row["device_id"], row["compliant"]) for row in rows] == [
        ("bad", "False"),
        ("good", "True"),
        ("silent", "True"),
    ]
    table = run("network", "sla", fleet, *RANGE, "--output", "table").output
    assert re.search(r"bad +broken +93\.9394 %", table)
    assert "3m 20s" in table
    assert "latency p95 at most 50 ms" in table


def test_of_what_nobody_heard_it_is_not_said_that_the_sla_was_kept(
    run: Run, fleet: str, tmp_path: Path
) -> None:
    asked = ("network", "sla", fleet, *RANGE, "--device-id", "silent")
    table = run(*asked, "--output", "table").output
    assert re.search(r"SLA +unknown: there is no telemetry", table)
    assert re.search(r"devices that kept it +0 of 0, 1 unknown", table)
    page = tmp_path / "page.html"
    run(*asked, "--report", str(page))
    assert "SLA unknown: no telemetry" in page.read_text()
    assert "SLA kept" not in page.read_text()


def test_a_trend_as_json_csv_and_chart(run: Run, fleet: str) -> None:
    asked = ("network", "trend", fleet, "latency_ms", *RANGE, "--step", "15m")
    report = json.loads(run(*asked).output)
    assert len(report["points"]) == 4
    assert report["step"] == 900
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--output", "csv").output)))
    assert [row["count"] for row in rows] == ["1800"] * 4
    chart = run(*asked, "--output", "table").output
    assert any(0x2800 < ord(letter) <= 0x28FF for letter in chart)
    nothing = run("network", "trend", fleet, "power_w", *RANGE, "--output", "table")
    assert "no values" in nothing.output
    assert "unknown metric" not in nothing.output
    unknown = run("network", "trend", fleet, "latency", *RANGE)
    assert unknown.exit_code == 0
    assert "unknown metric latency: no device of the network has it in the range; did you" in unknown.stderr
    assert ", qoo, r_factor, and what else devices sent" in unknown.stderr


def test_incidents_of_nobody(run: Run) -> None:
    run("network", "create", "quiet", "--device-id", "never-there")
    result = run("network", "incidents", "quiet")
    assert (result.exit_code, result.output) == (0, "")
    missing = run("network", "incidents", "not there")
    assert missing.exit_code == 1
    assert "not there" in missing.output


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def test_the_page_to_send(run: Run, fleet: str, tmp_path: Path) -> None:
    file = tmp_path / "north.html"
    assert run("network", "sla", fleet, *RANGE, "--report", str(file)).exit_code == 0
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "SLA broken" in page.text
    assert "93.9394 %" in page.text
    # What anybody may have named a network is text, not markup.
    assert "<b>North</b> & Co" in page.text
    tags = [tag for tag, _ in page.tags]
    assert tags.count("figure") == 3
    # Nothing is fetched, and nothing runs.
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.tags)
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    marks = [attributes["class"] for tag, attributes in page.tags if tag == "i" and "style" in attributes]
    assert {"bad", "good", "rest"} <= set(marks)


def test_a_page_that_cannot_be_written(run: Run, fleet: str, tmp_path: Path) -> None:
    result = run("network", "sla", fleet, *RANGE, "--report", str(tmp_path / "none" / "x.html"))
    assert result.exit_code == 1
    assert "cannot write" in result.output
