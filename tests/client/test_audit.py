from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink import audit

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda children: st.lists(children) | st.dictionaries(TEXTS, children),
)


def event(sequence: int, previous_hash: str, **changes: Any) -> dict[str, Any]:
    return {
        "action": "token.mint",
        "actor": "token:0123/ops",
        "detail": {"note": f"é ☃ {sequence}"},
        "event_time": "2026-01-31T12:00:00.000000000Z",
        "outcome": "ok",
        "previous_hash": previous_hash,
        "resource": f"token:{sequence}",
        "sequence": sequence,
        "tenant_id": "acme",
        **changes,
    }


def seal(event: dict[str, Any]) -> bytes:
    """Hash an event and write its line, with the standard library alone."""
    digest = hashlib.sha256(dump(event)).hexdigest()
    return dump({**event, "event_hash": digest})


def dump(event: dict[str, Any]) -> bytes:
    return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def chain(length: int, **changes: Any) -> list[bytes]:
    lines: list[bytes] = []
    for sequence in range(1, length + 1):
        lines.append(seal(event(sequence, head(lines), **changes)))
    return lines


def head(lines: list[bytes]) -> str:
    hashed: str = json.loads(lines[-1])["event_hash"] if lines else "0" * 64
    return hashed


def broken_at(lines: Iterable[bytes], expected_head: str = "") -> tuple[int, str]:
    found = audit.verify(lines, expected_head)
    assert found.intact == (found.broken_sequence == 0) == (found.problem == "")
    assert found.event_count == found.broken_sequence - 1
    return found.broken_sequence, found.problem


def test_accepts_a_chain() -> None:
    lines = chain(4)
    assert audit.verify(lines) == audit.Verification(4, head(lines))
    assert audit.verify(lines, head(lines)).intact


def test_accepts_no_events_at_all() -> None:
    assert audit.verify([]) == audit.Verification(0, "0" * 64)


def test_accepts_lines_with_their_ends() -> None:
    assert audit.verify([line + b"\n" for line in chain(3)]).intact


def test_accepts_line_separators_inside_texts() -> None:
    lines = chain(2, actor="user:\u2028\u2029\x85\x0b")
    assert audit.verify(b"\n".join(lines).split(b"\n")).event_count == 2


def test_any_changed_byte_is_found_where_it_is() -> None:
    """Also in the hashes, and in the last event, which no other event vouches for."""
    lines = chain(3)
    for index, line in enumerate(lines):
        for at in range(len(line)):
            for flipped in (0x01, 0x20, 0x80):
                changed = line[:at] + bytes([line[at] ^ flipped]) + line[at + 1 :]
                where, problem = broken_at([*lines[:index], changed, *lines[index + 1 :]])
                assert where == index + 1, (changed, problem)


def test_any_byte_dropped_or_added_is_found() -> None:
    lines = chain(2)
    for at in range(len(lines[1])):
        assert broken_at([lines[0], lines[1][:at] + lines[1][at + 1 :]])[0] == 2
        assert broken_at([lines[0], lines[1][:at] + b" " + lines[1][at:]])[0] == 2


def test_names_a_dropped_event() -> None:
    lines = chain(5)
    for index in range(4):
        where, problem = broken_at(lines[:index] + lines[index + 1 :])
        assert where == index + 1
        assert problem == f"found event {index + 2} in its place"


def test_names_swapped_events() -> None:
    one, two, three, four = chain(4)
    assert broken_at([one, three, two, four])[0] == 2
    assert broken_at([one, four, three, two])[0] == 2


def test_names_a_repeated_event() -> None:
    one, two, three = chain(3)
    assert broken_at([one, two, two, three]) == (3, "found event 2 in its place")


def test_only_the_expected_head_shows_a_tail_that_was_cut() -> None:
    lines = chain(5)
    assert audit.verify(lines[:3]).intact
    where, problem = broken_at(lines[:3], head(lines))
    assert where == 4
    assert head(lines) in problem
    assert broken_at([], head(lines))[0] == 1


def test_a_tail_that_was_added_is_not_the_expected_head() -> None:
    lines = chain(3)
    assert broken_at(lines, head(lines[:2]))[0] == 4


def test_a_break_is_named_before_a_wrong_head() -> None:
    lines = chain(3)
    assert broken_at([lines[0], lines[2]], head(lines)) == (2, "found event 3 in its place")


def test_an_event_hashed_anew_breaks_at_the_next() -> None:
    lines = chain(3)
    lines[1] = seal(event(2, head(lines[:1]), outcome="REFUSED"))
    assert broken_at(lines) == (3, "previous_hash is not the event_hash of the event before")


def test_the_first_event_has_none_before_it() -> None:
    assert broken_at([seal(event(1, "1" * 64))])[0] == 1


def test_events_of_two_tenants_are_no_chain() -> None:
    lines = chain(1)
    lines.append(seal(event(2, head(lines), tenant_id="globex")))
    assert broken_at(lines) == (2, "the event is of another tenant")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"sequence":' + b"1" * 5000 + b"}",
        b'"\\ud800"',
        b"\xff\xfe",
        b"1.0",
        b"NaN",
        seal({**event(1, "0" * 64), "more": 1}),
        seal({key: value for key, value in event(1, "0" * 64).items() if key != "actor"}),
        seal({**event(1, "0" * 64), "sequence": "1"}),
    ],
)
def test_what_is_no_event_breaks_the_chain(line: bytes) -> None:
    assert broken_at([line])[0] == 1


def test_a_key_given_twice_breaks_the_chain() -> None:
    (line,) = chain(1)
    assert broken_at([line.replace(b'{"action"', b'{"action":"token.ban","action"')])[0] == 1


def test_nothing_is_taken_in_behind_a_break() -> None:
    lines = chain(3)
    verifier = audit.Verifier()
    assert verifier.add(lines[0])
    assert not verifier.add(lines[2])
    assert not verifier.add(lines[1])
    assert verifier.finish().event_count == 1


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "\u0660" * 64])
def test_a_head_is_a_hash(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        audit.check_head(text)


def test_a_head_may_be_written_in_capitals() -> None:
    assert audit.check_head(" " + "AB" * 32 + "\n") == "ab" * 32


def test_canonical_json_sorts_by_utf_16() -> None:
    """The example of RFC 8785, section 3.2.3."""
    value: dict[str, audit.Json] = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    keys = list(json.loads(audit.canonical_json(value)))
    assert keys == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_canonical_json_escapes_as_the_rfc_does() -> None:
    """The text of the example of RFC 8785, section 3.2.2."""
    value = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f\u007f"
    expected = '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f"'
    assert audit.canonical_json(value).decode() == expected


@given(VALUES)
def test_canonical_json_is_json_with_one_form(value: Any) -> None:
    text = audit.canonical_json(value)
    assert json.loads(text) == value
    assert audit.canonical_json(json.loads(text)) == text


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", {"\udfff": 1}])
def test_canonical_json_refuses_what_others_would_read_otherwise(value: Any) -> None:
    with pytest.raises(ValueError, match=r"2\*\*53|surrogates"):
        audit.canonical_json(value)


@pytest.mark.parametrize("value", [1.5, {1: 2}, [b""], (1,)])
def test_canonical_json_refuses_what_json_does_not_have(value: Any) -> None:
    with pytest.raises(TypeError):
        audit.canonical_json(value)
