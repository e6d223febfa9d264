"""The transaction that writes a group to PostgreSQL.

Three round trips and the COPY: the cursors are locked and looked at, the
segments are copied, and all the rest goes out together with the COMMIT. Each
statement but the COPY is about one tenant, and locks its rows in order, so that
servers that write to the same streams wait for each other but never in a circle.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import defaultdict
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import psycopg
from psycopg import errors

from spacelink_server.storage import requests
from spacelink_server.storage.store import (
    REJECTIONS_KEPT,
    CommitGroup,
    CommitResult,
    Rejection,
    StreamAdvance,
    StreamKey,
    StreamPosition,
    Submission,
    Submitted,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from spacelink_server.storage.segments import Segment

    Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
    Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]

# What another transaction got in the way with; this one was undone by the server.
_CONFLICTS = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)

# When the transaction began, by the clock that all servers share.
_NOW = "SELECT (extract(epoch FROM now()) * 1000000)::bigint"
_LOCK_CURSORS = """
    SELECT stream_id, epoch, committed_sequence FROM stream_cursors
    WHERE tenant_id = %s AND stream_id = ANY(%s::text[]) ORDER BY stream_id FOR UPDATE"""
_CLAIM = """
    INSERT INTO request_results
    SELECT %s, id, method, '{}', %s FROM unnest(%s::text[], %s::text[]) AS claimed(id, method) ORDER BY id
    ON CONFLICT DO NOTHING RETURNING request_id"""
_TAKEN = (
    "SELECT request_id, method FROM request_results WHERE tenant_id = %s AND request_id = ANY(%s::text[])"
)
# Of rows that are there and locked; an insertion because distributed tables
# take no updates from lists.
_MOVE_CURSORS = """
    INSERT INTO stream_cursors
    SELECT %s, stream_id, 0, sequence, 0 FROM unnest(%s::text[], %s::bigint[]) AS moved(stream_id, sequence)
    ON CONFLICT (tenant_id, stream_id) DO UPDATE SET committed_sequence = excluded.committed_sequence"""
_OPEN = """
    INSERT INTO stream_cursors
    SELECT %s, stream_id, times, 0, %s FROM unnest(%s::text[], %s::bigint[]) AS opened(stream_id, times)
    ORDER BY stream_id
    ON CONFLICT (tenant_id, stream_id) DO UPDATE SET
        epoch = stream_cursors.epoch + excluded.epoch, update_time_unix_nano = excluded.update_time_unix_nano
    RETURNING stream_id, epoch, committed_sequence"""
_KEPT_REJECTIONS = """
    SELECT stream_id, sequence, reason, message FROM rejected_batches
    WHERE tenant_id = %s AND stream_id = ANY(%s::text[]) ORDER BY stream_id, sequence"""
_FORGET_REJECTIONS = "DELETE FROM rejected_batches WHERE tenant_id = %s AND stream_id = %s AND sequence <= %s"
_KEEP_REJECTION = "INSERT INTO rejected_batches VALUES (%s, %s, %s, %s, %s)"
_ADD_DEVICES = """
    INSERT INTO devices SELECT %s, id, %s FROM unnest(%s::text[]) AS id ORDER BY id ON CONFLICT DO NOTHING"""
_COPY = """
    COPY telemetry_segments (tenant_id, device_id, first_time_unix_nano, segment_id, last_time_unix_nano,
    sample_count, payload) FROM STDIN (FORMAT binary)"""

# The binary format of COPY: each row has its number of fields, each field its
# length.
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER = b"\xff\xff"
_ROW_START = Struct(">hi")
_LENGTH = Struct(">i")
_NUMBERS = Struct(">iqiqiqiii")
# Sent at once, and a row more: the driver cuts up what is larger than 128 KiB.
_PART_BYTES = 64 * 1024


class _Claim(NamedTuple):
    """What came of taking a tenant's request_ids.

    Attributes:
        claimed: the request_ids that were free.
        taken: each request_id with the method that it now stands for.
    """

    claimed: Cursor
    taken: Cursor


class GroupTransaction:
    """One attempt to write a group.

    Attributes:
        new_devices: those of the group that were not known before, as pairs of
            tenant and device.
    """

    def __init__(self, connection: Connection, known_devices: Collection[tuple[str, str]]) -> None:
        """Prepare an attempt.

        Args:
            connection: in no transaction.
            known_devices: which are stored for sure.
        """
        self.new_devices: set[tuple[str, str]] = set()
        self._connection = connection
        self._known_devices = known_devices
        self._committing = False

    def may_repeat(self, error: psycopg.Error) -> bool:
        """Tell whether a group that failed was not written for sure and may be another time."""
        # A connection that breaks while it commits does not tell what it did.
        return isinstance(error, _CONFLICTS) or not self._committing

    def run(self, group: CommitGroup) -> CommitResult:
        """Write the group; it is on disk on return.

        Raises:
            psycopg.Error: it failed; the connection is of no use any more.
        """
        with self._connection.pipeline():
            clock = self._connection.execute(_NOW)
            locked = self._lock(group)
            claims = self._claim(group.submissions)
        cursors = _positions(locked)
        advanced = [_advance(cursors, advance) for advance in group.advances]
        submitted = _submitted(group.submissions, claims)
        advances = list(itertools.compress(group.advances, advanced))
        written: list[StreamAdvance | Submission] = [*advances]
        written += requests.stored(group.submissions, submitted)
        ((now,),) = clock
        self.copy(written, now)
        self._committing = True
        with self._connection.pipeline():
            self._move(advances)
            self._add_devices()
            opened, kept = self._open(group.opens)
            self._connection.commit()
        return CommitResult(advanced, submitted, _opened(group.opens, _positions(opened), kept))

    def _lock(self, group: CommitGroup) -> dict[str, Cursor]:
        keys = [StreamKey(advance.tenant_id, advance.stream_id) for advance in group.advances]
        return {
            tenant_id: self._connection.execute(_LOCK_CURSORS, (tenant_id, stream_ids))
            for tenant_id, stream_ids in _by_tenant((*keys, *group.opens))
        }

    def _claim(self, submissions: Iterable[Submission]) -> dict[str, _Claim]:
        """Take request_ids: of several submissions with one, the first takes it."""
        wanted: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for each in submissions:
            if each.request_id:
                wanted[each.tenant_id].setdefault(each.request_id, requests.method_of(each))
        return {tenant_id: self._claim_of(tenant_id, methods) for tenant_id, methods in wanted.items()}

    def _claim_of(self, tenant_id: str, methods: dict[str, str]) -> _Claim:
        ids = [*methods]
        claimed = self._connection.execute(_CLAIM, (tenant_id, time.time_ns(), ids, [*methods.values()]))
        return _Claim(claimed, self._connection.execute(_TAKEN, (tenant_id, ids)))

    def copy(self, written: Iterable[StreamAdvance | Submission], now: int) -> None:
        """Send segments.

        Args:
            written: what has them.
            now: microseconds since 1970 UTC, by the clock that all servers share.
        """
        segments = [(write.tenant_id, segment) for write in written for segment in write.segments]
        if not segments:
            return
        with self._connection.cursor().copy(_COPY) as copy:
            for part in self._encode(segments, now):
                copy.write(part)

    def _encode(self, segments: Iterable[tuple[str, Segment]], now: int) -> Iterator[bytes]:
        """Encode rows for COPY, in parts that are sent while the next one is made."""
        parts, size = [_COPY_HEADER], 0
        # The time lets other servers find what is new. The rest tells segments
        # apart that servers write in the same microsecond; of one device and
        # time, for others need not be told apart.
        ids = itertools.count(now * 1000 + random.randrange(1000))  # noqa: S311
        for tenant_id, segment in segments:
            device_id, first_time, last_time, count, payload = segment
            key = (tenant_id, device_id)
            if key not in self._known_devices:
                self.new_devices.add(key)
            numbers = _NUMBERS.pack(8, first_time, 8, next(ids), 8, last_time, 4, count, len(payload))
            parts += (_row_start(*key), numbers, payload)
            size += len(payload)
            if size >= _PART_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
        parts.append(_COPY_TRAILER)
        yield b"".join(parts)

    def _move(self, advances: Iterable[StreamAdvance]) -> None:
        last: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for advance in advances:
            last[advance.tenant_id][advance.stream_id] = advance.sequence
            if advance.rejected:
                self._keep_rejections(advance)
        for tenant_id, sequences in last.items():
            self._connection.execute(_MOVE_CURSORS, (tenant_id, [*sequences], [*sequences.values()]))

    def _keep_rejections(self, advance: StreamAdvance) -> None:
        key = (advance.tenant_id, advance.stream_id)
        forgotten = advance.sequence - REJECTIONS_KEPT
        self._connection.execute(_FORGET_REJECTIONS, (*key, forgotten))
        for each in advance.rejected:
            if each.sequence > forgotten:
                self._connection.execute(_KEEP_REJECTION, (*key, *each))

    def _add_devices(self) -> None:
        now = time.time_ns()
        for tenant_id, device_ids in _by_tenant(self.new_devices):
            self._connection.execute(_ADD_DEVICES, (tenant_id, now, device_ids))

    def _open(self, keys: Iterable[StreamKey]) -> tuple[dict[str, Cursor], dict[str, Cursor]]:
        opened: dict[str, Cursor] = {}
        kept: dict[str, Cursor] = {}
        now = time.time_ns()
        for tenant_id, stream_ids in _by_tenant(keys):
            ids = [*dict.fromkeys(stream_ids)]
            times = [stream_ids.count(stream_id) for stream_id in ids]
            opened[tenant_id] = self._connection.execute(_OPEN, (tenant_id, now, ids, times))
            kept[tenant_id] = self._connection.execute(_KEPT_REJECTIONS, (tenant_id, ids))
        return opened, kept


def _by_tenant(keys: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Give the tenants in order, each with its names."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for tenant_id, name in keys:
        names[tenant_id].append(name)
    return sorted(names.items())


def _positions(rows: Mapping[str, Cursor]) -> dict[StreamKey, tuple[int, int]]:
    """Give the epoch and the committed sequence of streams."""
    return {
        StreamKey(tenant_id, stream_id): (epoch, committed)
        for tenant_id, cursor in rows.items()
        for stream_id, epoch, committed in cursor
    }


def _advance(cursors: dict[StreamKey, tuple[int, int]], advance: StreamAdvance) -> bool:
    """Move a cursor if it stands where it must."""
    key = StreamKey(advance.tenant_id, advance.stream_id)
    if cursors.get(key) != (advance.epoch, advance.expected):
        return False
    cursors[key] = (advance.epoch, advance.sequence)
    return True


def _submitted(submissions: Iterable[Submission], claims: Mapping[str, _Claim]) -> list[Submitted]:
    """Tell what becomes of submissions."""
    free = {(tenant_id, name) for tenant_id, claim in claims.items() for (name,) in claim.claimed}
    taken: dict[str, dict[str, str]] = {tenant_id: dict(claim.taken) for tenant_id, claim in claims.items()}
    submitted = []
    for each in submissions:
        key = (each.tenant_id, each.request_id)
        if not each.request_id or key in free:
            submitted.append(Submitted.STORED)
            free.discard(key)
        else:
            method = taken[each.tenant_id][each.request_id]
            submitted.append(requests.repeated(requests.method_of(each), method))
    return submitted


def _opened(
    keys: Iterable[StreamKey], positions: Mapping[StreamKey, tuple[int, int]], kept: Mapping[str, Cursor]
) -> list[StreamPosition]:
    """Give where streams stand; one that was opened several times has an epoch for each time."""
    rejections: defaultdict[StreamKey, list[Rejection]] = defaultdict(list)
    for tenant_id, cursor in kept.items():
        for stream_id, *rejection in cursor:
            rejections[StreamKey(tenant_id, stream_id)].append(Rejection._make(rejection))
    opened = []
    later: defaultdict[StreamKey, int] = defaultdict(int)
    for key in reversed([*keys]):
        epoch, committed = positions[key]
        recent = tuple(each for each in rejections[key] if each.sequence > committed - REJECTIONS_KEPT)
        opened.append(StreamPosition(epoch - later[key], committed, recent))
        later[key] += 1
    return opened[::-1]


def _row_start(tenant_id: str, device_id: str) -> bytes:
    """Encode a row of seven fields up to the device."""
    tenant, device = tenant_id.encode(), device_id.encode()
    return b"".join((_ROW_START.pack(7, len(tenant)), tenant, _LENGTH.pack(len(device)), device))
