"""Benchmarks of SpaceLink against the transport's ceiling and other stores; see docs/benchmarks.md."""
