"""Plots as HTML, which narrow screens lay out anew. Colours are the page's CSS classes, as of its scheme."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STYLE = """
.plot { display: grid; grid-auto-flow: dense; gap: 7px 12px; align-items: center; font-size: 13px; }
.plot.bars { grid-template-columns: minmax(90px, 210px) 1fr minmax(150px, auto); }
.plot.strips { grid-template-columns: minmax(90px, 210px) 1fr; }
.plot .name { grid-column: 1; overflow-wrap: anywhere; } .plot .value { grid-column: 3; }
.plot .track { grid-column: 2; position: relative; height: 18px; background: var(--track); overflow: hidden; }
.plot .track i { position: absolute; top: 0; bottom: 0; min-width: 2px; }
.plot .axis { grid-column: 2; display: flex; justify-content: space-between; color: var(--soft); }
i.good { background: var(--good); } i.bad { background: var(--bad); }
i.fair { background: var(--fair); } i.rest { background: var(--rest); }
.plot, .key { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
@media (max-width: 640px) {
  .plot.bars, .plot.strips { grid-template-columns: 1fr auto; }
  .plot .track, .plot .axis { grid-column: 1 / -1; }
  .plot .value { grid-column: 2; text-align: right; } .plot .track { margin-bottom: 6px; }
  .plot .axis span:nth-child(even) { display: none; }
}
"""


def strips(rows: Sequence[tuple[str, Sequence[tuple[float, float, str, str]]]], ticks: Sequence[str]) -> str:
    """Draw strips over a common axis.

    Args:
        rows: a label and its marks: start and end as shares of the axis, 0 to 1,
            a class, and what the mark stands for.
        ticks: what to write along the axis, evenly spaced from its beginning to its end.
    """
    parts = [f"{_name(label)}{_track(marks)}" for label, marks in rows]
    axis = "".join(f"<span>{escape(text)}</span>" for text in ticks)
    return f'<div class="plot strips">{"".join(parts)}<div class="axis">{axis}</div></div>'


def bars(rows: Sequence[tuple[str, Sequence[tuple[float, str, str]], str]]) -> str:
    """Draw bars of stacked parts.

    Args:
        rows: a label, its parts and what to write beside it. A part has a share
            of the width, 0 to 1, a class, and what it stands for.
    """
    parts = []
    for label, stack, text in rows:
        marks, end = [], 0.0
        for share, kind, title in stack:
            marks.append((end, end + share, kind, title))
            end += share
        parts.append(f"{_name(label)}<span class=value>{escape(text)}</span>{_track(marks)}")
    return f'<div class="plot bars">{"".join(parts)}</div>'


def _name(label: str) -> str:
    return f"<span class=name>{escape(label)}</span>"


def _track(marks: Sequence[tuple[float, float, str, str]]) -> str:
    inner = "".join(
        f'<i class="{kind}" style="left:min({100 * start:.3f}%,100% - 2px);width:{100 * (end - start):.3f}%" '
        f'title="{escape(title)}"></i>'
        for start, end, kind, title in marks
        if end > start
    )
    return f"<span class=track>{inner}</span>"
