"""Plots as inline SVG. Colours are the page's CSS classes, so that they follow its light or dark scheme."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 860
_LABEL_WIDTH = 200
_ROW = 26
_AXIS = 24
# Names longer than this are cut; the page's table has them whole.
_LABEL_LETTERS = 30

# An outage of a minute in a quarter of a year would be thinner than a pixel.
_THINNEST = 2.0


def strips(
    rows: Sequence[tuple[str, Sequence[tuple[float, float, str, str]]]], ticks: Sequence[tuple[float, str]]
) -> str:
    """Draw strips over a common axis.

    Args:
        rows: a label and its marks: start and end as shares of the axis, 0 to 1,
            a class, and what the mark stands for.
        ticks: places on the axis, 0 to 1, and what to write there.
    """
    height = len(rows) * _ROW + _AXIS
    plot = _WIDTH - _LABEL_WIDTH
    parts = []
    for number, (label, marks) in enumerate(rows):
        y = number * _ROW
        parts.append(_label(label, y))
        parts.append(_rect(_LABEL_WIDTH, y + 4, plot, _ROW - 8, "track"))
        for start, end, kind, title in marks:
            x, width = _LABEL_WIDTH + start * plot, max((end - start) * plot, _THINNEST)
            parts.append(_rect(min(x, _WIDTH - width), y + 4, width, _ROW - 8, kind, title))
    for share, text in ticks:
        x = _LABEL_WIDTH + share * plot
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - _AXIS:.1f}"/>')
        anchor = "end" if share > 0.95 else "start" if share < 0.05 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{height - 7}" text-anchor="{anchor}">{escape(text)}</text>')
    return _svg(height, parts)


def bars(rows: Sequence[tuple[str, Sequence[tuple[float, str, str]], str]]) -> str:
    """Draw bars of stacked parts.

    Args:
        rows: a label, its parts and what to write at its end. A part has a share
            of the width, 0 to 1, a class, and what it stands for.
    """
    plot = _WIDTH - _LABEL_WIDTH - 190
    parts = []
    for number, (label, stack, text) in enumerate(rows):
        y = number * _ROW
        parts.append(_label(label, y))
        parts.append(_rect(_LABEL_WIDTH, y + 4, plot, _ROW - 8, "track"))
        x = float(_LABEL_WIDTH)
        for share, kind, title in stack:
            width = share * plot
            parts.append(_rect(x, y + 4, width, _ROW - 8, kind, title))
            x += width
        parts.append(f'<text x="{_LABEL_WIDTH + plot + 10}" y="{y + 17}">{escape(text)}</text>')
    return _svg(len(rows) * _ROW, parts)


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img">{"".join(parts)}</svg>'


def _label(text: str, y: float) -> str:
    short = text if len(text) <= _LABEL_LETTERS else text[: _LABEL_LETTERS - 1] + "…"
    return f'<text x="0" y="{y + 17}">{escape(short)}<title>{escape(text)}</title></text>'


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    shape = f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f"{shape}><title>{escape(title)}</title></rect>" if title else f"{shape}/>"
