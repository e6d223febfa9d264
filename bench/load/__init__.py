"""The load generator: a process of its own that sends batches and times their acks."""
