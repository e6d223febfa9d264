"""Progress of long work, on terminals only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from spacelink.cli._tables import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def byte_progress(doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many of a file's bytes are done, of a total if it is known; give what takes the number."""
    with _progress(
        TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn(), total=total
    ) as take:
        yield take


@contextmanager
def count_progress(things: str) -> Iterator[Callable[[int], None]]:
    """Show how many things are done, of nobody knows how many; give what takes the number."""
    with _progress(TextColumn(f"{{task.completed:,}} {things}"), total=None) as take:
        yield take


@contextmanager
def total_progress(things: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many things of a total are done; give what takes the number."""
    done = TextColumn(f"{{task.completed:,}} of {{task.total:,}} {things}")
    with _progress(BarColumn(), done, TimeRemainingColumn(), total=total) as take:
        yield take


@contextmanager
def _progress(*columns: ProgressColumn, total: int | None) -> Iterator[Callable[[int], None]]:
    stderr = console(stderr=True)
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda completed: bar.update(task, completed=completed)
