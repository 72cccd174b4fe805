"""Cohere's official client in front of providers that speak something else."""

import json
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest
from support.providers import Answer, Failure, ToolUse, Usage
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "description": "now", "parameters": PARAMETERS}}]
PROVIDERS = pytest.mark.parametrize(("model", "provider"), [("gpt", "openai"), ("claude", "anthropic")])


@pytest.fixture
def client(stage: Stage) -> Iterator[Any]:
    with httpx.Client(timeout=10) as connections:
        yield cohere.ClientV2(api_key="client-key", base_url=stage.url, httpx_client=connections)


@PROVIDERS
def test_cohere_client_is_answered(stage: Stage, client: Any, model: str, provider: str) -> None:
    calls = (ToolUse("weather", '{"city": "Bern"}', "call_1"),)
    stage[provider].answer(Answer(text="Bonjour", tools=calls, usage=Usage(input=21, output=9)))

    answer = client.chat(model=model, messages=MESSAGES, tools=TOOLS)

    (call,) = answer.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bern"})
    assert answer.finish_reason == "TOOL_CALL"
    assert (answer.usage.tokens.input_tokens, answer.usage.tokens.output_tokens) == (21, 9)


@PROVIDERS
def test_cohere_client_streams(stage: Stage, client: Any, model: str, provider: str) -> None:
    stage[provider].answer(Answer(text="one two three", usage=Usage(input=21, output=9)))

    events = list(client.chat_stream(model=model, messages=MESSAGES))

    said = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
    assert said == "one two three"
    assert events[-1].type == "message-end"
    assert events[-1].delta.usage.tokens.output_tokens == 9


@PROVIDERS
def test_cohere_client_raises_what_the_provider_said(stage: Stage, client: Any, model: str, provider: str) -> None:
    stage[provider].answer(Failure(429))

    with pytest.raises(cohere.TooManyRequestsError):
        client.chat(model=model, messages=MESSAGES)


def test_an_unknown_model_is_named_in_cohere_words(stage: Stage) -> None:
    answer = stage.post("/v2/chat", {"model": "nope", "messages": MESSAGES})

    assert answer.status_code == 404
    assert answer.json().keys() == {"message"}
    assert "'nope'" in answer.json()["message"]
