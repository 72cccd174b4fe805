"""Entries become records; attempts find their request."""

import msgspec
import pytest
from headgate.contract import metadata
from headgate.ledger.entry import Entry
from headgate.ledger.joining import (
    FETCHED_MAX,
    WAITING_MAX,
    Fetched,
    Joiner,
    Settings,
    make_record,
    route_and_operation,
)
from headgate.ledger.prices import parse_prices
from headgate.ledger.record import Lane, Tokens, UsageSource

PEER = "10.0.0.7:4711"
BACKEND = "default/openai/route/r/rule/0/ref/0"
COUNTED = Tokens(input=11, output=7, total=18)


def served(**changes: object) -> Entry:
    entry = Entry(
        attempt=False,
        peer=PEER,
        started_ns=1_790_000_000_123_456_789,
        duration_ns=250_000_000,
        request_id="abc",
        method="POST",
        path="/v1/chat/completions",
        status=200,
        details="via_upstream",
        route="default/r/rule/0/chat/match/0",
        cluster=BACKEND,
        attempts=1,
        internal={metadata.INTERNAL_MODEL: "gpt"},
        published={
            metadata.INPUT_TOKENS: 11.0,
            metadata.OUTPUT_TOKENS: 7.0,
            metadata.TOTAL_TOKENS: 18.0,
            metadata.RESPONSE_MODEL: "gpt-2025",
        },
    )
    return msgspec.structs.replace(entry, **changes)


def failed(**changes: object) -> Entry:
    return served(**{"attempt": True, "attempts": 0, "status": 503, "details": "", "duration_ns": 4_000_000, **changes})


def test_request_served_at_once() -> None:
    record = make_record(served(), node="envoy-1")
    assert (record.route, record.operation, record.service) == ("default/r", "chat", "default/openai")
    assert (record.original_model, record.request_model, record.response_model) == ("gpt", "gpt", "gpt-2025")
    assert record.tokens == COUNTED
    assert record.usage_source is UsageSource.REPORTED
    assert record.lane is Lane.NATIVE
    assert [(attempt.backend, attempt.status, attempt.error) for attempt in record.attempts] == [(BACKEND, 200, "")]
    assert record.error == ""


def test_attempts_find_their_request() -> None:
    joiner = Joiner("envoy-1", Settings())
    assert joiner.feed(failed(cluster="a")) is None
    assert joiner.feed(failed(cluster="b", request_id="other")) is None
    record = joiner.feed(served(attempts=2))
    assert record is not None
    assert [(attempt.backend, attempt.error) for attempt in record.attempts] == [
        ("a", "upstream_failed"),
        (BACKEND, ""),
    ]
    assert record.attempts[1].duration_ms == 246.0


def test_last_attempt_that_failed_is_told_once() -> None:
    joiner = Joiner("", Settings())
    joiner.feed(failed(cluster="a"))
    joiner.feed(failed(cluster=BACKEND))
    record = joiner.feed(served(attempts=2, status=503))
    assert record is not None
    assert [attempt.backend for attempt in record.attempts] == ["a", BACKEND]
    assert record.error == "upstream_failed"


def test_client_that_reuses_request_ids_gets_a_record_each() -> None:
    first, second = make_record(served()), make_record(served(started_ns=1_790_000_000_123_456_790))
    assert first.request_id == second.request_id
    assert first.id != second.id
    assert first.id == make_record(served()).id


def test_ids_are_in_the_order_of_time() -> None:
    ids = [make_record(served(started_ns=start, peer=f"p{start}")).id for start in (1, 17, 1_790_000_000_000_000_000)]
    assert ids == sorted(ids)


def test_what_a_response_used_is_one_record_however_often_it_is_fetched() -> None:
    def fetched(name: str, **changes: object) -> str:
        internal = {metadata.INTERNAL_FETCHED: name}
        return make_record(served(method="GET", internal=internal, **changes), node="envoy-1").id

    once = fetched("resp_1", started_ns=1)
    assert fetched("resp_1", started_ns=2, peer="10.0.0.8:1", path="/v1/responses/resp_1?stream=true") == once
    assert len(once) == len(make_record(served()).id)
    others = {
        fetched("resp_2"),
        fetched("resp_1", cluster="default/azure/route/r/rule/0/ref/0"),
        fetched("resp_1", started_ns=3, published={}),  # not done yet
        fetched("resp_1", started_ns=4, published={}),
        make_record(served(path="/v1/responses", started_ns=5)).id,
        once,
    }
    assert len(others) == 6


