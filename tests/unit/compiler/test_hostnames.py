"""Gateway API's hostname rules."""

import pytest
from headgate.compiler.resolve.attachment import intersection


@pytest.mark.parametrize(
    ("listener", "route", "both"),
    [
        ("", "", "*"),
        ("", "a.example.com", "a.example.com"),
        ("a.example.com", "", "a.example.com"),
        ("a.example.com", "a.example.com", "a.example.com"),
        ("a.example.com", "b.example.com", None),
        ("*.example.com", "a.example.com", "a.example.com"),
        ("*.example.com", "x.y.example.com", "x.y.example.com"),
        ("*.example.com", "example.com", None),
        ("a.example.com", "*.example.com", "a.example.com"),
        ("*.example.com", "*.a.example.com", "*.a.example.com"),
    ],
)
def test_intersection(listener: str, route: str, both: str | None) -> None:
    assert intersection(listener, route) == both
