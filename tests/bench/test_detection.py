from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from bench import detection, health, recording, scoring
from bench.__main__ import main
from bench.recording import Recording
from spacelink_server.scoring.qoo import PROFILES
from tests.server.scoring.links import healthy

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink_server.scoring.samples import Samples


@pytest.fixture(scope="module")
def four_hours() -> Samples:
    return healthy(4 * 3600)


def test_every_fault_at_a_known_time_is_found_in_time_and_closed(four_hours: Samples) -> None:
    as_it_is, found = detection.run(Recording("synthetic", four_hours))
    assert as_it_is == []
    assert [one.fault for one in found] == [fault.name for fault in detection.FAULTS]
    for one in found:
        assert (one.injected, one.in_time, one.closed, one.false) == (20, 20, 20, ())
        assert (one.precision, one.recall) == (1, 1)


def test_faults_are_put_in_at_all_phases_of_a_slot(four_hours: Samples) -> None:
    first, last = four_hours.time_unix_nano[[0, -1]].tolist()
    times = detection._known_times(first, last)
    assert len(set((times % (15 * 10**9) // 10**9).tolist())) == 15
    with_outages = detection._with(four_hours, detection.FAULTS[0], times)
    assert int(np.sum(with_outages.packet_loss_percent == 100)) == pytest.approx(20 * 30, abs=20)


def csv_file(directory: Path, samples: Samples) -> Path:
    file = directory / "dish.csv"
    rows = zip(samples.time_unix_nano, samples.latency_ms, samples.packet_loss_percent, strict=True)
    lines = [f"{time},{latency},{loss}" for time, latency, loss in rows]
    file.write_text("\n".join(["time,latency_ms,packet_loss_percent", *lines]) + "\n")
    return file


def test_a_recording_is_read_as_it_was_written(tmp_path: Path, four_hours: Samples) -> None:
    samples = recording.read(csv_file(tmp_path, four_hours)).samples
    assert np.array_equal(samples.time_unix_nano, four_hours.time_unix_nano)
    assert np.array_equal(samples.latency_ms, four_hours.latency_ms)
    assert np.array_equal(samples.packet_loss_percent, four_hours.packet_loss_percent)


def test_minutes_without_data_have_no_score(four_hours: Samples) -> None:
    second = np.arange(len(four_hours))
    samples = four_hours.take((second < 600) | (second >= 1200))
    found = health.run(Recording("synthetic", samples), PROFILES["leo"])
    # The first sample is 12 s into its minute.
    assert (found.minutes, found.scored, found.empty) == (241, 232, 9)
    assert found.percentiles[0] <= found.percentiles[-1] == 100


def test_the_commands_print_their_tables(tmp_path: Path, four_hours: Samples) -> None:
    file = str(csv_file(tmp_path, four_hours))
    for command, expected in (("detection", "3 % loss for 2 min"), ("health", "QoO by the minute")):
        result = CliRunner().invoke(main, [command, file])
        assert result.exit_code == 0, result.output
        assert expected in result.output


def test_what_is_no_recording_is_refused_clearly(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    result = CliRunner().invoke(main, ["detection", str(file)])
    assert result.exit_code == 1
    assert "no column for the time" in result.output


def test_a_recording_that_is_too_short_is_refused(four_hours: Samples) -> None:
    with pytest.raises(ValueError, match="expected a recording of"):
        detection.run(Recording("short", four_hours.take(np.arange(3600))))


def test_the_plain_loop_scores_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "DEVICES", 50)
    rates = scoring.run(1)
    assert rates.difference < 1e-9
    assert min(rates.vectorised, rates.plain) > 0
