"""Metrics of requests: upstream's names, and sums that are those of the records."""

from typing import Any

import pytest
from headgate.collector.metering import Metering
from headgate.ledger.record import Attempt, Lane, Tokens, UsageRecord, UsageSource
from headgate.runtime.metrics import SERIES_MAX, Registry
from support.prometheus import Page

MODELS = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_original_model": "m",
    "gen_ai_request_model": "m2",
    "gen_ai_response_model": "m3",
}


def record(**changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "id": "1",
        "request_id": "r",
        "started_ns": 1,
        "path": "/v1/chat/completions?x=1",
        "route": "default/r",
        "backend": "default/openai/route/r/rule/0/ref/0",
        "service": "default/openai",
        "provider": "openai",
        "lane": Lane.NATIVE,
        "original_model": "m",
        "request_model": "m2",
        "response_model": "m3",
        "status": 200,
        "attempts": (Attempt(backend="default/openai/route/r/rule/0/ref/0", status=200, duration_ms=300.0),),
        "tokens": Tokens(input=11, cached_input=0, output=7, total=18),
        "usage_source": UsageSource.REPORTED,
        "duration_ms": 300.0,
        **changes,
    }
    return UsageRecord(**values)


def metered(*records: UsageRecord, attributes: tuple[str, ...] = (), series_max: int = SERIES_MAX) -> Page:
    registry = Registry(series_max)
    Metering(registry, attributes).take(records)
    return Page(registry.text())


def test_a_request_is_timed_and_its_tokens_counted() -> None:
    page = metered(record())
    duration, tokens = "gen_ai_server_request_duration_seconds", "gen_ai_client_token_usage_token"
    assert page.sum(f"{duration}_bucket", le="0.16", error_type="", **MODELS) == 0
    assert page.sum(f"{duration}_bucket", le="0.32", error_type="", **MODELS) == 1
    assert page.sum(f"{duration}_sum") == pytest.approx(0.3)
    assert page.by("gen_ai_token_type", f"{tokens}_sum", **MODELS) == {"input": 11, "output": 7}
    assert page.by("gen_ai_token_type", f"{tokens}_count", **MODELS) == {"input": 1, "output": 1, "cached_input": 1}
    assert page.sum(f"{tokens}_bucket", gen_ai_token_type="output", le="4") == 0
    assert page.sum(f"{tokens}_bucket", gen_ai_token_type="output", le="16") == 1


def test_buckets_are_upstreams() -> None:
    page = metered(record(stream=True, ttft_ms=100.0))

    def edges(name: str) -> str:
        found = (sample.labels for sample in page.of(f"{name}_bucket"))
        return " ".join(labels["le"] for labels in found if labels.get("gen_ai_token_type", "input") == "input")

    assert edges("gen_ai_client_token_usage_token") == (
        "1 4 16 64 256 1024 4096 16384 65536 262144 1.048576e+06 4.194304e+06 1.6777216e+07 6.7108864e+07 +Inf"
    )
    assert edges("gen_ai_server_request_duration_seconds") == (
        "0.01 0.02 0.04 0.08 0.16 0.32 0.64 1.28 2.56 5.12 10.24 20.48 40.96 81.92 +Inf"
    )
    assert edges("gen_ai_server_time_to_first_token_seconds") == (
        "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 15 20 30 45 60 +Inf"
    )
    assert edges("gen_ai_server_time_per_output_token_seconds") == (
        "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 +Inf"
    )


