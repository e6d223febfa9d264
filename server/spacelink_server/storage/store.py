"""The store: group commits on one side, reads of segments on the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

from spacelink_server.storage.transactions import Transactions

if TYPE_CHECKING:
    from spacelink_server.storage.segments import Segment


# A producer has at most so many batches under way when its connection breaks,
# so it has heard of every rejection before them.
REJECTIONS_KEPT = 64


class StoreUnavailableError(Exception):
    """The store cannot be written or read now; nothing was changed."""


class Rejection(NamedTuple):
    """A batch of a stream that can never be stored, and why."""

    sequence: int
    reason: str
    message: str


@dataclass(slots=True)
class StreamAdvance:
    """Moves a stream's cursor and stores the segments that moved it.

    Attributes:
        expected: the sequence the cursor must stand at.
        sequence: the sequence it is moved to.
        rejected: the batches on its way that have no segments.
    """

    tenant_id: str
    stream_id: str
    epoch: int
    expected: int
    sequence: int
    segments: list[Segment] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


@dataclass(slots=True)
class Submission:
    """Stores segments once for a request_id; each time where it is empty."""

    tenant_id: str
    request_id: str
    segments: list[Segment] = field(default_factory=list)

    def digest(self) -> str:
        """Give what tells the segments from others."""
        digest = hashlib.sha256()
        for segment in self.segments:
            digest.update(segment.payload)
        return digest.hexdigest()


class Submitted(Enum):
    """What became of a submission."""

    STORED = auto()
    """It is stored now."""

    REPEATED = auto()
    """It had been stored before."""

    CLASHED = auto()
    """Its request_id had been used for something else; nothing of it is stored."""


class StreamKey(NamedTuple):
    """Names a stream."""

    tenant_id: str
    stream_id: str


class StreamPosition(NamedTuple):
    """Where a newly opened stream stands.

    Attributes:
        epoch: the stream's new epoch.
        committed_sequence: the last sequence committed.
        rejected: which of the last REJECTIONS_KEPT batches were rejected.
    """

    epoch: int
    committed_sequence: int
    rejected: tuple[Rejection, ...] = ()


@dataclass(slots=True)
class CommitGroup:
    """What one transaction writes, in this order."""

    advances: list[StreamAdvance] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    opens: list[StreamKey] = field(default_factory=list)


@dataclass(slots=True)
class CommitResult:
    """What a committed transaction did.

    Attributes:
        advanced: for each advance whether it was written; an advance that was
            not has a stale epoch or does not follow the cursor.
        submitted: for each submission what became of it.
        positions: for each open where the stream stands.
    """

    advanced: list[bool]
    submitted: list[Submitted]
    positions: list[StreamPosition]


class Store(Transactions, Protocol):
    """Durable state.

    All methods block. commit and probe are called by one thread at a time, the
    others by any. All raise StoreUnavailableError where the store fails them.
    """

    def commit(self, group: CommitGroup) -> CommitResult:
        """Write a group in one transaction; it is on disk on return."""

    def probe(self, size: int) -> None:
        """Raise StoreUnavailableError unless size bytes could be committed."""

    def device_ids(self, tenant_id: str, *, after: str = "", limit: int = -1) -> list[str]:
        """List a tenant's devices behind one, in order; -1 means all."""

    def close(self) -> None:
        """Let go of all files and connections."""
