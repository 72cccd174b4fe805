"""What a request costs, by the row that is in force when it starts."""

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from headgate.ledger.prices import PricesError, PriceTable, parse_prices, unpriced
from headgate.ledger.record import Attempt, Tokens, UsageRecord, UsageSource

ATTEMPTS = (Attempt(backend="b", status=200),)


def record(day: str = "2026-06-01", **changes: object) -> UsageRecord:
    moment = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
    values: dict[str, object] = {
        "id": "1",
        "request_id": "r",
        "started_ns": int(moment.timestamp()) * 1_000_000_000,
        "attempts": ATTEMPTS,
        "response_model": "gpt-4o",
        "service": "default/openai",
        "tokens": Tokens(input=1000, cached_input=400, output=100, reasoning=20),
        "usage_source": UsageSource.REPORTED,
        **changes,
    }
    return UsageRecord(**values)  # pyright: ignore[reportArgumentType]


def priced(table: PriceTable, record: UsageRecord) -> UsageRecord:
    cost = table.cost(record)
    return record if cost is None else msgspec.structs.replace(record, cost_nanos=cost.nanos, price=cost.price)


def test_every_kind_of_token_has_its_price() -> None:
    table = parse_prices(
        {"prices": [{"model": "gpt-4o", "input": 2.5, "cached_input": 1.25, "output": 10, "reasoning": 20}]}
    )
    found = priced(table, record())
    assert found.cost_nanos == 1000 * (600 * 2.5 + 400 * 1.25 + 80 * 10 + 20 * 20)
    assert found.price == "gpt-4o@1970-01-01"


def test_prices_that_are_not_told_are_those_of_the_whole() -> None:
    table = parse_prices({"prices": [{"model": "gpt-4o", "input": 2, "output": 10}]})
    assert priced(table, record()).cost_nanos == 1000 * (1000 * 2 + 100 * 10)


@pytest.mark.parametrize(
    ("day", "nanos"), [("2025-12-31", 1_000_000), ("2026-01-01", 2_000_000), ("2026-07-01", 3_000_000)]
)
def test_the_row_in_force_counts(day: str, nanos: int) -> None:
    rows = [
        {"model": "gpt-4o", "from": "2026-07-01", "input": 3},
        {"model": "gpt-4o", "input": 1},
        {"model": "gpt-4o", "from": datetime.date(2026, 1, 1), "input": 2},
    ]
    assert priced(parse_prices({"prices": rows}), record(day)).cost_nanos == nanos


def test_the_most_exact_row_counts() -> None:
    rows = [
        {"model": "gpt-*", "input": 1},
        {"model": "gpt-4o", "input": 2},
        {"model": "gpt-4o", "service": "default/openai", "input": 3},
        {"model": "gpt-4o", "service": "default/azure", "input": 4},
    ]
    table = parse_prices({"prices": rows})
    assert priced(table, record()).cost_nanos == 3000_000
    assert priced(table, record(service="x/y")).cost_nanos == 2000_000
    assert priced(table, record(response_model="gpt-5")).cost_nanos == 1000_000
    assert priced(table, record(response_model="claude")).cost_nanos is None


def test_what_was_asked_counts_where_the_answer_has_no_price() -> None:
    table = parse_prices({"prices": [{"model": "gpt-4o", "input": 2}]})
    assert priced(table, record(response_model="gpt-4o-2024-08-06", request_model="gpt-4o")).cost_nanos == 2000_000


def test_small_prices_are_exact() -> None:
    table = parse_prices({"prices": [{"model": "gpt-4o", "input": "0.02", "request": "0.000001"}]})
    assert (
        priced(table, record(tokens=Tokens(input=150))).cost_nanos == 4_000
    )  # 3,000 for tokens, the rest for the request
    assert priced(table, record(tokens=Tokens(input=1))).cost_nanos == 20 + 1_000


def test_audio_that_is_counted_by_time_has_its_price() -> None:
    table = parse_prices({"prices": [{"model": "whisper-1", "audio_minute": "0.006"}]})
    heard = record(response_model="", request_model="whisper-1", tokens=Tokens(), costs=(("audio_seconds", 61),))
    assert priced(table, heard).cost_nanos == 6_100_000


@pytest.mark.parametrize(
    ("priced_at", "costs", "nanos"),
    [
        ({}, (("audio_input_tokens", 400), ("images", 3), ("web_searches", 1)), 3_000_000),
        ({"audio_input": 20}, (("audio_input_tokens", 400),), 3_000_000 + 400 * 18_000),
        ({"image_input": 1}, (("image_input_tokens", 400),), 3_000_000 - 400 * 1_000),
        (
            {"audio_output": 80, "image_output": 40},
            (("audio_output_tokens", 10), ("image_output_tokens", 20)),
            4_300_000,
        ),
        ({"cache_creation_1h_input": 4}, (("cache_creation_1h_input_tokens", 100),), 3_200_000),
        ({"cache_creation_input": 2.5}, (("cache_creation_1h_input_tokens", 100),), 3_000_000),
        ({"image": 0.04, "web_search": "0.01"}, (("images", 2), ("web_searches", 3)), 113_000_000),
        ({"characters": 15}, (("characters", 3),), 3_045_000),
    ],
)
def test_what_is_sold_apart_has_its_price(
    priced_at: Mapping[str, Any], costs: tuple[tuple[str, int], ...], nanos: int
) -> None:
    table = parse_prices({"prices": [{"model": "gpt-4o", "input": 2, "output": 10, **priced_at}]})
    assert priced(table, record(tokens=Tokens(input=1000, output=100), costs=costs)).cost_nanos == nanos


def test_a_speech_costs_where_it_was_served() -> None:
    table = parse_prices({"prices": [{"model": "tts-1", "characters": 15}]})
    asked: Mapping[str, Any] = {
        "response_model": "",
        "request_model": "tts-1",
        "tokens": Tokens(),
        "usage_source": UsageSource.NONE,
        "costs": (("characters", 2_000),),
    }
    assert priced(table, record(**asked)).cost_nanos == 30_000_000
    assert priced(table, record(**asked, error="upstream_failed")).cost_nanos is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"cost_nanos": 0}, False),
        ({"request_model": "tts", "usage_source": UsageSource.NONE}, True),
        ({"request_model": "tts", "usage_source": UsageSource.NONE, "error": "upstream_failed"}, False),
        ({"request_model": "", "usage_source": UsageSource.NONE}, False),
        ({"request_model": "gpt-4o", "error": "client_gone", "usage_source": UsageSource.ESTIMATED}, True),
    ],
)
def test_what_was_served_without_a_price_is_known(changes: Mapping[str, Any], expected: bool) -> None:
    """An answer that tells no usage (speech) costs money all the same; what names no model (files) does not."""
    assert unpriced(record(**changes)) is expected


def test_nothing_served_costs_nothing() -> None:
    table = parse_prices({"prices": [{"model": "*", "input": 2, "request": 1}]})
    nothing = Tokens()
    refused = record(attempts=(), tokens=nothing, usage_source=UsageSource.NONE, error="limited")
    assert priced(table, refused).cost_nanos is None


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "object"),
        ({"prices": [{"modle": "x"}]}, "modle"),
        ({"prices": [{"model": "x", "input": "much"}]}, "prices[0].input"),
        ({"prices": [{"model": "x", "input": -1}]}, "prices[0]"),
        ({"teams": {"a": ["x"], "b": ["x"]}}, "two teams"),
    ],
)
def test_mistakes_are_named(document: object, words: str) -> None:
    with pytest.raises(PricesError) as raised:
        parse_prices(document if document else [1])
    assert words in str(raised.value)