def test_a_stream_has_its_first_token_and_the_time_between_tokens() -> None:
    tried = (Attempt(backend="a/b/route/r/rule/0/ref/0", status=503, error="upstream_failed", duration_ms=1000.0),)
    page = metered(
        record(
            stream=True,
            ttft_ms=1100.0,
            duration_ms=1400.0,
            attempts=(*tried, Attempt(backend="default/openai/x", status=200, duration_ms=400.0)),
        )
    )
    assert page.sum("gen_ai_server_time_to_first_token_seconds_sum") == pytest.approx(0.1)
    assert page.sum("gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(0.3 / 6)
    assert page.sum("gen_ai_server_request_duration_seconds_sum") == pytest.approx(0.4)


def test_errors_say_what_went_wrong() -> None:
    page = metered(record(status=429, error="upstream_limited", tokens=Tokens(), usage_source=UsageSource.NONE))
    assert page.by("error_type", "gen_ai_server_request_duration_seconds_count") == {"upstream_limited": 1}
    assert page.sum("headgate_requests_total", http_response_status_code="429", error_type="upstream_limited") == 1


def test_a_model_that_nobody_serves_has_no_series() -> None:
    asked = {"provider": "", "backend": "", "service": "", "attempts": (), "lane": Lane.LOCAL, "status": 404}
    page = metered(
        *(record(original_model=f"m{n}", request_model=f"m{n}", error="not_found", **asked) for n in range(9))
    )
    assert page.by("gen_ai_original_model", "gen_ai_server_request_duration_seconds_count") == {"unknown": 9}
    assert page.by("gen_ai_provider_name", "gen_ai_server_request_duration_seconds_count") == {"unknown": 9}


def test_failovers_say_from_where_to_where() -> None:
    tried = (
        Attempt(backend="default/a/route/r/rule/0/ref/0", status=503, error="upstream_failed", duration_ms=1.0),
        Attempt(backend="default/a/route/r/rule/0/ref/0", error="upstream_reset", duration_ms=1.0),
        Attempt(backend="default/b/route/r/rule/0/ref/1", status=200, duration_ms=1.0),
    )
    page = metered(record(attempts=tried))
    assert page.by("backend", "headgate_attempts_total") == {"default/a": 2, "default/b": 1}
    assert page.sum("headgate_failovers_total", backend="default/a", to="default/a", error_type="upstream_failed") == 1
    assert page.sum("headgate_failovers_total", backend="default/a", to="default/b", error_type="upstream_reset") == 1


def test_losses_are_counted_by_field() -> None:
    losses = "messages[2].content[0];dropped: no audio, none at all, messages[3].content[1];dropped: x, seed;changed: y"
    page = metered(record(losses=losses))
    assert page.by("field", "headgate_losses_total") == {"messages[].content[]": 2, "seed": 1}
    assert page.by("action", "headgate_losses_total") == {"dropped": 2, "changed": 1}


def test_costs_are_exact() -> None:
    page = metered(*(record(cost_nanos=n, team="t") for n in range(1, 1001)), record())
    assert round(page.sum("headgate_cost_usd_total", team="t") * 1e9) == 500_500
    assert page.sum("headgate_requests_unpriced_total", backend="default/openai") == 1


def test_attributes_become_labels() -> None:
    page = metered(
        record(client="alice", labels=(("session.id", "s1"), ("other", "x"))), attributes=("client", "session.id")
    )
    assert page.sum("gen_ai_server_request_duration_seconds_count", client="alice", session_id="s1") == 1
    assert not any("other" in sample.labels for sample in page.samples)


def test_series_are_bounded_and_nothing_is_lost() -> None:
    page = metered(
        *(record(original_model=f"m{n}", cost_nanos=1, request_model=f"m{n}") for n in range(50)), series_max=10
    )
    assert page.sum("gen_ai_server_request_duration_seconds_count") == 50
    assert page.sum("gen_ai_server_request_duration_seconds_count", gen_ai_original_model="other") == 40
    assert page.sum("gen_ai_client_token_usage_token_sum", gen_ai_token_type="input") == 50 * 11
    assert round(page.sum("headgate_cost_usd_total") * 1e9) == 50
    durations, tokens, costs = 40, 3 * 50 - 10, 40  # of three kinds each
    assert page.sum("headgate_collector_series_overflow_total") == durations + tokens + costs


def test_a_header_of_clients_makes_no_more_series_of_costs_than_there_may_be() -> None:
    page = metered(*(record(team=f"t{n}", cost_nanos=2) for n in range(50)), series_max=10)
    teams = page.by("team", "headgate_cost_usd_total", backend="default/openai")
    assert (len(teams), round(teams["other"] * 1e9)) == (11, 80)
    assert page.sum("headgate_collector_series_overflow_total") == 40


def test_each_fold_of_a_label_set_is_counted() -> None:
    asked = [record(original_model="first"), *(record(error="limited") for _ in range(5))]
    page = metered(*asked, series_max=1)
    # durations and three kinds of tokens, of which the first record has one each; attempts know no models
    assert page.sum("headgate_collector_series_overflow_total") == 2 + 5 * (1 + 3 + 1)


def test_what_asks_no_model_is_a_request_and_no_more() -> None:
    page = metered(record(path="/healthz"), record(path="/v1/models"))
    assert page.sum("headgate_requests_total") == 2
    assert page.sum("gen_ai_server_request_duration_seconds_count") == 0
