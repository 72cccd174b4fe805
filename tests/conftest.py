"""Fixtures that every test may ask for; they live in `support/fixtures.py`."""

pytest_plugins = ["support.fixtures"]


def pytest_make_parametrize_id(val: object) -> str | None:
    """Binary parameters are named by their length: gzip writes the time, and test processes must agree on names."""
    if isinstance(val, bytes) and not val.isascii():
        return f"{len(val)} bytes"
    return None
