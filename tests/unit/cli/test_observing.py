"""What the page is told of limits and configuration, and what it is not."""

import pytest
from headgate.cli.observing import told

LONG = "abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("key", "value"),
    [("client", "alice"), ("header:x-team", "research"), ("model", "gpt-4o-mini"), ("remote_address", "10.1.2.3")],
)
def test_who_is_counted_is_told(key: str, value: str) -> None:
    assert told(key, value) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("header:authorization", "x"),
        ("header:x-api-key", "alice"),
        ("header:cookie", "a=b"),
        ("header:x-session-id", "1"),
        ("header:x-who", "Bearer abc"),
        ("header:x-who", "sk-1"),
        ("header:x-who", "eyJhbGciOiJub25lIn0.e30."),
        ("header:x-who", LONG),
        ("client", "two words " * 10),
    ],
)
def test_what_may_be_a_secret_is_not(key: str, value: str) -> None:
    mark = told(key, value)
    assert mark.startswith("#")
    assert value not in mark
    assert mark == told(key, value)
    assert mark != told(key, f"{value}.")
