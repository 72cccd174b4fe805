"""What captured content must not tell."""

import json
from typing import Any

import pytest
from headgate.extproc.redaction import PLAIN, REDACTED, RulesError, bounded, make_rules, redact
from hypothesis import given
from hypothesis import strategies as st

KEYS = (
    "sk-proj-abcDEF0123456789",
    "sk-ant-api03-xyz_123",
    "hg-0123456789abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA0123456789abcdefghijklmnopqrstuv",
    "ghp_0123456789abcdefghij",
    "xoxb-123456789012-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0aaaa.c2lnbmF0dXJl",
    "gsk-abcdef0123456789",
    "hf_abcdefghijklmnopqrst",
)
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("key", [*KEYS, PEM])
def test_keys_are_always_taken_out(key: str) -> None:
    left = redact({"a": f"it is {key}.", "b": [key], key: 1}, PLAIN)
    assert key not in json.dumps(left)
    assert PEM.splitlines()[1] not in json.dumps(left)


@given(before=st.text(st.characters(categories=["L", "P"]), max_size=20), after=st.text("(). ,\"'\n", max_size=5))
@pytest.mark.parametrize("key", KEYS)
def test_whatever_stands_around_them(key: str, before: str, after: str) -> None:
    text = f"{before} {key}{after}"
    assert key not in str(redact(text, PLAIN))


@pytest.mark.parametrize(
    "text", ["Basic questions", "a bearer of news", "risk-averse", "desk-", "task-oriented design", "sk-learn"]
)
def test_words_stay(text: str) -> None:
    assert redact(text, PLAIN) == text


@pytest.mark.parametrize("name", ["Authorization", "api_key", "password"])
def test_members_that_are_credentials(name: str) -> None:
    assert redact({"arguments": {name: "hunter2", "n": 1}}, PLAIN) == {"arguments": {name: REDACTED, "n": 1}}


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("a.b", {"a": {"b": REDACTED, "c": [{"b": 2}]}}),
        ("$.a.c.*.b", {"a": {"b": 1, "c": [{"b": REDACTED}]}}),
        ("a.c.0", {"a": {"b": 1, "c": [REDACTED]}}),
        ("**.b", {"a": {"b": REDACTED, "c": [{"b": REDACTED}]}}),
        ("*", {"a": REDACTED}),
        ("a.x", {"a": {"b": 1, "c": [{"b": 2}]}}),
    ],
)
def test_paths(path: str, left: Any) -> None:
    assert redact({"a": {"b": 1, "c": [{"b": 2}]}}, make_rules({"paths": [path]})) == left


def test_regexes() -> None:
    rules = make_rules({"regexes": [r"\d{4}-\d{4}", "(?i)secret \\w+"]})
    assert redact("1234-5678 and Secret plan", rules) == "[redacted] and [redacted]"


def test_texts_are_bounded() -> None:
    left = redact("ä" * 100, make_rules({"textBytesMax": 11}))
    assert left == "äääää… [200 bytes]"


def test_the_last_messages_stay() -> None:
    rules = make_rules({"bytesMax": 60})
    left: Any = bounded([{"n": number, "text": "x" * 10} for number in range(5)], rules)
    assert left[0]["parts"] == [{"type": "left_out", "messages": 3}]
    assert [each["n"] for each in left[1:]] == [3, 4]


@pytest.mark.parametrize("value", [{"regexes": ["("]}, {"regexes": ["a*"]}, {"paths": 1}, {"other": 1}, []])
def test_rules_that_cannot_be_read(value: object) -> None:
    with pytest.raises(RulesError):
        make_rules(value)


@pytest.mark.parametrize("piece", ["eyJ-", "sk-", "eyJ-.", "basic ", "-----BEGIN A", "Bearer a.b", "ghp_a "])
def test_a_text_that_is_made_to_be_searched_for_long_is_not(piece: str) -> None:
    """A search that goes back would take hours here."""
    redact(piece * (4_000_000 // len(piece)), make_rules({"textBytesMax": 4_000_000}))


def test_a_key_at_the_edge_of_what_is_told_is_found() -> None:
    key = "sk-" + "a" * 500
    for before in (90, 95, 99):
        left = redact("x" * before + " " + key + " y" * 20_000, make_rules({"textBytesMax": 100}))
        assert isinstance(left, str)
        assert "sk-" not in left
        assert left.endswith(f"[{before + 1 + len(key) + 40_000} bytes]")


def test_what_is_nested_deeper_than_anybody_reads_is_taken_out() -> None:
    value: Any = "sk-abcdef0123456789"
    for _ in range(5_000):
        value = [value]
    assert REDACTED in str(redact(value, PLAIN))
