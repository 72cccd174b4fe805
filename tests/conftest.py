"""Fixtures that every test may ask for; they live in `support/fixtures.py`."""

pytest_plugins = ["support.fixtures"]
