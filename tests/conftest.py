"""Fixtures that every test may ask for; they live in `support/fixtures.py`."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["support.fixtures"]

# How long an example takes says how busy the machine is: no property test fails for it.
settings.register_profile("headgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headgate")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Binary parameters are named by their length: gzip writes the time, and test processes must agree on names."""
    if isinstance(val, bytes) and not val.isascii():
        return f"{len(val)} bytes"
    return None
