"""Tells an OpenTelemetry collector what calls and commits took."""
