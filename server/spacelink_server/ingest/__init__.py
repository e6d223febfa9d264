"""The hot path: the Ingest stream, validation of batches, group commit."""
