"""Validation of batches: what passes is stored and never questioned again.

In two steps, for numpy takes a microsecond to look at any array, a small one
too: names and lengths when a batch comes in, times and values together with
those of all batches that are committed with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from spacelink._names import IDENTIFIER_RULE, METRIC_NAME_RULE, is_identifier, is_metric_name
from spacelink._sample_rules import (
    EARLIEST_NANOS,
    FINITE,
    NOT_NEGATIVE,
    PERCENTS,
    STATUS_RULE,
    STATUSES,
    TIME_RULE,
    bounds_of,
    latest_nanos,
)
from spacelink.columns import METRICS, TelemetryColumns, merge
from spacelink_server.storage.segments import MAX_SPAN_NANOS, Segment
from spacelink_server.storage.store import REJECTIONS_KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_EXTRA = 64

# A batch is stored as a segment for each hour that it has samples in: more than
# a year of hourly samples, and less than the event loop would notice.
_MAX_SEGMENTS = 10_000

_ANY_FINITE = tuple(name for name in METRICS if name not in PERCENTS + NOT_NEGATIVE)
_PERCENTS_OF = attrgetter(*PERCENTS)
_NOT_NEGATIVE_OF = attrgetter(*NOT_NEGATIVE)
_ANY_FINITE_OF = attrgetter(*_ANY_FINITE)


class InvalidBatchError(Exception):
    """The batch can never be stored.

    Attributes:
        reason: UPPER_SNAKE, machine-readable.
        field: the field of TelemetryBatch that is wrong.
        message: what is wrong with it and what would be right.
    """

    def __init__(self, reason: str, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.reason = reason
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Limits:
    """What a producer may send; IngestReady tells it.

    Attributes:
        max_unacked_batches: batches of a stream under way without an ack.
        max_batch_samples: samples in a batch.
        max_batch_bytes: bytes of an encoded batch.
    """

    # Enough to keep a satellite link of 0.6 s round-trip time busy with a batch
    # each 10 ms.
    max_unacked_batches: int = REJECTIONS_KEPT
    # A day at 1 Hz in one batch.
    max_batch_samples: int = 100_000
    # Read back, a batch must fit into the 4 MiB that a gRPC client takes by
    # default. The server takes messages twice as large, to answer a batch that
    # is too large with a rejection and not with the end of the stream.
    max_batch_bytes: int = 4_000_000


class WellFormedBatch(NamedTuple):
    """A batch whose names and lengths are right; its times and values are yet to be looked at.

    Attributes:
        view: the bytes view of a TelemetryBatch (spacelink._wire.BatchView).
        device_id: its device.
        times: int64 nanoseconds since 1970 UTC, at least one.
        free: columns of float32 values that need only be finite.
        not_negative: columns of values that must not be below 0, either.
        percents: columns of values that must be from 0 to 100.
    """

    view: Any
    device_id: str
    times: bytes
    free: Sequence[bytes]
    not_negative: Sequence[bytes]
    percents: Sequence[bytes]

    @property
    def sample_count(self) -> int:
        """How many samples it has."""
        return len(self.times) // 8


def well_formed(view: Any, size: int, limits: Limits) -> WellFormedBatch:
    """Check all of a batch but its times and values.

    Args:
        view: the bytes view of a TelemetryBatch.
        size: bytes of the message that carried it.
        limits: what the producer was told.

    Raises:
        InvalidBatchError: names the field and what would be right.
    """
    # The size counts what surrounds the batch, too; telling them apart costs.
    if size > limits.max_batch_bytes and (size := view.ByteSize()) > limits.max_batch_bytes:
        raise InvalidBatchError(
            "BATCH_TOO_LARGE", "batch", f"{size} bytes; expected at most {limits.max_batch_bytes}"
        )
    device_id = _device_id(view.device_id)
    times = _times(view.time_unix_nano, limits.max_batch_samples)
    free = (*_ANY_FINITE_OF(view), *_extra_columns(view))
    batch = WellFormedBatch(view, device_id, times, free, _NOT_NEGATIVE_OF(view), _PERCENTS_OF(view))
    count = len(times) // 8
    if not {0, 4 * count}.issuperset(map(len, (*free, *batch.not_negative, *batch.percents))):
        _explain(batch)
    if status := view.status:
        _check_status(status, count)
    # Only Ingest reads the sequence; it is no part of the samples.
    view.sequence = 0
    return batch


def segments_of(batch: WellFormedBatch) -> list[Segment]:
    """Check the times and values of a batch and make the segments it is stored as.

    Returns:
        One segment, several where the samples span more than MAX_SPAN_NANOS.

    Raises:
        InvalidBatchError: names the field and what would be right.
    """
    if not _values_are_right([batch]):
        _explain(batch)
    times = np.frombuffer(batch.times, "<i8")
    _check_range(int(times.min()), int(times.max()))
    if spans := _spans([batch]):
        return [_whole(batch, spans[0])]
    return split(merge([TelemetryColumns.from_view(batch.view)]))


def segments_of_all(batches: Sequence[WellFormedBatch]) -> Sequence[list[Segment] | InvalidBatchError]:
    """Do for many batches what segments_of does, at less than half its cost for small ones.

    Returns:
        For each batch its segments, or what is wrong with it.
    """
    if batches and _values_are_right(batches) and (spans := _spans(batches)):
        return [[_whole(batch, span)] for batch, span in zip(batches, spans, strict=True)]
    return [_segments_or_error(batch) for batch in batches]


def _segments_or_error(batch: WellFormedBatch) -> list[Segment] | InvalidBatchError:
    try:
        return segments_of(batch)
    except InvalidBatchError as error:
        return error


def _whole(batch: WellFormedBatch, span: tuple[int, int]) -> Segment:
    return Segment(batch.device_id, *span, batch.sample_count, batch.view.SerializeToString())


def _spans(batches: Sequence[WellFormedBatch]) -> list[tuple[int, int]] | None:
    """Give the first and the last time of each; None where one of them cannot be stored as it is."""
    times = np.frombuffer(b"".join([batch.times for batch in batches]), "<i8")
    ends = np.cumsum([batch.sample_count for batch in batches])
    first, last = times[np.concatenate(([0], ends[:-1]))], times[ends - 1]
    back = times[1:] <= times[:-1]
    # From one batch to the next, times may well go back.
    back[ends[:-1] - 1] = False
    if back.any() or first.min() < EARLIEST_NANOS or last.max() > latest_nanos():
        return None
    if (last - first).max() > MAX_SPAN_NANOS:
        return None
    return list(zip(first.tolist(), last.tolist(), strict=True))


def split(columns: TelemetryColumns) -> list[Segment]:
    """Make segments of samples in time order, none spanning too much time."""
    times = columns.time_unix_nano
    segments: list[Segment] = []
    start = 0
    while start < len(times):
        if len(segments) == _MAX_SEGMENTS:
            raise InvalidBatchError(
                "TOO_SPARSE",
                "time_unix_nano",
                f"expected samples within at most {_MAX_SEGMENTS} spans of an hour; send several batches",
            )
        end = int(np.searchsorted(times, times[start] + MAX_SPAN_NANOS, side="right"))
        part = columns.take(slice(start, end))
        span = int(times[start]), int(times[end - 1])
        segments.append(Segment(columns.device_id, *span, end - start, part.encode()))
        start = end
    return segments


# As many as a large fleet has; a name that is not right is not kept.
@lru_cache(maxsize=16_384)
def _device_id(data: bytes) -> str:
    text = data.decode("ascii", "replace")
    if not is_identifier(text):
        raise InvalidBatchError("INVALID_DEVICE_ID", "device_id", f"expected {IDENTIFIER_RULE}")
    return text


def _times(data: bytes, max_samples: int) -> bytes:
    if not data:
        raise InvalidBatchError("NO_SAMPLES", "time_unix_nano", "expected at least one time")
    if len(data) % 8:
        raise _wrong_length("time_unix_nano")
    if len(data) > max_samples * 8:
        raise InvalidBatchError(
            "TOO_MANY_SAMPLES",
            "time_unix_nano",
            f"{len(data) // 8} samples; expected at most {max_samples} in a batch",
        )
    return data


def _check_range(first: int, last: int) -> None:
    if first < EARLIEST_NANOS or last > latest_nanos():
        wrong = first if first < EARLIEST_NANOS else last
        raise InvalidBatchError(
            "TIME_OUT_OF_RANGE",
            "time_unix_nano",
            f"{wrong} is out of range; expected nanoseconds since 1970, {TIME_RULE}",
        )


def _values_are_right(batches: Sequence[WellFormedBatch]) -> bool:
    """Tell whether all float32 values are within their bounds; NaN is."""
    return _within(
        [column for batch in batches for column in batch.free],
        [column for batch in batches for column in batch.not_negative],
        [column for batch in batches for column in batch.percents],
    )


def _within(free: Sequence[bytes], not_negative: Sequence[bytes], percents: Sequence[bytes]) -> bool:
    columns = b"".join((*free, *not_negative, *percents))
    if not columns:
        return True
    values = np.frombuffer(columns, "<f4")
    bounded = len(columns) - sum(map(len, not_negative)) - sum(map(len, percents)) >> 2
    if bounded < len(values) and np.fmin.reduce(values[bounded:]) < 0:
        return False
    if bounded and np.fmin.reduce(values[:bounded]) < FINITE.low:
        return False
    highest = np.fmax.reduce(values)
    if highest > FINITE.high:
        return False
    percent_values = values[len(values) - (sum(map(len, percents)) >> 2) :]
    # Nothing at all above 100, or nothing that must not be; NaN is neither.
    return not (highest > 100 and len(percent_values) and np.fmax.reduce(percent_values) > 100)


def _explain(batch: WellFormedBatch) -> NoReturn:
    """Say which column is wrong."""
    extra = [column.name.decode() for column in batch.view.extra]
    names = (*_ANY_FINITE, *extra, *NOT_NEGATIVE, *PERCENTS)
    count = batch.sample_count
    for name, data in zip(names, (*batch.free, *batch.not_negative, *batch.percents), strict=True):
        if len(data) % 4:
            raise _wrong_length(name)
        if len(data) not in (0, 4 * count):
            raise _length_mismatch(name, len(data) // 4, count)
        bounds = bounds_of(name)
        values = np.frombuffer(data, "<f4")
        if ((values < bounds.low) | (values > bounds.high)).any():
            raise InvalidBatchError(
                "VALUE_OUT_OF_RANGE", name, f"expected {bounds.text}, or NaN for a missing one"
            )
    raise AssertionError("all columns are right")


def _check_status(status: bytes, count: int) -> None:
    # First: a status past 127 takes several bytes, which are no length to speak of.
    if status.translate(None, STATUSES):
        raise InvalidBatchError("INVALID_STATUS", "status", f"expected {STATUS_RULE}")
    if len(status) != count:
        raise _length_mismatch("status", len(status), count)


def _extra_columns(view: Any) -> list[bytes]:
    extra = view.extra
    if not extra:
        return []
    if len(extra) > _MAX_EXTRA:
        raise InvalidBatchError(
            "TOO_MANY_METRICS", "extra", f"{len(extra)} columns; expected at most {_MAX_EXTRA}"
        )
    names = _metric_names(tuple([column.name for column in extra]))
    columns: list[bytes] = [column.values for column in extra]
    if not all(columns):
        raise InvalidBatchError(
            "COLUMN_LENGTH_MISMATCH", names[columns.index(b"")], "expected one value for each time"
        )
    return columns


# A fleet's terminals measure the same few sets of metrics.
@lru_cache(maxsize=1024)
def _metric_names(encoded: tuple[bytes, ...]) -> tuple[str, ...]:
    """Check the names of extra columns and decode them."""
    names = tuple(name.decode("ascii", "replace") for name in encoded)
    if not all(map(is_metric_name, names)):
        raise InvalidBatchError("INVALID_METRIC_NAME", "extra.name", f"expected {METRIC_NAME_RULE}")
    if len(set(names)) < len(names) or not _RESERVED.isdisjoint(names):
        raise InvalidBatchError(
            "DUPLICATE_METRIC",
            "extra.name",
            "expected each name once, and no name of a field of TelemetryBatch",
        )
    return names


_RESERVED = frozenset((*METRICS, "status", "time", "device_id", "sequence", "time_unix_nano", "extra"))


def _length_mismatch(name: str, length: int, count: int) -> InvalidBatchError:
    return InvalidBatchError(
        "COLUMN_LENGTH_MISMATCH", name, f"{length} values; expected {count}, one for each time, or none"
    )


def _wrong_length(name: str) -> InvalidBatchError:
    return InvalidBatchError("MALFORMED_COLUMN", name, "expected a whole number of values")
