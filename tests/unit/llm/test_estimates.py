"""Usage where a provider reports none, and streams that are kept back until they say something."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm import vocabularies
from headgate.llm.endpoints import endpoint_named
from headgate.llm.errors import UpstreamError
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.planning import plan
from headgate.llm.usage import Usage
from headgate.llm.vocabularies import counter_of, encoding_of

PROMPT = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 100}]}
PROMPT_TOKENS = len(json.dumps({**PROMPT, "stream": True})) // 4 + 1


def opened(stream: bool, **more: Any) -> ResponseTranslation:
    """An answer of OpenAI's for a client of Anthropic's."""
    endpoint = endpoint_named("messages")
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect="openai-chat"))
    request = chosen.translate_request(json.dumps({**PROMPT, "stream": stream, **more}).encode(), {})
    kind = "text/event-stream" if stream else "application/json"
    return chosen.open_response(request, 200, {"content-type": kind}, 0)


def chunk(content: str | None = None, usage: dict[str, int] | None = None, finish: str | None = None) -> bytes:
    delta = {"role": "assistant"} if content is None else {"content": content}
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(body if usage is None else {**body, 'usage': usage})}\n\n".encode()


FILE = "data:image/png;base64," + "iVBORw0KGgo/" * 2_000


@pytest.mark.parametrize("slash", ["/", "\\/"])
@pytest.mark.parametrize("backend", ["openai-chat", "anthropic-messages"])
def test_a_file_counts_as_one_whatever_its_size(backend: str, slash: str) -> None:
    endpoint = endpoint_named("chat-completions")
    assert endpoint is not None
    content = [{"type": "image_url", "image_url": {"url": FILE}}, {"type": "text", "text": "What is it?"}]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]})
    sent = body.replace("/", slash).encode()
    request = plan(endpoint, BackendFacts(name="b", dialect=backend)).translate_request(sent, {})
    text_tokens = (len(body) - len(FILE)) // 4 + 1
    assert text_tokens + 765 <= request.prompt_tokens < text_tokens + 765 + 1_000 * (slash != "/") + 10


def test_a_text_is_no_file() -> None:
    endpoint = endpoint_named("chat-completions")
    assert endpoint is not None
    content = [
        {"type": "text", "text": FILE},
        {"type": "image_url", "image_url": {"url": "https://x/" + "a,b" * 9_000}},
    ]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}).encode()
    request = plan(endpoint, BackendFacts(name="b", dialect="openai-chat")).translate_request(body, {})
    assert request.prompt_tokens == len(body) // 4 + 1


DONE = b"data: [DONE]\n\n"
REPORTED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def test_a_stream_without_usage_is_counted_by_what_passed() -> None:
    answer = opened(stream=True)
    answer.feed(chunk() + chunk("a" * 40) + chunk("\u00e4" * 10) + chunk(finish="stop") + DONE)
    answer.close()
    assert answer.estimated
    assert answer.usage == Usage(input=PROMPT_TOKENS, output=15, total=PROMPT_TOKENS + 15)


WORDS = "The quick brown fox jumps over the lazy dog. "


@pytest.fixture
def counter() -> Callable[[str], int]:
    """Reads the vocabulary, as a process does that counts prompts."""
    encoding_of("gpt-4o")
    count = counter_of("gpt-4o")
    assert count is not None
    return count


@pytest.mark.parametrize("pieces", [1, 9, 90])
def test_at_its_end_a_stream_of_a_known_model_is_counted_by_its_text(
    counter: Callable[[str], int], pieces: int
) -> None:
    answer = opened(stream=True, model="gpt-4o")
    answer.feed(chunk() + b"".join(chunk(WORDS * (90 // pieces)) for _ in range(pieces)) + chunk(finish="stop") + DONE)
    answer.close()
    assert (answer.usage.output, answer.estimated) == (counter(WORDS * 90), True)
    assert counter(WORDS * 90) < len(WORDS * 90) // 4


def test_of_a_long_stream_the_rest_is_counted_by_its_bytes(counter: Callable[[str], int]) -> None:
    piece = WORDS * 364  # four make the bound
    answer = opened(stream=True, model="gpt-4o")
    answer.feed(chunk() + chunk(piece) * 9 + chunk(finish="stop") + DONE)
    answer.close()
    assert answer.usage.output == counter(piece * 4) + -(-5 * len(piece) // 4)


def test_a_stream_that_breaks_off_is_counted_by_its_text(counter: Callable[[str], int]) -> None:
    answer = opened(stream=True, model="gpt-4o")
    answer.feed(chunk("a", REPORTED) + chunk(WORDS))
    answer.close()
    assert (answer.usage.output, answer.estimated) == (3 + counter(WORDS), True)


@pytest.mark.usefixtures("counter")
def test_other_models_have_no_counter() -> None:
    assert counter_of("claude-sonnet-5") is None


def test_a_vocabulary_is_not_read_for_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabularies, "_loaded", {})
    assert counter_of("gpt-4o") is None


def test_reported_usage_is_not_touched() -> None:
    answer = opened(stream=True)
    answer.feed(chunk() + b"".join(chunk("a" * 40) for _ in range(100)) + chunk("b", REPORTED, "stop") + DONE)
    assert (answer.usage, answer.estimated) == (Usage(input=7, output=3, total=10), False)


def test_estimates_are_made_while_a_stream_goes_on_for_clients_that_leave() -> None:
    answer = opened(stream=True)
    seen: list[int | None] = []
    for _ in range(40):
        answer.feed(chunk("a" * 40))
        seen.append(answer.usage.output)
    assert answer.estimated
    assert seen[0] == 10, "its first words count: what it was asked is paid for"
    assert len(set(seen)) == 6, "not for each chunk: each is told to Envoy"
    assert 40 * 10 - 64 < (seen[-1] or 0) <= 40 * 10


def test_a_stream_that_breaks_off_keeps_what_was_reported() -> None:
    answer = opened(stream=True)
    answer.feed(chunk("a", REPORTED) + chunk("a" * 80))
    assert b"event: error" in answer.close()
    assert (answer.usage, answer.estimated) == (Usage(input=7, output=23, total=30), True)


def test_a_whole_answer_without_usage_is_counted() -> None:
    answer = opened(stream=False)
    message = {"role": "assistant", "content": "a" * 40}
    answer.feed(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode())
    answer.close()
    assert (answer.usage.output, answer.estimated) == (10, True)


def test_files_are_no_text() -> None:
    data = "A" * 4_000_000
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    answer = opened(stream=True, messages=[{"role": "user", "content": [image]}])
    answer.feed(chunk("a") + chunk(finish="stop") + DONE)
    assert 765 < (answer.usage.input or 0) < 900


def test_what_only_begins_is_kept_back() -> None:
    answer = opened(stream=True)
    assert answer.hold()
    assert answer.feed(chunk()) == b""
    first = answer.feed(chunk("Hi"))
    assert first.startswith(b"event: message_start")
    assert b"Hi" in first
    assert answer.feed(chunk("there")) != b""


@pytest.mark.parametrize(
    "failure", [b'data: {"error":{"message":"too busy","type":"server_error","code":503}}\n\n', b"data: {\n\n", b""]
)
def test_a_failure_of_what_only_began_is_an_error(failure: bytes) -> None:
    answer = opened(stream=True)
    answer.hold()
    with pytest.raises(UpstreamError) as raised:
        _ = answer.feed(chunk() + failure) + answer.close()
    assert raised.value.detail().status >= 500


def test_a_failure_of_what_has_said_something_is_an_event() -> None:
    answer = opened(stream=True)
    answer.hold()
    answer.feed(chunk() + chunk("Hi"))
    assert b"event: error" in answer.close()


def test_keeping_back_is_bounded() -> None:
    answer = opened(stream=True)
    answer.hold()
    assert answer.feed(chunk() + b": waiting\n\n") == b""
    assert b"message_start" in answer.feed(b": waiting\n\n"), "the client must learn that its provider is alive"


def test_an_empty_answer_is_an_answer() -> None:
    answer = opened(stream=True)
    answer.hold()
    assert b"message_stop" in answer.feed(chunk() + chunk(finish="stop") + DONE) + answer.close()
