from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spacelink_server.scoring import window
from tests.properties import UNTIMED

PERCENTAGES = (0, 5, 50, 95, 99, 99.9, 100)

windows = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(0, 30)),
    elements=st.one_of(st.floats(0, 1e4, width=32), st.just(np.nan)),
)


@UNTIMED
@given(windows)
def test_percentiles_and_mean_are_those_of_the_values_that_are_there(values: np.ndarray) -> None:
    found = window.percentiles(values, PERCENTAGES)
    means = window.mean(values)
    for device, row in enumerate(values.astype(np.float64)):
        present = row[~np.isnan(row)]
        if len(present):
            assert found[device] == pytest.approx(np.percentile(present, PERCENTAGES))
            assert means[device] == pytest.approx(present.mean())
        else:
            assert np.isnan(found[device]).all()
            assert np.isnan(means[device])


@UNTIMED
@given(windows, st.integers(0, 99))
def test_the_order_of_samples_does_not_matter(values: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permuted(values, axis=1)
    assert np.array_equal(
        window.percentiles(shuffled, PERCENTAGES), window.percentiles(values, PERCENTAGES), equal_nan=True
    )
    assert window.mean(shuffled) == pytest.approx(window.mean(values), nan_ok=True)