def test_published_counts_are_believed() -> None:
    published = {
        metadata.INPUT_TOKENS: 5.0,
        metadata.OUTPUT_TOKENS: 3.0,
        metadata.LANE: metadata.LANE_EXTPROC,
        metadata.BACKEND_NAME: BACKEND,
    }
    record = make_record(served(published=published))
    assert (record.tokens.input, record.tokens.output) == (5, 3)
    assert record.lane is Lane.EXTPROC
    assert make_record(served(published=published, cluster="the/next/one")).lane is Lane.NATIVE


def test_counts_that_were_taken_back_are_none() -> None:
    """What looked like usage was none: a script can set a count to 0, and cannot remove it."""
    counts = dict.fromkeys((*metadata.USAGE_KEYS, *metadata.APART_KEYS), 0.0)
    record = make_record(served(published={**counts, metadata.USAGE_SOURCE: "none"}))
    assert (record.tokens, record.usage_source) == (Tokens(), UsageSource.NONE)


def test_stream_that_broke_off_keeps_what_is_known() -> None:
    published = {metadata.INPUT_TOKENS: 5.0, metadata.OUTPUT_TOKENS: 3.0, metadata.USAGE_SOURCE: "estimated"}
    internal = {metadata.INTERNAL_MODEL: "gpt", metadata.INTERNAL_STREAM: True}
    flags = ("downstream_connection_termination",)
    record = make_record(served(published=published, internal=internal, flags=flags, first_sent_ns=9_000_000))
    assert record.error == "client_gone"
    assert record.usage_source is UsageSource.ESTIMATED
    assert record.ttft_ms == 9.0


LEFT: dict[str, object] = {
    "published": {},
    "prompts": True,
    "upstream": "10.0.0.9:443",
    "status": 0,
    "request_bytes": 400,
    "flags": ("downstream_connection_termination",),
}


def test_a_client_that_leaves_before_the_first_word_pays_its_prompt() -> None:
    record = make_record(served(**LEFT))
    assert (record.tokens, record.usage_source) == (Tokens(input=101, output=0, total=101), UsageSource.ESTIMATED)


@pytest.mark.parametrize(
    ("changes", "prompt"),
    [
        ({"internal": {metadata.INTERNAL_TEXT_BYTES: 200.0}}, 51),
        ({"internal": {metadata.INTERNAL_TEXT_BYTES: 4000.0}}, 1001),
        ({"published": {metadata.PROMPT_TOKENS: 33.0, metadata.USAGE_SOURCE: "none"}}, 33),
    ],
)
def test_such_a_prompt_is_what_is_known_of_it(changes: dict[str, object], prompt: int) -> None:
    assert make_record(served(**{**LEFT, **changes})).tokens.input == prompt


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"upstream": ""}, id="no provider was reached"),
        pytest.param({"prompts": False}, id="no prompt is paid"),
        pytest.param({"status": 400}, id="its provider refused it"),
        pytest.param({"request_bytes": 0}, id="nothing was sent"),
        pytest.param({"flags": ("upstream_connection_termination",), "status": 503}, id="its provider left"),
    ],
)
def test_who_has_had_no_prompt_is_paid_none(changes: dict[str, object]) -> None:
    record = make_record(served(**{**LEFT, **changes}))
    assert (record.tokens, record.usage_source) == (Tokens(), UsageSource.NONE)


@pytest.mark.parametrize(("status", "attempts"), [(500, 1), (429, 0)])
def test_a_refusal_or_a_failure_has_no_first_token(status: int, attempts: int) -> None:
    internal = {metadata.INTERNAL_STREAM: True}
    entry = served(
        internal=internal, status=status, attempts=attempts, first_sent_ns=9_000_000, first_body_ns=9_000_000
    )
    assert make_record(entry).ttft_ms is None


def test_costs_of_routes_are_kept_by_key() -> None:
    published = {"llm_cost": 42.0, metadata.INPUT_TOKENS: 1.0, metadata.BACKEND_NAME: BACKEND}
    assert make_record(served(published=published)).costs == (("llm_cost", 42),)


def test_headers_become_labels() -> None:
    settings = Settings(attributes=(("agent-session-id", "session.id"), ("x-team", "team")))
    record = make_record(served(headers={"agent-session-id": "s1", "x-team": "blue", "other": "x"}), settings=settings)
    assert record.labels == (("session.id", "s1"), ("team", "blue"))
    assert record.team == "blue"


def test_a_header_may_have_several_names() -> None:
    settings = Settings(attributes=(("x-team", "group"), ("x-team", "team")))
    record = make_record(served(headers={"x-team": "blue"}), settings=settings)
    assert record.labels == (("group", "blue"), ("team", "blue"))


