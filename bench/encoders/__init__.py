"""The samples of bench.walk in the wire format of each system."""
