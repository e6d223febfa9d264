"""What the log says: the state that its records add up to.

Recovery and running go the same way: a record is written, and then applied.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from spacelink_agent.spool.errors import SpoolError
from spacelink_agent.spool.record import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spacelink.columns import TelemetryColumns

# Where a collector stands, anything JSON can hold.
Position: TypeAlias = Any

_FORMAT = 1


@dataclass(slots=True)
class OpenSamples:
    """Samples of one device that are in no batch yet.

    Attributes:
        parts: encoded TelemetryBatch messages in order of arrival.
        samples: how many samples they hold.
        since: the monotonic time of the first one.
    """

    parts: list[bytes] = field(default_factory=list)
    samples: int = 0
    since: float = field(default_factory=time.monotonic)

    def add(self, part: bytes, samples: int) -> None:
        """Append encoded samples."""
        self.parts.append(part)
        self.samples += samples


@dataclass(slots=True)
class DroppedRange:
    """Numbered batches that were given up before they were acked.

    Attributes:
        first: record sequence of the first one.
        last: record sequence of the last one, inclusive.
        samples: how many samples they held.
        in_doubt: how many of them count as dropped, but may have been on their
            way and arrive; 0 once the server was told of the drop.
    """

    first: int
    last: int
    samples: int
    in_doubt: int = 0


class State:
    """The sum of a log's records.

    Attributes:
        next_sequence: the number of the next batch.
        committed: the server has everything up to this one.
        positions: where each collector stands, by its source name.
        open: the samples that are in no batch, by device_id.
        open_bytes: how much they take.
        dropped: what was dropped right after committed, in order.
    """

    def __init__(self) -> None:
        """Begin without any record."""
        self.next_sequence = 1
        self.committed = 0
        self.positions: dict[str, Position] = {}
        self.open: dict[str, OpenSamples] = {}
        self.open_bytes = 0
        self.dropped: list[DroppedRange] = []

    @property
    def pending_batches(self) -> int:
        """How many numbers wait for their ack."""
        return self.next_sequence - 1 - self.committed

    @property
    def given_up(self) -> int:
        """Up to where nothing will be sent: the server has it, or it was dropped."""
        return max([self.committed, *(dropped.last for dropped in self.dropped)])

    def apply(self, record: Record) -> None:
        """Take a record into account."""
        _APPLY[record.kind](self, record)
        if "source" in record.meta:
            self.positions[record.meta["source"]] = record.meta["position"]

    def checkpoint(self) -> Record:
        """Make the record that stands for all records so far."""
        parts = [
            (device_id, part, samples.samples if index == 0 else 0)
            for device_id, samples in self.open.items()
            for index, part in enumerate(samples.parts)
        ]
        meta = {
            "format": _FORMAT,
            "next": self.next_sequence,
            "committed": self.committed,
            "positions": self.positions,
            "dropped": [[r.first, r.last, r.samples] for r in self.dropped],
            "open": [[device_id, len(part), samples] for device_id, part, samples in parts],
        }
        return Record(Kind.CHECKPOINT, meta, b"".join(part for _, part, _ in parts))

    def merge_dropped(self, after: int) -> None:
        """Join neighbouring dropped ranges that start after a sequence."""
        merged: list[DroppedRange] = []
        for dropped in self.dropped:
            if merged and merged[-1].first > after:
                merged[-1].last = dropped.last
                merged[-1].samples += dropped.samples
                merged[-1].in_doubt += dropped.in_doubt
            else:
                merged.append(dropped)
        self.dropped = merged

    def _apply_checkpoint(self, record: Record) -> None:
        meta = record.meta
        if meta["format"] != _FORMAT:
            raise SpoolError(f"the spool has format {meta['format']}, this agent knows format {_FORMAT}")
        self.next_sequence = meta["next"]
        self.committed = meta["committed"]
        self.positions = dict(meta["positions"])
        self.dropped = [DroppedRange(*entry) for entry in meta["dropped"]]
        self.open = {}
        self.open_bytes = 0
        offset = 0
        for device_id, length, samples in meta["open"]:
            self._add_open(device_id, record.body[offset : offset + length], samples)
            offset += length

    def _apply_samples(self, record: Record) -> None:
        self._add_open(record.meta["device"], record.body, record.meta["samples"])

    def _add_open(self, device_id: str, part: bytes, samples: int) -> None:
        self.open.setdefault(device_id, OpenSamples()).add(part, samples)
        self.open_bytes += len(part)

    def _apply_batch(self, record: Record) -> None:
        self.next_sequence = record.meta["sequence"] + 1
        replaced = self.open.pop(record.meta["device"], None)
        if replaced is not None:
            self.open_bytes -= sum(map(len, replaced.parts))

    def _apply_acked(self, record: Record) -> None:
        self.committed = record.meta["sequence"]
        self.dropped = [r for r in self.dropped if r.last > self.committed]
        if self.dropped:
            self.dropped[0].first = max(self.dropped[0].first, self.committed + 1)

    def _apply_dropped(self, record: Record) -> None:
        first, last = record.meta["first"], record.meta["last"]
        if first == self.next_sequence:
            self.next_sequence = last + 1
        else:
            self.dropped.append(DroppedRange(first, last, record.meta["samples"]))


_APPLY: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.CHECKPOINT: State._apply_checkpoint,
    Kind.SAMPLES: State._apply_samples,
    Kind.BATCH: State._apply_batch,
    Kind.ACKED: State._apply_acked,
    Kind.DROPPED: State._apply_dropped,
}


def samples_record(samples: TelemetryColumns, source: str, position: Position) -> Record:
    """Record samples that are in no batch yet, and where their collector stands after them."""
    meta = {"device": samples.device_id, "samples": len(samples)}
    return Record(Kind.SAMPLES, meta | _position(source, position), samples.encode())


def batch_record(
    sequence: int, samples: TelemetryColumns, source: str = "", position: Position = None
) -> Record:
    """Record a batch."""
    meta = {"sequence": sequence, "device": samples.device_id, "samples": len(samples)}
    return Record(Kind.BATCH, meta | _position(source, position), samples.encode())


def acked_record(sequence: int) -> Record:
    """Record the server's cursor."""
    return Record(Kind.ACKED, {"sequence": sequence})


def position_record(committed: int, source: str, position: Position) -> Record:
    """Record where a collector stands that found nothing to spool; the cursor is only repeated."""
    return Record(Kind.ACKED, {"sequence": committed} | _position(source, position))


def dropped_record(first: int, last: int, samples: int) -> Record:
    """Record that numbers are lost: pending ones, or the next ones for samples never numbered."""
    return Record(Kind.DROPPED, {"first": first, "last": last, "samples": samples})


def _position(source: str, position: Position) -> dict[str, Any]:
    return {"source": source, "position": position} if source else {}