def test_team_of_the_table_wins() -> None:
    settings = Settings(prices=parse_prices({"teams": {"red": ["alice"]}}), attributes=(("x-team", "team"),))
    internal = {metadata.INTERNAL_CLIENT: "alice"}
    assert make_record(served(internal=internal, headers={"x-team": "blue"}), settings=settings).team == "red"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"status": 429, "flags": ("rate_limited",), "attempts": 0, "details": "request_rate_limited"}, "limited"),
        ({"status": 429}, "upstream_limited"),
        ({"status": 400}, "upstream_refused"),
        ({"status": 500}, "upstream_failed"),
        ({"status": 404, "details": "direct_response", "attempts": 0}, "not_found"),
        ({"status": 401, "details": "api_key", "attempts": 0}, "unauthenticated"),
        ({"status": 413, "details": "request_payload_too_large", "attempts": 0}, "bad_request"),
        ({"status": 500, "details": "ext_proc_error", "attempts": 1}, "internal"),
        ({"status": 504, "flags": ("upstream_request_timeout",), "details": "response_timeout"}, "upstream_timeout"),
        ({"status": 503, "flags": ("no_healthy_upstream",), "details": "no_healthy_upstream"}, "no_backend"),
        ({"status": 0, "flags": (), "details": ""}, "client_gone"),
    ],
)
def test_error_kinds(changes: dict[str, object], kind: str) -> None:
    assert make_record(served(**changes)).error == kind


def test_attempts_that_nobody_asks_for_are_given_up() -> None:
    joiner = Joiner("", Settings())
    for number in range(WAITING_MAX + 3):
        joiner.feed(failed(request_id=str(number)))
    assert joiner.orphans == 3


def test_what_a_route_of_several_classes_served_is_told_by_its_path() -> None:
    entry = served(route="default/r/rule/0/translated/match/0", path="/anthropic/v1/messages?beta=true")
    assert make_record(entry).operation == "messages"
    entry = served(route=entry.route, path="/v1/batches/b-1:cancel")
    assert make_record(entry).operation == "cancel"


def test_names_of_routes() -> None:
    assert route_and_operation("ns/r/rule/3/chat/match/0") == ("ns/r", "chat")
    assert route_and_operation("ns/r/rule/3/match/0") == ("ns/r", "")
    assert route_and_operation("HTTPRoute/ns/r/rule/3/match/0") == ("ns/r", "")
    assert route_and_operation("headgate/unknown-model") == ("", "")


def background(name: str, number: int, **changes: object) -> Entry:
    said = {**served().published, metadata.USAGE_SOURCE: "reported", "llm_cost": 5.0, metadata.ROUTE_NAME: "default/r"}
    internal = {metadata.INTERNAL_FETCHED: name}
    return served(**{"method": "GET", "internal": internal, "started_ns": number, "published": said, **changes})


def test_a_background_response_counts_once_however_often_it_is_fetched() -> None:
    """By whichever worker of Envoy's, and of whichever connection."""
    fetched = Fetched()
    here, there = Joiner("e", Settings(), fetched), Joiner("e", Settings(), fetched)
    first, again, other = (
        here.feed(background("r1", 1)),
        there.feed(background("r1", 2)),
        here.feed(background("r2", 3)),
    )
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.tokens, first.costs) == (other.tokens, other.costs) == (COUNTED, (("llm_cost", 5),))
    assert (again.tokens, again.costs, again.usage_source) == (Tokens(), (), UsageSource.NONE)
    assert again.route == "default/r"
    assert len({first.id, again.id, other.id}) == 3, "a fetch that counts nothing is a request of its own"
    twice = there.feed(background("r1", 1))
    assert twice is not None
    assert (twice.id, twice.tokens) == (first.id, COUNTED), "the same entry is the same record"


def test_what_is_still_made_counts_nothing() -> None:
    joiner = Joiner("e", Settings())
    waiting = joiner.feed(background("r1", 1, published={metadata.USAGE_SOURCE: "none"}))
    made = joiner.feed(background("r1", 2))
    assert waiting is not None
    assert made is not None
    assert (waiting.tokens, made.tokens) == (Tokens(), COUNTED)


def test_responses_that_are_remembered_are_bounded() -> None:
    joiner = Joiner("e", Settings())
    for number in range(FETCHED_MAX + 1):
        joiner.feed(background(f"r{number}", number))
    newest, oldest = joiner.feed(background(f"r{FETCHED_MAX}", -1)), joiner.feed(background("r0", -2))
    assert newest is not None
    assert oldest is not None
    assert (newest.tokens, oldest.tokens) == (Tokens(), COUNTED)


def test_a_background_response_is_found_by_the_model_that_answered() -> None:
    """Who fetches it names none."""
    said = {**served().published, metadata.RESPONSE_MODEL: "gpt-5-2025-08-07"}
    record = Joiner("e", Settings()).feed(background("r1", 1, published=said))
    assert record is not None
    assert (record.original_model, record.request_model) == ("gpt-5-2025-08-07",) * 2
