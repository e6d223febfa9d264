"""Reading the log at start: what a crash or a failing disk left of it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spacelink_agent.spool.log import SUFFIX
from spacelink_agent.spool.logfile import LogFile
from spacelink_agent.spool.record import DamagedRecordError, Kind, TornRecordError, scan
from spacelink_agent.spool.state import State, dropped_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spacelink_agent.spool.record import Record

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Recovered:
    """What the log's files hold.

    Attributes:
        state: the sum of their records.
        files: the files that can be used, the oldest first.
    """

    state: State = field(default_factory=State)
    files: list[LogFile] = field(default_factory=list)


def recover(directory: Path, forget_stream: Callable[[], None]) -> Recovered:
    """Read all files of the log.

    A record whose writing was cut short is what kill -9 leaves. It was never
    sent, so it is cut off and all goes on. Damage is different: records behind
    it are lost. In an older file the checkpoint of the next one tells which
    numbers they had. In the last one nothing does, and the server may know
    numbers that would be given again to other batches; so the stream is
    forgotten.

    Args:
        directory: where the files are.
        forget_stream: sees to it that the numbers count for a new stream.

    Raises:
        OSError: a file cannot be read.
        SpoolError: the log was made by a newer agent.
    """
    recovered = Recovered()
    paths = sorted(directory.glob("*" + SUFFIX))
    for path in paths:
        damage = _read_file(path, recovered)
        if isinstance(damage, DamagedRecordError) and path == paths[-1]:
            forget_stream()
        if damage is not None:
            _cut_off(path, recovered)
            _logger.warning("spool file %s was cut off: %s", path, damage)
    _find_missing(recovered)
    return recovered


def _read_file(path: Path, recovered: Recovered) -> ValueError | None:
    """Apply the file's records; give the damage that ended that, if any."""
    try:
        for offset, length, record in scan(path.read_bytes()):
            if offset == 0:
                _begin_file(path, record, recovered)
            recovered.files[-1].note(record, length)
            recovered.state.apply(record)
    except (TornRecordError, DamagedRecordError) as damage:
        return damage
    return None if _is_current(path, recovered) else TornRecordError("it is empty")


def _cut_off(path: Path, recovered: Recovered) -> None:
    if _is_current(path, recovered):
        os.ftruncate(recovered.files[-1].fd, recovered.files[-1].size)
    else:
        path.unlink()


def _is_current(path: Path, recovered: Recovered) -> bool:
    return bool(recovered.files) and recovered.files[-1].path == path


def _begin_file(path: Path, record: Record, recovered: Recovered) -> None:
    if record.kind is not Kind.CHECKPOINT:
        raise DamagedRecordError("it does not begin with a checkpoint")
    if recovered.files:
        recovered.files[-1].pad(record.meta["next"] - 1)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    recovered.files.append(LogFile(path, fd, record.meta["next"]))


def _find_missing(recovered: Recovered) -> None:
    """Give up the numbers between the cursor and the first file, if there are any."""
    state = recovered.state
    known = state.given_up
    first = recovered.files[0].first_sequence if recovered.files else state.next_sequence
    if known + 1 < first:
        _logger.warning("spool batches %d to %d are lost", known + 1, first - 1)
        state.apply(dropped_record(known + 1, first - 1, 0))
