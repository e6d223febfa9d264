"""Seeded damage to encoded messages, as broken producers and bad links do it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from spacelink import METRICS
from spacelink.v1.telemetry_pb2 import TelemetryBatch

_HUGE_VARINTS = (b"\xff" * 9 + b"\x01", b"\xff" * 11, b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x80\x00")
_COLUMNS = ("time_unix_nano", "status", *METRICS)


class Mutator:
    """Damages messages; the same seed damages them in the same way.

    Args:
        seed: of the random numbers.
        samples: encoded messages whose pieces may end up in others.
    """

    def __init__(self, seed: int, samples: Sequence[bytes]) -> None:
        self._random = random.Random(seed)
        self._samples = samples
        self._ways: Sequence[Callable[[bytearray], None]] = (
            self._flip_bits,
            self._flip_bits,
            self._overwrite,
            self._truncate,
            self._splice,
            self._insert_varint,
            self._repeat_piece,
            self._append_unknown_field,
        )

    def mutate(self, message: bytes) -> bytes:
        """Damage a message in one or a few ways."""
        data = bytearray(message)
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            self._random.choice(self._ways)(data)
        return bytes(data)

    def flip(self, message: bytes) -> bytes:
        """Damage a message in the least way: one bit."""
        data = bytearray(message)
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(data)

    def disguise(self, batch: TelemetryBatch) -> bytes:
        """Encode a batch in a legal way that encoders do not use."""
        rest = TelemetryBatch.FromString(batch.SerializeToString())
        pieces = [self._unknown_field()]
        for name in self._random.sample(_COLUMNS, 3):
            values = list(getattr(rest, name))
            del getattr(rest, name)[:]
            field = TelemetryBatch.DESCRIPTOR.fields_by_name[name].number
            pieces += self._random.choice((_unpacked, _in_two_pieces, _unpacked, _in_two_pieces, _doubled))(
                field, values
            )
        return self._random.choice((b"", pieces[0])) + rest.SerializeToString() + b"".join(pieces)

    def _place(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _flip_bits(self, data: bytearray) -> None:
        for _ in range(self._random.choice((1, 1, 2, 8))):
            if data:
                data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _overwrite(self, data: bytearray) -> None:
        start = self._place(data)
        piece = self._random.choice((b"\x00", b"\xff", self._random.randbytes(4))) * self._random.choice(
            (1, 2, 8)
        )
        data[start : start + len(piece)] = piece

    def _truncate(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._samples)
        data[self._place(data) :] = other[self._random.randrange(len(other)) :]

    def _insert_varint(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._random.choice(_HUGE_VARINTS)

    def _repeat_piece(self, data: bytearray) -> None:
        start, end = sorted((self._place(data), self._place(data)))
        data[end:end] = data[start:end]

    def _append_unknown_field(self, data: bytearray) -> None:
        data += self._unknown_field()

    def _unknown_field(self) -> bytes:
        return b"\xa2\x3f" + bytes((5,)) + self._random.randbytes(5)  # field 1012, five bytes


def _encoded(field: int, values: Sequence[float]) -> bytes:
    """Encode the values of a column, packed."""
    batch = TelemetryBatch()
    getattr(batch, TelemetryBatch.DESCRIPTOR.fields_by_number[field].name).extend(values)
    return batch.SerializeToString()


def _unpacked(field: int, values: Sequence[float]) -> list[bytes]:
    wire_type = {3: 1, 12: 0}.get(field, 5)
    # A column of one value is packed as tag, length and value.
    return [bytes((field << 3 | wire_type,)) + _encoded(field, [value])[2:] for value in values]


def _in_two_pieces(field: int, values: Sequence[float]) -> list[bytes]:
    half = len(values) // 2
    return [_encoded(field, values[:half]), _encoded(field, values[half:])]


def _doubled(field: int, values: Sequence[float]) -> list[bytes]:
    """Damage, unless the column is empty: it comes twice."""
    return [_encoded(field, values)] * 2
