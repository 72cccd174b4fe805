"""Gemini in front and behind, seen by official clients: Google's in front of GPT and Claude, OpenAI's and Anthropic's
in front of Gemini, and Google's own in front of its own."""

from collections.abc import Iterator
from typing import Any

import google.genai
import pytest
from google.genai import types
from google.genai.errors import ClientError
from support.manifests import Document, backend, gateway, ref, route, rule
from support.ports import free_port
from support.providers import ANTHROPIC, OPENAI, Answer, Failure, Provider, ToolUse, Usage
from support.providers.gemini_api import GEMINI
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TWO = (ToolUse("weather", '{"city":"Bern"}', "call_1"), ToolUse("weather", '{"city":"Genève"}', "call_2"))


def _documents(stage: Stage, port: int) -> list[Document]:
    return [
        *gateway({"port": port}),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        *backend("gemini", stage["gemini"].port, "Gemini", key="sk-gemini"),
        route(
            "models",
            [
                rule("gpt", ref("openai")),
                rule("claude", ref("anthropic")),
                rule("gemini-3-flash", ref("gemini")),
                rule("renamed", ref("gemini", modelNameOverride="gemini-2.5-flash")),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    providers = {
        "openai": Provider(OPENAI, key="sk-openai"),
        "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
        "gemini": Provider(GEMINI, key="sk-gemini"),
    }
    with Stage(**providers) as stage:
        stage.run(_documents(stage, free_port()))
        yield stage


@pytest.fixture(autouse=True)
def clean(stage: Stage) -> Iterator[None]:
    stage.forget()
    yield
    stage.check()


@pytest.fixture(params=[None, "v1beta"], ids=["default", "v1beta"])
def client(stage: Stage, request: pytest.FixtureRequest) -> Iterator[google.genai.Client]:
    options = types.HttpOptions(base_url=stage.url, api_version=request.param)
    with google.genai.Client(api_key="client-key", http_options=options) as found:
        yield found


TOOLS: Any = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=CITY)])]
)


@pytest.mark.parametrize(
    ("model", "provider"), [("gpt", "openai"), ("claude", "anthropic"), ("gemini-3-flash", "gemini")]
)
def test_google_client_is_answered(stage: Stage, client: Any, model: str, provider: str) -> None:
    stage[provider].answer(Answer(text="Bonjour", tools=TWO, usage=Usage(input=21, output=9)))

    answer: Any = client.models.generate_content(model=model, contents="Hi", config=TOOLS)

    calls: list[Any] = answer.function_calls or []
    assert [(call.name, call.args) for call in calls] == [
        ("weather", {"city": "Bern"}),
        ("weather", {"city": "Genève"}),
    ]
    parts: list[Any] = answer.parts or []
    assert "".join(part.text or "" for part in parts) == "Bonjour"
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (21, 9, 30)
    assert stage[provider].last.json


@pytest.mark.parametrize(
    ("model", "provider"), [("gpt", "openai"), ("claude", "anthropic"), ("gemini-3-flash", "gemini")]
)
def test_google_client_streams(stage: Stage, client: Any, model: str, provider: str) -> None:
    stage[provider].answer(Answer(text="one two three", tools=TWO, usage=Usage(input=21, output=9)))

    chunks: list[Any] = list(client.models.generate_content_stream(model=model, contents="Hi", config=TOOLS))

    parts: list[Any] = [part for chunk in chunks for part in chunk.parts or ()]
    assert "".join(part.text or "" for part in parts) == "one two three"
    assert [part.function_call.args for part in parts if part.function_call] == [{"city": "Bern"}, {"city": "Genève"}]
    usage = chunks[-1].usage_metadata
    assert usage is not None
    assert usage.total_token_count == 30


