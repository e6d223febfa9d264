"""Charts drawn with characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"

# A braille character has two columns of four dots; these are their bits, from
# the top. U+2800 has none.
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_ACROSS, _DOWN = 2, 4


def bar(share: float, width: int, style: str = "") -> Text:
    """Draw a share of 0 to 1 as a bar, an eighth of a character precise."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = _EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")
    return Text(drawn.ljust(width, "·"), style)


def line_chart(
    series: Sequence[tuple[str, Sequence[float | None]]], width: int, height: int
) -> tuple[list[Text], float, float]:
    """Draw series over one axis of steps, the later ones over the earlier ones.

    Args:
        series: a style and a value for each step, None where there is none.
        width: characters for the lines.
        height: likewise.

    Returns:
        The rows from the top, and the values at the bottom and at the top.
    """
    values = [value for _, steps in series for value in steps if value is not None]
    low, high = min(values), max(values)
    if low == high:
        # A flat line belongs into the middle.
        low, high = low - 1, high + 1
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for style, steps in series:
        for x, y in _dots(steps, width * _ACROSS, height * _DOWN, low, high):
            place = (y // _DOWN, x // _ACROSS)
            bits, _ = cells.get(place, (0, ""))
            cells[place] = (bits | _DOTS[x % _ACROSS][y % _DOWN], style)
    rows = []
    for row in range(height):
        text = Text()
        for column in range(width):
            bits, style = cells.get((row, column), (0, ""))
            text.append(chr(_BRAILLE + bits), style)
        rows.append(text)
    return rows, low, high


def _dots(
    steps: Sequence[float | None], columns: int, lines: int, low: float, high: float
) -> set[tuple[int, int]]:
    """Give the dots of a line; steps without a value break it."""
    dots = set()
    before: tuple[int, int] | None = None
    for step, value in enumerate(steps):
        if value is None:
            before = None
            continue
        x = round(step * (columns - 1) / max(len(steps) - 1, 1))
        y = round((high - value) / (high - low) * (lines - 1))
        dots.update(_between(before, (x, y)) if before else {(x, y)})
        before = (x, y)
    return dots


def _between(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    count = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return {
        (
            round(start[0] + (end[0] - start[0]) * part / count),
            round(start[1] + (end[1] - start[1]) * part / count),
        )
        for part in range(count + 1)
    }
