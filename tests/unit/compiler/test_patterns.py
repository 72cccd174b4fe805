"""Expressions for paths, joined."""

import re

import pytest
from headgate.compiler.lower.patterns import either, joined


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["/v1/chat"], "/v1/chat"),
        (["/v1/audio/transcriptions", "/v1/audio/translations"], "/v1/audio/trans(criptions|lations)"),
        (["(/a)?/model/[^/]+/converse", "(/a)?/model/[^/]+/converse-stream"], "(/a)?/model/[^/]+/converse(-stream)?"),
        (["(/b)?/v1", "/v1", "(/b)?/v2"], "(/b)?/v(1|2)|/v1"),
    ],
)
def test_what_expressions_begin_with_stands_once(patterns: list[str], expected: str) -> None:
    assert either(tuple(patterns)) == expected


def test_an_expression_takes_what_any_of_its_parts_takes() -> None:
    patterns = ("(/a|/b)?/x+", "/xy?", "[^/]+", "/v1/z", "/v1")
    whole = either(patterns)
    for text in ("", "/a", "/x", "/b/xxx", "/xy", "/xyy", "name", "/v1", "/v1/z", "/v1/", "/a/v1"):
        assert bool(re.fullmatch(whole, text)) is any(re.fullmatch(each, text) for each in patterns)


def test_expressions_are_joined_while_they_fit() -> None:
    long = ("a" * 80, "b" * 20, "c" * 9, "d" * 8)
    assert joined(long, 90) == ((0, 2), (1, 3))
    assert joined(("a" * 200, "b"), 90) == ((0,), (1,))
    assert joined(long, 200) == ((0, 1, 2, 3),)
