from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink import _names
from tests.properties import UNTIMED

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"


@pytest.mark.parametrize("text", ["a", "0", "-", "dish-1", "a.b_c:d/e@f+g-h", "A" * 128])
def test_identifier(text: str) -> None:
    assert _names.is_identifier(text)


@pytest.mark.parametrize(
    "text",
    ["", "A" * 129, "a b", "a\n", "\na", "a*", "a\x00", "dïsh", "a,b", "%", "\u0661", "\u212a"],
)
def test_no_identifier(text: str) -> None:
    assert not _names.is_identifier(text)


@pytest.mark.parametrize("text", ["a", "latency_ms", "a.b-c_d9", "z" * 64])
def test_metric_name(text: str) -> None:
    assert _names.is_metric_name(text)


@pytest.mark.parametrize(
    "text", ["", "z" * 65, "A", "aB", "9a", "_a", ".a", "a b", "a\n", "a:b", "a/b", "\u017f"]
)
def test_no_metric_name(text: str) -> None:
    assert not _names.is_metric_name(text)


@UNTIMED
@given(st.text(max_size=6))
def test_identifier_is_what_the_rule_says(text: str) -> None:
    allowed = LETTERS + LETTERS.upper() + DIGITS + "._:/@+-"
    assert _names.is_identifier(text) == (len(text) > 0 and all(c in allowed for c in text))


@UNTIMED
@given(st.text(max_size=6))
def test_metric_name_is_what_the_rule_says(text: str) -> None:
    is_name = text[:1] != "" and text[:1] in LETTERS and all(c in LETTERS + DIGITS + "_.-" for c in text)
    assert _names.is_metric_name(text) == is_name


def test_rules_name_the_bounds() -> None:
    assert "128" in _names.IDENTIFIER_RULE
    assert "64" in _names.METRIC_NAME_RULE
