"""Sandboxes: the simulated devices that a partner tries things with."""
