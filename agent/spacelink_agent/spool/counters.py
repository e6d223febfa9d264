"""What happened to samples and batches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What happened since the spool was opened.

    Attributes:
        collected_samples: samples written to the spool.
        sent_batches: batches given to the uplink, repeats included.
        acked_batches: batches committed by the server.
        acked_samples: samples in them.
        rejected_batches: batches the server will never store.
        rejected_samples: samples in them.
        bad_rows: rows that never came into a batch, for they are no samples.
        dropped_samples: samples given up because the spool or the disk was full,
            or the disk failed.
    """

    collected_samples: int = 0
    sent_batches: int = 0
    acked_batches: int = 0
    acked_samples: int = 0
    rejected_batches: int = 0
    rejected_samples: int = 0
    bad_rows: int = 0
    dropped_samples: int = 0
