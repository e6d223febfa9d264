"""`spacelink audit export` and `verify`."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from spacelink.admin.v1 import audit_pb2
from spacelink.audit import FIRST_PREVIOUS_HASH
from tests.client.cli.conftest import Ask, terminal
from tests.client.recorder import Recorder
from tests.client.test_audit import chain, head

LINES = chain(50)
HEAD = head(LINES)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return written(tmp_path / "audit.jsonl", LINES)


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.fixture
def exporting(recorder: Recorder) -> Recorder:
    recorder.answers["ExportAudit"] = [
        audit_pb2.ExportAuditResponse(lines=[line.decode() for line in part])
        for part in (LINES[:20], LINES[20:])
    ]
    return recorder


def test_an_export_is_what_was_hashed(ask: Ask, exporting: Recorder, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "export"
    result = ask("audit", "export", str(path), "--tenant", "acme")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"50 events, the last one's hash: {HEAD}\n"
    assert path.read_bytes() == exported.read_bytes()
    assert exporting.take("ExportAudit").request.tenant_id == "acme"


def test_an_export_may_go_to_a_pipe(ask: Ask, exporting: Recorder, exported: Path) -> None:
    result = ask("audit", "export")
    assert result.stdout_bytes == exported.read_bytes()
    assert HEAD in result.stderr


def test_an_export_that_breaks_off_leaves_no_file(ask: Ask, recorder: Recorder, tmp_path: Path) -> None:
    recorder.answers["ExportAudit"] = grpc.StatusCode.INTERNAL
    path = tmp_path / "export"
    path.write_text("of yesterday")
    assert ask("audit", "export", str(path)).exit_code == 1
    assert path.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_into_nowhere_is_told_in_a_line(ask: Ask, exporting: Recorder, tmp_path: Path) -> None:
    result = ask("audit", "export", str(tmp_path / "no" / "export"))
    assert result.exit_code == 1
    assert result.stderr.endswith("export: No such file or directory\n")


def test_an_export_of_a_broken_chain_is_kept_and_told(ask: Ask, recorder: Recorder, tmp_path: Path) -> None:
    lines = [*LINES[:5], *LINES[6:]]
    recorder.answers["ExportAudit"] = [audit_pb2.ExportAuditResponse(lines=[line.decode() for line in lines])]
    path = tmp_path / "export"
    result = ask("audit", "export", str(path))
    assert result.exit_code == 1
    assert "the chain breaks at event 6: " in result.stderr
    assert path.read_bytes().splitlines() == lines


def test_an_intact_chain_is_verified_without_a_server(ask: Ask, exported: Path) -> None:
    nowhere = {"SPACELINK_ADMIN_SERVER": "127.0.0.1:1", "SPACELINK_TOKEN": "no token"}
    intact = f"50 events, all intact; the last one's hash: {HEAD}\n"
    for text in (HEAD, HEAD.upper()):
        result = ask("audit", "verify", str(exported), "--expect-head", text, **nowhere)
        assert (result.exit_code, result.stdout, result.stderr) == (0, intact, "")
    unsure = ask("audit", "verify", str(exported), **nowhere)
    assert (unsure.exit_code, unsure.stderr) == (0, "")
    assert unsure.stdout.startswith(f"{intact}not checked: whether events are missing at the end.")
    assert "--expect-head HASH, the last one's hash as `spacelink audit export` told it" in unsure.stdout
    piped = ask("audit", "verify", "-", stdin=exported.read_text())
    assert piped.exit_code == 0


@pytest.mark.parametrize(
    ("change", "sequence"),
    [
        (lambda lines: [*lines[:9], lines[9].replace(b"ok", b"no"), *lines[10:]], 10),
        (lambda lines: [*lines[:9], *lines[10:]], 10),
        (lambda lines: [*lines[:9], lines[10], lines[9], *lines[11:]], 10),
        (lambda lines: [lines[0], *lines], 2),
        (lambda lines: [b"", *lines], 1),
        (lambda lines: [*lines, b"x" * 3_000_000], 51),
    ],
    ids=["changed", "dropped", "swapped", "repeated", "empty line", "no line"],
)
def test_the_break_is_named(ask: Ask, tmp_path: Path, change: object, sequence: int) -> None:
    assert callable(change)
    path = written(tmp_path / "audit", change(LINES))
    result = ask("audit", "verify", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {path}: the chain breaks at event {sequence}: ")


def test_a_cut_tail_shows_by_the_expected_head_only(ask: Ask, tmp_path: Path) -> None:
    path = written(tmp_path / "audit", LINES[:-1])
    assert ask("audit", "verify", str(path)).exit_code == 0
    result = ask("audit", "verify", str(path), "--expect-head", HEAD)
    assert result.exit_code == 1
    assert f"at event 50: the chain ends with {head(LINES[:-1])}" in result.stderr


@pytest.mark.parametrize("flags", [(), ("--expect-head", HEAD), ("--expect-head", FIRST_PREVIOUS_HASH)])
def test_a_file_without_events_verifies_nothing(ask: Ask, tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = written(tmp_path / "audit", [])
    result = ask("audit", "verify", str(path), *flags)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        f"Error: {path}: no events, so nothing to verify; expected the file that "
    )


@pytest.mark.parametrize("text", ["", "ab", "g" * 64])
def test_a_head_is_a_hash(ask: Ask, exported: Path, text: str) -> None:
    result = ask("audit", "verify", str(exported), "--expect-head", text)
    assert result.exit_code == 2
    assert "expected the event_hash of an event" in result.stderr


def test_on_a_terminal_a_bar_shows_how_far_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "audit", chain(3000))
    with terminal("audit", "verify", str(path)) as screen:
        assert screen.wait() == 0
    assert "verifying" in screen.text
    assert "3,000 events, all intact" in screen.text
