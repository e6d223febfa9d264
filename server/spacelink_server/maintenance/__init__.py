"""Keeps what is stored small and quick to read: compaction, rollups, retention."""
