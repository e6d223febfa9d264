"""Settings of property tests."""

from hypothesis import HealthCheck, settings

# How long an example takes says nothing on a machine that does much else.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
