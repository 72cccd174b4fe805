"""Prompt counts, against tiktoken's own and OpenAI's published examples."""

import json
from typing import Any

import pytest
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.errors import RequestError
from headgate.llm.tokenizers import TokenCount, count_chat, count_request, encoding_of


def count(model: str = "gpt-4o", **members: Any) -> TokenCount:
    return count_chat(DIALECT.decode_request(json.dumps({"model": "m", **members}).encode()), model)


def count_text(text: str, model: str) -> TokenCount:
    encoding, exact = encoding_of(model)
    return TokenCount(len(encoding.encode_ordinary(text)), exact)


def test_texts() -> None:
    assert count_text("antidisestablishmentarianism", "gpt-4o") == TokenCount(6, True)
    assert count_text("antidisestablishmentarianism", "gpt-3.5-turbo") == TokenCount(6, True)
    assert count_text("2 + 2 = 4", "openai/gpt-4-turbo") == TokenCount(7, True)
    assert count_text("お誕生日おめでとう", "gpt-3.5-turbo") == TokenCount(9, True)
    assert count_text("お誕生日おめでとう", "gpt-4o") == TokenCount(8, True)
    assert count_text("hello <|endoftext|>", "llama-3").exact is False


def test_openais_published_example() -> None:
    """The conversation of OpenAI's cookbook, whose count their API confirms: 129 and 124 tokens."""
    system = "system"
    messages = [
        {"role": system, "content": "You are a helpful, pattern-following assistant that translates corporate jargon "
         "into plain English."},
        {"role": system, "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {"role": system, "name": "example_assistant", "content": "Things working well together will increase revenue."},
        {"role": system, "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch "
         "base on opportunities for increased leverage."},
        {"role": system, "name": "example_assistant", "content": "Let's talk later when we're less busy about how to "
         "do better."},
        {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client "
         "deliverable."},
    ]  # fmt: skip
    assert count("gpt-4-0613", messages=messages) == TokenCount(129, True)
    assert count("gpt-4o", messages=messages) == TokenCount(124, True)


def test_what_is_not_text_makes_it_an_estimate() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/a", "detail": "low"}}
    text = {"type": "text", "text": "hi"}
    plain = count(messages=[{"role": "user", "content": [text]}])
    assert count(messages=[{"role": "user", "content": [text, image]}]) == TokenCount(plain.tokens + 85, False)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with_tools = count(messages=[{"role": "user", "content": "hi"}], tools=tools)
    assert with_tools.tokens > plain.tokens
    assert not with_tools.exact
    assert not count("claude-x", messages=[{"role": "user", "content": "hi"}]).exact


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        ("chat-completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, 8),
        ("messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}, 8),
        ("completions", {"prompt": "hello world"}, 2),
        ("completions", {"prompt": ["hello world", "hello"]}, 3),
        ("completions", {"prompt": [[1, 2, 3], [4]]}, 4),
        ("embeddings", {"input": ["hello world"]}, 2),
        ("responses", {"instructions": "hello", "input": [{"type": "message", "content": "hello world"}]}, 3),
        ("responses", {"model": "m", "input": "hi"}, 8),
        ("count-tokens", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, 8),
        ("generate-content", {"contents": [{"parts": [{"text": "hi"}]}]}, 8),
        ("gemini-count-tokens", {"contents": [{"parts": [{"text": "hi"}]}]}, 8),
        ("converse", {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, 8),
        ("tokenize", {"model": "m", "prompt": "hi"}, 8),
        ("cohere-embed", {"model": "m", "input_type": "search_query", "texts": ["hello world"]}, 2),
        ("images-generations", {"prompt": "a cat"}, None),
        ("nowhere", {}, None),
    ],
)
def test_requests(endpoint: str, body: dict[str, Any], tokens: int | None) -> None:
    counted = count_request(endpoint, "gpt-4o", json.dumps(body).encode())

    assert (None if counted is None else counted.tokens) == tokens


@pytest.mark.parametrize("endpoint", ["chat-completions", "messages", "completions", "embeddings", "responses"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input":' + b"[" * 100_000, b'{"prompt":"\xff"}'])
def test_what_is_no_request_is_refused(endpoint: str, body: bytes) -> None:
    with pytest.raises(RequestError):
        count_request(endpoint, "gpt-4o", body)


def test_a_long_word_costs_no_more_than_its_length() -> None:
    assert count_text("a" * 200_000, "gpt-4o").tokens == 25_000
