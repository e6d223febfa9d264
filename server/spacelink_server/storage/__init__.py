"""Durable state; the only room that knows SQL."""
