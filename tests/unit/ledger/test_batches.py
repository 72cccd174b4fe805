"""What a batch used: told by the batch when it is over, and counted once, at prices of batches."""

import json
from typing import Any

import msgspec
import pytest
from headgate.contract import metadata
from headgate.ledger.batches import Batch, batch_of
from headgate.ledger.entry import Entry
from headgate.ledger.joining import Fetched, Joiner, Settings
from headgate.ledger.prices import parse_prices, unpriced
from headgate.ledger.record import Tokens, UsageRecord, UsageSource

USED = {
    "input_tokens": 1_000,
    "input_tokens_details": {"cached_tokens": 400},
    "output_tokens": 100,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 1_100,
}
BATCH = {"id": "batch_1", "object": "batch", "status": "completed", "model": "gpt-4o", "usage": USED}
TOKENS = Tokens(input=1_000, cached_input=400, output=100, reasoning=30, total=1_100)
ROW = {"model": "gpt-4o", "input": 2.5, "output": 10}
PRICES = parse_prices({"prices": [ROW, {"model": "gpt-4o", "batch": True, "input": 1.25, "output": 5}]})


def fetched(number: int = 1, text: str = "", **changes: Any) -> Entry:
    return Entry(
        attempt=False,
        peer="10.0.0.7:4711",
        started_ns=1_790_000_000_000_000_000 + number,
        method="GET",
        path="/v1/batches/batch_1",
        status=200,
        details="via_upstream",
        route="default/r/rule/0/openai/match/0",
        cluster="default/openai/route/r/rule/0/ref/0",
        attempts=1,
        internal={
            metadata.INTERNAL_FETCHED: "batch_1",
            metadata.INTERNAL_BATCH: text or json.dumps({**BATCH, **changes}),
        },
        published={metadata.USAGE_SOURCE: "none", metadata.ROUTE_NAME: "default/r"},
    )


def recorded(entry: Entry, joiner: Joiner | None = None) -> UsageRecord:
    record = (joiner or Joiner("envoy-1", Settings(prices=PRICES))).feed(entry)
    assert record is not None
    return record


def test_a_batch_is_a_record_of_its_model_at_prices_of_batches() -> None:
    record = recorded(fetched())
    assert (record.operation, record.tokens, record.usage_source) == ("batch", TOKENS, UsageSource.REPORTED)
    assert (record.original_model, record.request_model, record.response_model) == ("gpt-4o",) * 3
    assert record.price == "batch:gpt-4o@1970-01-01"
    assert record.cost_nanos == 1_000 * 1_250 + 100 * 5_000


def test_it_counts_once_however_often_it_is_fetched() -> None:
    joiner = Joiner("envoy-1", Settings(prices=PRICES), Fetched())
    first, again = recorded(fetched(1), joiner), recorded(fetched(2), joiner)
    assert (first.tokens, again.tokens, again.usage_source) == (TOKENS, Tokens(), UsageSource.NONE)
    assert (first.operation, again.operation) == ("batch", "openai")
    assert recorded(fetched(3)).id == first.id, "whoever tells it: a store keeps one"
    assert again.id != first.id


def test_no_cost_of_a_route_is_charged_with_it() -> None:
    entry = msgspec.structs.replace(fetched(), costs='[["llm_cost","total_tokens"]]')
    assert recorded(entry).costs == ()


def test_without_a_price_of_batches_it_has_none() -> None:
    """At the price of single requests it would cost twice what it does."""
    joiner = Joiner("envoy-1", Settings(prices=parse_prices({"prices": [ROW]})))
    record = recorded(fetched(), joiner)
    assert (record.cost_nanos, unpriced(record)) == (None, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": "in_progress"}, False),
        ({"status": "finalizing"}, False),
        ({"status": "failed"}, False),
        ({"status": "expired"}, True),
        ({"status": "cancelled"}, True),
        ({"usage": None}, False),
        ({"object": "list"}, False),
        ({"metadata": {"status": "completed", "model": "cheap"}, "status": "validating"}, False),
    ],
)
def test_only_what_is_over_and_was_served_counts(change: dict[str, Any], told: bool) -> None:
    assert (batch_of(fetched(**change).internal) is not None) is told
    assert (recorded(fetched(**change)).tokens == TOKENS) is told


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"object":"batch"}', '{"object":"batch","status":"completed","usage":{}}']
)
def test_nonsense_counts_nothing(text: str) -> None:
    assert batch_of(fetched(text=text).internal) is None


def test_a_batch_may_not_say_its_model() -> None:
    assert batch_of(fetched(model=None).internal) == Batch("", TOKENS)
