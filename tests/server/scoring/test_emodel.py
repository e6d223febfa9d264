from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink_server.scoring import emodel
from spacelink_server.scoring.emodel import CODECS
from tests.properties import UNTIMED

delays = st.floats(0, 5000)
losses = st.floats(0, 100)
ratios = st.floats(1, 100)
codecs = st.sampled_from(list(CODECS.values()))


@pytest.mark.parametrize(
    ("delay", "idd"),
    [(0, 0), (99, 0), (100, 0), (150, 0.1635), (200, 3.0444), (250, 8.9167), (300, 14.7607), (400, 24.0701)],
)
def test_delay_impairment(delay: float, idd: float) -> None:
    assert float(emodel.delay_impairment(delay)) == pytest.approx(idd, abs=5e-5)


@pytest.mark.parametrize(
    ("codec", "loss", "ratio", "expected"),
    [("g711_plc", 5, 2, 17.210145), ("g729a_vad", 2, 1, 19.0), ("g711_plc", 0, 1, 0), ("g723_1", 0, 1, 15)],
)
def test_loss_impairment(codec: str, loss: float, ratio: float, expected: float) -> None:
    found = emodel.loss_impairment(loss, ie=CODECS[codec].ie, bpl=CODECS[codec].bpl, burst_ratio=ratio)
    assert float(found) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("name", "ie", "bpl"),
    [("g711_plc", 0, 25.1), ("g711", 0, 4.3), ("g729a_vad", 11, 19.0), ("g723_1", 15, 16.1)],
)
def test_codecs(name: str, ie: float, bpl: float) -> None:
    assert (CODECS[name].ie, CODECS[name].bpl) == (ie, bpl)


@pytest.mark.parametrize(
    ("r", "expected"),
    [(-5, 1), (0, 1), (50, 2.575), (60, 3.1), (70, 3.597), (80, 4.024), (90, 4.339), (100, 4.5), (120, 4.5)],
)
def test_mos(r: float, expected: float) -> None:
    assert float(emodel.mos(r)) == pytest.approx(expected, abs=5e-4)


def test_r_is_what_delay_and_loss_leave() -> None:
    r = emodel.r_factor([100, 200], [0, 5], ie=0, bpl=25.1, burst_ratio=[1, 2])
    assert r == pytest.approx([93.2, 93.2 - 3.0444 - 17.210145], abs=5e-5)


def test_one_way_delay() -> None:
    assert float(emodel.one_way_delay_ms(60, CODECS["g711"])) == 30 + 40 + 20
    assert list(emodel.one_way_delay_ms([0, 10], CODECS["g723_1"], jitter_buffer_ms=0)) == [37.5, 42.5]


def test_what_is_missing_has_no_score() -> None:
    r = emodel.r_factor([np.nan, 50], [0, np.nan], ie=0, bpl=4.3, burst_ratio=1)
    assert np.isnan(r).all()
    assert np.isnan(emodel.mos(r)).all()


@UNTIMED
@given(codecs, delays, delays, losses, losses, ratios)
def test_r_and_mos_fall_with_delay_and_loss(
    codec: emodel.Codec, delay: float, other_delay: float, loss: float, other_loss: float, ratio: float
) -> None:
    pairs = np.array([sorted((delay, other_delay)), sorted((loss, other_loss))])
    r = emodel.r_factor(pairs[0], pairs[1], ie=codec.ie, bpl=codec.bpl, burst_ratio=ratio)
    assert 0 <= r[1] <= r[0] + 1e-9 <= 93.2 + 1e-9
    good, bad = emodel.mos(r)
    assert 1 <= bad <= good + 1e-9 <= 4.5


def ratio(*losses: float) -> float:
    (only,) = emodel.burst_ratio(np.array([losses], np.float32))
    return float(only)


def test_burst_ratio_is_the_mean_run_over_that_of_random_loss() -> None:
    # Runs of 3 and 1 in ten packets: a mean of 2, over 1 / (1 - 0.4).
    assert ratio(0, 100, 100, 100, 0, 0, 100, 0, 0, 0) == pytest.approx(2 * 0.6)


def test_burst_ratio_of_shares() -> None:
    # Up to 10 % the run is 3 long, above it there is one of 1: (3 + 1) / 2 at equal weights.
    assert ratio(0, 10, 20, 10, *[0] * 96) == pytest.approx(40 / 20 * (1 - 0.4 / 100))


def test_burst_ratio_without_loss_is_1() -> None:
    assert ratio(0, 0, 0) == 1
    assert ratio(np.nan, np.nan) == 1
    assert ratio() == 1


def test_burst_ratio_of_an_outage_and_of_scattered_loss_is_1_at_least() -> None:
    assert ratio(100, 100) == 1
    assert ratio(100, 0, 100, 0) == 1


def test_a_missing_sample_ends_a_run() -> None:
    assert ratio(100, 100, np.nan, 100, 100, *[0] * 6) == pytest.approx(2 * 0.6)


def test_random_loss_has_a_burst_ratio_of_1() -> None:
    lost = np.random.default_rng(5).random((1, 200_000)) < 0.2
    assert float(emodel.burst_ratio(lost * np.float32(100))[0]) == pytest.approx(1, abs=0.02)
