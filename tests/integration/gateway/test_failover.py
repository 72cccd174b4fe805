"""Failover by priority and weights within one, across dialects; nothing of one attempt reaches the next provider.

The fake providers refuse a request with another provider's key, with headers of another dialect's credential, or with a
body that their own SDK could not have sent: `stage` fails the test then.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
from support.providers import Answer, Delivery, Failure, Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
RESET = Raw(delivery=Delivery(reset=True))
FAILURES = [Failure(429), Failure(500), Failure(502), Failure(503), Failure(529), RESET]
PAIRS = [
    ("native-native", "openai", "second"),
    ("native-translated", "openai", "anthropic"),
    ("translated-native", "anthropic", "openai"),
    ("claude-then-azure", "anthropic", "azure"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=["429", "500", "502", "503", "529", "reset"])
@pytest.mark.parametrize(("model", "first", "next_one"), PAIRS)
def test_an_openai_client_is_answered_by_the_next(
    stage: Stage, model: str, first: str, next_one: str, failure: Any
) -> None:
    stage[first].answer(failure)
    stage[next_one].answer(Answer(text="from the next"))
    answer = stage.openai().chat.completions.create(model=model, messages=MESSAGES)
    assert answer.choices[0].message.content == "from the next"
    assert len(stage[first].requests) == len(stage[next_one].requests) == 1


@pytest.mark.parametrize(("model", "first", "next_one"), PAIRS)
def test_an_anthropic_client_is_answered_by_the_next(stage: Stage, model: str, first: str, next_one: str) -> None:
    stage[first].answer(Failure(429))
    stage[next_one].answer(Answer(text="from the next"))
    answer = stage.anthropic().messages.create(model=model, max_tokens=9, messages=MESSAGES)
    assert [block.text for block in answer.content if block.type == "text"] == ["from the next"]


@pytest.mark.parametrize(("model", "first", "next_one"), PAIRS)
def test_streams_fail_over_before_they_begin(stage: Stage, model: str, first: str, next_one: str) -> None:
    stage[first].answer(Failure(503))
    stage[next_one].answer(Answer(text="from the next"))
    stream = stage.openai().chat.completions.create(model=model, messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "from the next"
    with stage.anthropic().messages.stream(model=model, max_tokens=9, messages=MESSAGES) as events:
        assert "".join(events.text_stream) == "from the next"


BEGUN = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}\n\n',
    b'event: ping\ndata: {"type":"ping"}\n\n',
)
OPENED = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\n'
)
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
WORDS = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
    b'"It was a dark"}}\n\n'
)
AFTER_THE_START = {
    "says that it failed": Raw(body=(*BEGUN, OPENED, OVERLOADED), content_type="text/event-stream"),
    "says so and stays": Raw(
        body=(*BEGUN, OVERLOADED),
        content_type="text/event-stream",
        delivery=Delivery(hang_after_bytes=len(b"".join(BEGUN) + OVERLOADED)),
    ),
    "ends": Raw(body=BEGUN, content_type="text/event-stream"),
    "breaks off": Raw(
        body=BEGUN, content_type="text/event-stream", delivery=Delivery(abort_after_bytes=len(BEGUN[0]) + 5)
    ),
}


@pytest.mark.parametrize("how", AFTER_THE_START)
def test_a_stream_that_has_only_begun_fails_over(stage: Stage, how: str) -> None:
    stage["anthropic"].answer(AFTER_THE_START[how])
    stage["openai"].answer(Answer(text="from the next"))
    stream = stage.openai().chat.completions.create(model="translated-native", messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "from the next"
    assert len(stage["anthropic"].requests) == len(stage["openai"].requests) == 1


def test_a_stream_that_has_only_begun_is_a_clean_error_where_no_other_backend_is(stage: Stage) -> None:
    stage["anthropic"].answer(AFTER_THE_START["says that it failed"])
    with pytest.raises(openai.APIStatusError) as raised:
        stage.openai().chat.completions.create(model="claude", messages=MESSAGES, stream=True)
    assert raised.value.status_code == 529
    assert "Overloaded" in raised.value.message


def test_a_stream_that_has_said_something_ends_with_an_error_and_what_it_cost(stage: Stage) -> None:
    stage["anthropic"].answer(Raw(body=(*BEGUN, OPENED, WORDS), content_type="text/event-stream"))
    path = "/v1/chat/completions?cut=1"
    text = stage.chat("translated-native", path=path, stream=True).text
    assert "It was a dark" in text
    assert '"error"' in text.rstrip().splitlines()[-1]
    assert "[DONE]" not in text
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    published = entry["metadata"]
    assert (published["input_tokens"], published["output_tokens"]) == (9, 1 + 4)
    assert published["usage_source"] == "estimated"


@pytest.mark.parametrize(
    ("model", "first", "next_one", "status"), [*((*pair, 200) for pair in PAIRS), *((*pair, 404) for pair in PAIRS[:2])]
)
def test_a_web_page_fails_over(stage: Stage, model: str, first: str, next_one: str, status: int) -> None:
    """A wrong address, or a proxy in between, answers with one."""
    stage[first].answer(Raw(body=b"<!doctype html>", status=status, content_type="Text/HTML; charset=utf-8"))
    stage[next_one].answer(Answer(text="from the next"))
    answer = stage.openai().chat.completions.create(model=model, messages=MESSAGES)
    assert answer.choices[0].message.content == "from the next"


def test_a_web_page_from_the_last_is_told_in_the_clients_dialect(stage: Stage) -> None:
    for name in ("openai", "second"):
        stage[name].answer(Raw(body=b"<!doctype html>", content_type="text/html"))
    failed = stage.chat("native-native")
    assert failed.status_code == 502
    assert "web page" in failed.json()["error"]["message"]
    assert len(stage["openai"].requests) == len(stage["second"].requests) == 1


@pytest.mark.parametrize(("model", "first", "next_one"), PAIRS[:2])
def test_many_at_once_fail_over(stage: Stage, model: str, first: str, next_one: str) -> None:
    """Envoy allows three retries at a time where nothing else is said, and a call of a model takes long."""
    stage[first].answer(Failure(503))
    stage[next_one].answer(Answer(text="from the next", delivery=Delivery(delay_seconds=0.5)))
    with ThreadPoolExecutor(40) as pool:
        answers = [each.status_code for each in pool.map(stage.chat, [model] * 40)]
    assert answers == [200] * 40


def test_a_refused_connection_fails_over(stage: Stage) -> None:
    assert stage.chat("refused-first").status_code == 200
    assert len(stage["second"].requests) == 1


def test_a_silent_provider_fails_over_in_time(stage: Stage) -> None:
    stage["openai"].answer(Answer(delivery=Delivery(delay_seconds=20)))
    assert stage.chat("hangs-first").status_code == 200
    assert len(stage["second"].requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_clients_own_mistake_is_not_tried_elsewhere(stage: Stage, status: int) -> None:
    stage["openai"].answer(Failure(status))
    assert stage.chat("native-native").status_code == status
    assert not stage["second"].requests


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_exhausted_list_answers_the_last_error_to_openai_clients(stage: Stage, status: int) -> None:
    stage["openai"].answer(Failure(500, "first"))
    stage["anthropic"].answer(Failure(status, "last", retry_after_seconds=9))
    with pytest.raises(openai.APIStatusError, match="last") as error:
        stage.openai().chat.completions.create(model="native-translated", messages=MESSAGES)
    assert error.value.status_code == status
    assert error.value.response.headers["retry-after"] == "9"
    body: Any = error.value.body
    assert body["message"] == "last"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_exhausted_list_answers_the_last_error_to_anthropic_clients(stage: Stage, status: int) -> None:
    stage["anthropic"].answer(Failure(500, "first"))
    stage["openai"].answer(Failure(status, "last", retry_after_seconds=9))
    with pytest.raises(anthropic.APIStatusError, match="last") as error:
        stage.anthropic().messages.create(model="translated-native", max_tokens=9, messages=MESSAGES)
    assert error.value.status_code == status
    assert error.value.response.headers["retry-after"] == "9"
    body: Any = error.value.body
    assert body["type"] == "error"


def test_nobody_reachable_is_told_in_the_clients_dialect(stage: Stage) -> None:
    stage["openai"].answer(RESET)
    stage["anthropic"].answer(RESET)
    failed = stage.chat("native-translated")
    assert failed.status_code == 503
    assert failed.json()["error"]["code"] == "service_unavailable"
    failed = stage.messages("native-translated")
    assert failed.status_code == 503
    assert failed.json()["error"]["type"] == "overloaded_error"


def test_three_providers_are_tried_in_order(stage: Stage) -> None:
    stage["openai"].answer(Failure(500))
    stage["anthropic"].answer(Failure(529))
    assert stage.chat("three").status_code == 200
    assert len(stage["openai"].requests) == len(stage["anthropic"].requests) == len(stage["second"].requests) == 1
    (entry,) = stage.access(lambda entry: entry["original_model"] == "three")
    assert entry["attempt_count"] == 3
    assert entry["backend"] == "default/second/route/failover/rule/6/ref/2"


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_clients_do_not_have_a_backend_asked_again(stage: Stage, model: str) -> None:
    """What stands for later attempts is left out where a rule has none."""
    provider = stage["openai" if model == "gpt" else "anthropic"]
    provider.answer(Failure(503))
    asks = {
        "x-envoy-retry-on": "5xx,retriable-4xx",
        "x-envoy-max-retries": "2",
        "x-envoy-retriable-status-codes": "503",
        "x-envoy-hedge-on-per-try-timeout": "true",
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    }
    answer = stage.http.post(
        f"{stage.url}/v1/chat/completions", json={"model": model, "messages": MESSAGES}, headers=asks
    )
    assert answer.status_code == 503
    assert len(provider.requests) == 1


def test_one_attempts_mutations_do_not_reach_the_next(stage: Stage) -> None:
    stage["openai"].answer(Failure(500))
    body = {"model": "mutated-first", "messages": MESSAGES}
    assert stage.post("/v1/chat/completions", body, x_kept="client's", x_first="client's").status_code == 200
    first, second = stage["openai"].last, stage["second"].last
    assert (first.header("x-first"), first.header("x-kept"), first.model) == ("1", None, "mutated-first")
    assert (second.header("x-first"), second.header("x-kept"), second.model) == ("client's", "client's", "other")


def test_each_attempt_names_its_own_model(stage: Stage) -> None:
    stage["openai"].answer(Failure(500))
    stage["anthropic"].answer(Failure(500))
    assert stage.chat("renamed-first").status_code == 200
    models = [stage[name].last.model for name in ("openai", "anthropic", "second")]
    assert models == ["first", "second", "renamed-first"]


def test_each_attempt_speaks_its_own_dialect_only(stage: Stage) -> None:
    stage["anthropic"].answer(Failure(500))
    headers: dict[str, Any] = {"anthropic_version": "2023-06-01", "anthropic_beta": "tools-2024-04-04"}
    body = {"model": "translated-native", "max_tokens": 9, "messages": MESSAGES}
    assert stage.post("/v1/messages", body, **headers).status_code == 200
    assert stage["anthropic"].last.header("anthropic-beta") == "tools-2024-04-04"
    assert not [name for name, _ in stage["openai"].last.headers if name.startswith("anthropic")]
    stage["anthropic"].answer(Failure(500))
    assert stage.chat("translated-native").status_code == 200
    assert not [name for name, _ in stage["openai"].last.headers if name.startswith("anthropic")]


def test_weights_share_the_requests(stage: Stage) -> None:
    for _ in range(200):
        assert stage.chat("weighted").status_code == 200
    assert not stage["azure"].requests
    assert 110 <= len(stage["openai"].requests) <= 185  # 150 are expected; 5 standard deviations are 31


def test_a_weighted_priority_fails_over_as_one(stage: Stage) -> None:
    stage["openai"].answer(Failure(500))
    stage["second"].answer(Failure(500))
    for _ in range(10):
        assert stage.chat("weighted-then").status_code == 200
    assert len(stage["openai"].requests) + len(stage["second"].requests) == 10
    assert len(stage["anthropic"].requests) == 10


def test_five_megabytes_fail_over(stage: Stage) -> None:
    stage["openai"].answer(Failure(500))
    messages: Any = [{"role": "user", "content": "x" * 5_000_000}]
    assert stage.chat("native-translated", messages=messages).status_code == 200
    assert len(stage["anthropic"].last.body) > 5_000_000


def test_log_says_where_counts_are_from_and_whose_session_it_is(stage: Stage) -> None:
    body = {"model": "claude", "messages": [{"role": "user", "content": "Hello!"}]}
    assert stage.post("/v1/chat/completions", body, agent_session_id="session-7").status_code == 200
    entry = stage.access(lambda entry: "session-7" in str(entry["metadata"]))[0]
    assert entry["metadata"]["session.id"] == "session-7"
    assert (entry["metadata"]["usage_source"], entry["metadata"]["lane"]) == ("reported", "extproc")


def test_attempt_that_failed_has_a_line_of_its_own(stage: Stage) -> None:
    stage["openai"].answer(Failure(503, "away"))
    assert stage.chat("native-native").status_code == 200
    request = stage.access(lambda entry: entry["original_model"] == "native-native" and entry["attempt_count"] == 2)[-1]
    lines = stage.access(lambda entry: entry["request_id"] == request["request_id"], attempts=True)
    assert [(line["status"], line["backend"].split("/")[1]) for line in lines] == [(503, "openai")]


def test_what_a_failed_attempt_lost_is_not_said_of_the_answer(stage: Stage) -> None:
    stage["anthropic"].answer(Failure(503))
    path = "/v1/chat/completions?lost=something"
    assert stage.chat("translated-native", path=path, seed=7).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["attempt_count"] == 2
    assert not entry["metadata"].get("losses")
