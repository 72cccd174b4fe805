"""Durations and sizes as the API writes them."""

import re

import pytest
from headgate.compiler.resources.quantities import (
    HOSTNAME_PATTERN,
    ORIGIN_PATTERN,
    WILDCARD_HOSTNAME_PATTERN,
    duration_seconds,
    quantity_bytes,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("500ms", 0.5), ("1m30s", 90), ("2h", 7200), ("1h1m1s1ms", 3661.001)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [(7, 7), ("7", 7), ("1k", 1000), ("50Mi", 52_428_800), ("1.5Gi", 1_610_612_736), ("2M", 2_000_000), ("1500m", 1)],
)
def test_quantities(quantity: str | int, expected: int) -> None:
    assert quantity_bytes(quantity) == expected


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (HOSTNAME_PATTERN, ["a", "a.b-c.d"], ["A", "a..b", "-a", "a-", "*.a", "a\n", ""]),
        (WILDCARD_HOSTNAME_PATTERN, ["*.a.b", "a.b"], ["*", "*a", "a.*.b", "a:80"]),
        (
            ORIGIN_PATTERN,
            ["*", "https://a.example.com", "https://*.example.com", "http://*", "http://localhost:8080"],
            ["a.example.com", "https://a.example.com/", "https://", "https://a:b", "https://a.b."],
        ),
    ],
)
def test_patterns(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []
