"""Answers that a policy replaces: ranges of statuses as what they begin with."""

import pytest
from headgate.compiler.resolve.overriding import prefixes
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (500, 599, ["5"]),
        (500, 511, ["50", "510", "511"]),
        (498, 501, ["498", "499", "500", "501"]),
        (100, 599, ["1", "2", "3", "4", "5"]),
    ],
)
def test_a_range_is_a_few_beginnings(start: int, end: int, expected: list[str]) -> None:
    assert list(prefixes(start, end)) == expected


@given(st.integers(100, 599), st.integers(100, 599), st.integers(100, 599))
def test_a_range_has_what_is_between_its_ends(start: int, end: int, status: int) -> None:
    found = [prefix for prefix in prefixes(start, end) if str(status).startswith(prefix)]
    assert len(found) == (start <= status <= end)
