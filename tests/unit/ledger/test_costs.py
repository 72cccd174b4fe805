"""Costs of a route that its requests do not tell."""

import json
from typing import Any

import pytest
from headgate.contract import metadata
from headgate.ledger.entry import Entry
from headgate.ledger.joining import make_record

COUNTED = {
    metadata.INPUT_TOKENS: 10.0,
    metadata.OUTPUT_TOKENS: 5.0,
    metadata.TOTAL_TOKENS: 15.0,
    metadata.USAGE_SOURCE: "estimated",
    metadata.MODEL_NAME_OVERRIDE: "dear",
}


def costs(*pairs: tuple[str, str], **published: Any) -> dict[str, int]:
    entry = Entry(
        attempt=False,
        peer="127.0.0.1:1",
        started_ns=1,
        status=200,
        route="default/r/rule/0/match/0",
        cluster="default/openai/route/r/rule/0/ref/0",
        attempts=1,
        published={**COUNTED, **published},
        costs=json.dumps(pairs),
    )
    return dict(make_record(entry).costs)


def test_counts_and_what_is_computed() -> None:
    found = costs(
        ("total", "total_tokens"), ("weighed", "input_tokens + 3u * output_tokens"), ("read", "cached_input_tokens")
    )
    assert found == {"total": 15, "weighed": 25, "read": 0}


def test_words() -> None:
    expression = "model == 'dear' && backend.startsWith('default/openai/') && route_name == 'default/r' ? 7u : 1u"
    assert costs(("named", expression)) == {"named": 7}


def test_what_was_told_stands() -> None:
    assert costs(("total", "total_tokens"), ("other", "1u"), total=99.0) == {"total": 99, "other": 1}


@pytest.mark.parametrize(
    "expression", ["input_tokens - 11u", "1u / cached_input_tokens", "unknown", "(", "'text'", "-1"]
)
def test_what_cannot_be_computed_is_none(expression: str) -> None:
    assert costs(("broken", expression)) == {}


def test_a_request_without_usage_costs_nothing() -> None:
    entry = Entry(attempt=False, peer="", started_ns=1, status=500, attempts=1, costs='[["each","1u"]]')
    assert make_record(entry).costs == ()
    assert make_record(Entry(attempt=False, peer="", started_ns=1, costs="[")).costs == ()
