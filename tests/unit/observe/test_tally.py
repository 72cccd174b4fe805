"""Sums of the last minutes: what counts where, what is forgotten when, and that nothing grows."""

import random
import statistics

import pytest
from headgate.ledger.record import Attempt, Tokens, UsageRecord, UsageSource
from headgate.observe import histogram
from headgate.observe.histogram import Histogram
from headgate.observe.shown import TEXT_MAX
from headgate.observe.tally import NAMES_MAX, OTHERS, RATE_SLOTS, SLOT_SECONDS, SLOTS, UNKNOWN, Tally

NOW = 1_790_000_000.0
OPENAI = "default/openai/route/models/rule/0/ref/0"
OTHER_MODEL = "default/openai/route/models/rule/0/ref/1"
CLAUDE = "default/anthropic/route/models/rule/0/ref/2"
SERVED = Attempt(backend=OPENAI, status=200, duration_ms=80)
FAILED = Attempt(backend=OPENAI, status=503, error="upstream_failed", duration_ms=20)


def record(**changes: object) -> UsageRecord:
    values: dict[str, object] = {
        "id": "r",
        "request_id": "r",
        "started_ns": int(NOW * 1e9),
        "original_model": "gpt",
        "attempts": (SERVED,),
        "tokens": Tokens(input=10, output=5),
        "usage_source": UsageSource.REPORTED,
        "cost_nanos": 7,
        "duration_ms": 100.0,
        **changes,
    }
    return UsageRecord(**values)  # pyright: ignore[reportArgumentType]


def test_requests_tokens_and_money_add_up() -> None:
    tally = Tally(NOW)
    tally.feed([record(), record(cost_nanos=None), record(error="limited", attempts=(), tokens=Tokens())], NOW)
    window = tally.look(NOW).window
    assert (window.requests, window.errors, window.limited) == (3, 1, 1)
    assert (window.input, window.output, window.cost_nanos) == (20, 10, 14)
    assert window.unpriced == 1


def test_what_is_over_is_forgotten_but_counts_in_the_total() -> None:
    tally = Tally(NOW)
    tally.feed([record()], NOW)
    later = NOW + SLOT_SECONDS * RATE_SLOTS
    assert (tally.look(later).rate.requests, tally.look(later).window.requests) == (0, 1)
    later = NOW + SLOT_SECONDS * SLOTS
    look = tally.look(later)
    assert (look.window.requests, look.total.requests, look.backends) == (0, 1, ())
    assert tally.look(NOW + 1e7).window.requests == 0


def test_a_clock_that_goes_back_loses_nothing() -> None:
    tally = Tally(NOW)
    tally.feed([record()], NOW)
    tally.feed([record()], NOW - 3600)
    assert tally.look(NOW).window.requests == 2


def test_slots_of_a_quarter_of_an_hour_end_with_the_newest() -> None:
    tally = Tally(NOW)
    tally.feed([record()], NOW)
    tally.feed([record(), record(error="internal")], NOW + 2 * SLOT_SECONDS)
    slots = tally.look(NOW + 2 * SLOT_SECONDS).slots
    assert [(slot.requests, slot.errors) for slot in slots] == [(1, 0), (0, 0), (2, 1)]


def test_a_rate_is_over_the_time_that_there_was() -> None:
    tally = Tally(NOW)
    tally.feed([record()], NOW + 2)
    assert tally.look(NOW + 4).rate_seconds == pytest.approx(4)
    assert 55 <= tally.look(NOW + 600).rate_seconds <= 60


@pytest.mark.parametrize(
    ("attempts", "attempted", "failed", "failed_over"),
    [
        ((SERVED,), 1, 0, 0),
        ((FAILED, SERVED), 2, 1, 0),
        ((FAILED, Attempt(backend=CLAUDE, status=200)), 1, 1, 1),
        ((FAILED, Attempt(backend=OTHER_MODEL, status=200)), 2, 1, 1),
        ((FAILED, FAILED, Attempt(backend=CLAUDE, status=200)), 2, 2, 1),
        ((Attempt(backend=OPENAI, status=200, error="client_gone"),), 1, 0, 0),
        ((FAILED, Attempt(backend=OPENAI, status=400, error="bad_request")), 1, 1, 0),
    ],
    ids=[
        "served",
        "again",
        "over",
        "over to another model of it",
        "again and over",
        "left by its client",
        "refused by us",
    ],
)
def test_attempts_count_for_their_backend(
    attempts: tuple[Attempt, ...], attempted: int, failed: int, failed_over: int
) -> None:
    tally = Tally(NOW)
    tally.feed([record(attempts=attempts)], NOW)
    (openai,) = [each for each in tally.look(NOW).backends if each.name == "default/openai"]
    assert (openai.attempts, openai.failed, openai.failed_over) == (attempted, failed, failed_over)
    assert openai.errors == ({"upstream_failed": failed} if failed else {})
    assert openai.recent == (attempted, failed)


def test_refusals_of_the_gateway_are_not_timed() -> None:
    tally = Tally(NOW)
    tally.feed([record(attempts=(), error="limited", ttft_ms=1.0), record(ttft_ms=50.0, duration_ms=500.0)], NOW)
    look = tally.look(NOW)
    assert (look.durations.count, look.first_tokens.count) == (1, 1)
    assert look.durations.p50 == pytest.approx(500, rel=0.1)


def test_names_that_clients_choose_are_bounded() -> None:
    tally = Tally(NOW)
    tally.feed([record(original_model=f"m{number}") for number in range(10 * NAMES_MAX)], NOW)
    models = {model.name: model.requests for model in tally.look(NOW).models}
    assert len(models) <= NAMES_MAX + 1
    assert models[OTHERS] == 9 * NAMES_MAX
    assert sum(models.values()) == 10 * NAMES_MAX


def test_models_that_are_not_ours_take_no_place_of_those_that_are() -> None:
    tally = Tally(NOW)
    wrong = [record(original_model=f"m{n}", error="not_found", attempts=()) for n in range(2 * NAMES_MAX)]
    tally.feed([*wrong, record(original_model=""), record()], NOW)
    models = {model.name: model.requests for model in tally.look(NOW).models}
    assert models == {UNKNOWN: 2 * NAMES_MAX + 1, "gpt": 1}


def test_a_model_that_the_backend_does_not_know_is_ours() -> None:
    tally = Tally(NOW)
    tally.feed([record(error="not_found", backend=OPENAI)], NOW)
    assert [model.name for model in tally.look(NOW).models] == ["gpt"]


def test_a_long_name_of_a_model_is_cut() -> None:
    tally = Tally(NOW)
    tally.feed([record(original_model="m" * 10_000)], NOW)
    assert [len(model.name) for model in tally.look(NOW).models] == [TEXT_MAX]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentiles_are_within_a_tenth(share: float) -> None:
    source = random.Random(7)
    times = [source.lognormvariate(5, 1.5) for _ in range(5_000)]
    counted = Histogram()
    for time in times:
        histogram.add(counted, time)
    exact = statistics.quantiles(times, n=1000)[round(share * 1000) - 1]
    assert histogram.percentile(counted, share) == pytest.approx(exact, rel=0.11)
    assert len(counted) <= histogram.BINS


@pytest.mark.parametrize("milliseconds", [-1.0, 0.0, 1e-9, 1e12, float("inf"), float("nan")])
def test_times_beyond_all_bounds_have_a_bin(milliseconds: float) -> None:
    assert 0 <= histogram.bin_of(milliseconds) < histogram.BINS


def test_there_is_no_percentile_of_nothing() -> None:
    assert histogram.percentile({}, 0.5) is None