@pytest.mark.parametrize("model", ["gpt", "gemini-3-flash"])
def test_a_stream_that_is_not_asked_for_as_events_is_an_array(stage: Stage, model: str) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}

    answer = stage.post(f"/v1beta/models/{model}:streamGenerateContent", body)

    assert answer.headers["content-type"].startswith("application/json")
    texts = [part.get("text", "") for chunk in answer.json() for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(texts) == "Hello from the provider."


@pytest.mark.parametrize(("model", "provider"), [("gpt", "openai"), ("gemini-3-flash", "gemini")])
def test_google_client_raises_what_the_provider_said(stage: Stage, client: Any, model: str, provider: str) -> None:
    stage[provider].answer(Failure(429, "slower"))

    raised: Any
    with pytest.raises(ClientError) as raised:
        client.models.generate_content(model=model, contents="Hi")

    assert (raised.value.code, raised.value.status, raised.value.message) == (429, "RESOURCE_EXHAUSTED", "slower")


def test_google_client_is_told_of_a_model_alone(client: Any) -> None:
    """LlamaIndex asks for it before it begins."""
    assert client.models.get(model="gemini-3-flash").name == "models/gemini-3-flash"
    with pytest.raises(ClientError, match="There is nothing at GET"):
        client.models.get(model="nothing")


def test_a_key_in_a_query_is_not_told_again(stage: Stage) -> None:
    for answer in (
        stage.http.get(f"{stage.url}/v1beta/nothing?key=of-mine"),
        stage.http.get(f"{stage.url}/v1/messages?key=of-mine"),
        stage.post("/v1beta/models/nothing:generateContent?key=of-mine", {"contents": []}),
        stage.post("/chat/completions?key=of-mine", {"model": "gpt"}),
    ):
        assert answer.status_code in (404, 405)
        assert "of-mine" not in answer.text
    assert answer.json()["error"]["message"].startswith(
        "The model 'gpt' does not exist here, or not at POST /chat/comp"
    )


def test_google_client_is_told_of_an_unknown_model(client: Any) -> None:
    raised: Any
    with pytest.raises(ClientError) as raised:
        client.models.generate_content(model="nothing", contents="Hi")

    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")
    assert "nothing" in (raised.value.message or "")


def test_openai_client_has_a_conversation_with_gemini(stage: Stage) -> None:
    openai = stage.openai()
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
    stage["gemini"].answer(Answer(text="", thinking="A map.", tools=TWO, usage=Usage(input=21, output=9, reasoning=4)))
    first = openai.chat.completions.create(model="gemini-3-flash", messages=MESSAGES, tools=tools)
    message = first.choices[0].message
    assert first.usage is not None
    assert (first.usage.prompt_tokens, first.usage.completion_tokens, first.usage.total_tokens) == (21, 9, 30)
    assert message.tool_calls

    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in message.tool_calls]
    messages: Any = [*MESSAGES, message.model_dump(exclude_none=True), *results]
    answer = openai.chat.completions.create(model="gemini-3-flash", messages=messages, tools=tools)

    assert answer.choices[0].message.tool_calls
    sent = stage["gemini"].last
    assert sent.path == "/v1beta/models/gemini-3-flash:generateContent"
    called = next(part for part in sent.json["contents"][1]["parts"] if "functionCall" in part)
    assert called["thoughtSignature"] == Answer().signature


def test_anthropic_client_streams_from_gemini(stage: Stage) -> None:
    stage["gemini"].answer(Answer(text="one two three", tools=TWO, usage=Usage(input=21, output=9)))
    tools: Any = [{"name": "weather", "input_schema": CITY}]

    with stage.anthropic().messages.stream(model="renamed", max_tokens=99, messages=MESSAGES, tools=tools) as stream:
        message = stream.get_final_message()

    assert [block.input for block in message.content if block.type == "tool_use"] == [
        {"city": "Bern"},
        {"city": "Genève"},
    ]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (21, 9)
    assert message.stop_reason == "tool_use"
    sent = stage["gemini"].last
    assert (sent.path, sent.query) == ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "alt=sse")
