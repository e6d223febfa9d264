from __future__ import annotations

import pytest

from spacelink_agent.spool.record import DamagedRecordError, Kind, Record, TornRecordError, decode, scan

RECORDS = [
    Record(Kind.CHECKPOINT, {"next": 1, "positions": {"replay": {"rows": 3}}}),
    Record(Kind.BATCH, {"sequence": 1, "device": "dish", "samples": 2}, b"\x00\xff" * 40),
    Record(Kind.ACKED, {"sequence": 1}),
]


def test_records_come_back_as_they_were() -> None:
    data = b"".join(record.encode() for record in RECORDS)
    assert [record for _, _, record in scan(data)] == RECORDS


def test_scan_tells_where_records_are() -> None:
    data = b"".join(record.encode() for record in RECORDS)
    for offset, length, record in scan(data):
        assert decode(data[offset : offset + length]) == (record, length)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind.name)
def test_every_cut_is_a_torn_record(record: Record) -> None:
    data = record.encode()
    for length in range(len(data)):
        with pytest.raises(TornRecordError):
            decode(data[:length])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind.name)
def test_every_flipped_bit_is_damage(record: Record) -> None:
    data = record.encode()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        # Not torn: a damaged length must not pass for the end of the log.
        with pytest.raises(DamagedRecordError):
            decode(bytes(flipped))


def test_zeros_are_damage() -> None:
    with pytest.raises(DamagedRecordError):
        decode(bytes(64))
