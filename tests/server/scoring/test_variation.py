from __future__ import annotations

import numpy as np
import pytest

from spacelink_server.scoring import variation

NAN = float("nan")
TRANSITS = [30.0, 35, 30, 38, 30, 30]
JITTER = [0, 0.31, 0.61, 1.07, 1.50, 1.41]


def test_interarrival_jitter() -> None:
    found = variation.interarrival_jitter(np.array([TRANSITS, [7] * 6]))
    assert found[0] == pytest.approx(JITTER, abs=5e-3)
    assert found[1].tolist() == [0] * 6


def test_packets_that_did_not_arrive_leave_jitter_as_it_was() -> None:
    found = variation.interarrival_jitter(np.array([[NAN, *TRANSITS[:3], NAN, *TRANSITS[3:]]], np.float32))
    assert np.isnan(found[0, 0])
    assert found[0, 4] == found[0, 3]
    assert np.delete(found[0], [0, 4]) == pytest.approx(JITTER, abs=5e-3)


def test_packet_delay_variation() -> None:
    delays = np.arange(20, 1021, dtype=np.float32)[None, ::-1]
    assert variation.packet_delay_variation(delays) == pytest.approx([999])
    assert variation.packet_delay_variation(np.array([[5, NAN, 5]])) == pytest.approx([0])
    assert np.isnan(variation.packet_delay_variation(np.array([[NAN]]))).all()


def test_mean_rtt_difference() -> None:
    found = variation.mean_rtt_difference(np.array([[30, 35, 30, 38], [30, NAN, 40, 41], [1, NAN, 1, NAN]]))
    assert found[:2] == pytest.approx([(5 + 5 + 8) / 3, 1])
    assert np.isnan(found[2])
