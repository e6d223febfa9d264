"""Webhooks: what is sent, where to, when, and what becomes of it."""
