"""Answers that name the model as it was asked for, through the real Envoy: every front, its own backend and others',
whole and streamed. The record has the name that the provider gave."""

import re
from collections.abc import Iterator

import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS
from support.manifests import Document, backend, costs, document, gateway, ref, route, rule, target
from support.providers import ANTHROPIC, OPENAI, Answer, Provider, Usage
from support.providers.gemini_api import GEMINI
from support.stage import Stage

pytestmark = pytest.mark.envoy

BACKS = {
    "chat": ("openai", "OpenAI", "gpt-4o"),
    "responses": ("openai", "OpenAI", "gpt-5"),
    "anthropic": ("anthropic", "Anthropic", "claude-sonnet-4-5"),
    "gemini": ("gemini", "Gemini", "gemini-2.5-flash"),
}
NAMED = re.compile(r'"(?:model|modelVersion)"\s*:\s*"([^"]*)"')
NAMELESS = (DialectName.COHERE, DialectName.BEDROCK_CONVERSE)


def _documents(stage: Stage) -> list[Document]:
    found = [*gateway({"port": stage.port})]
    for name, (provider, schema, _) in BACKS.items():
        found += backend(name, stage[provider].port, schema, key=f"sk-{provider}")
        dialect = "OpenAIResponses" if name == "responses" else "Schema"
        spec = {**target("AIServiceBackend", name), "responseModel": "Requested", "backend": {"dialect": dialect}}
        found.append(document("headgate.dev/v1alpha1", "TranslationPolicy", name, spec))
    found += backend("plain", stage["openai"].port, key="sk-openai")
    rules = [rule(f"my-{name}", ref(name, modelNameOverride=model)) for name, (_, _, model) in BACKS.items()]
    rules.append(rule("plain", ref("plain", modelNameOverride="gpt-4o")))
    return [*found, route("models", rules, **costs(total="TotalToken"))]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    providers = {
        "openai": Provider(OPENAI, key="sk-openai"),
        "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
        "gemini": Provider(GEMINI, key="sk-gemini"),
    }
    with Stage(**providers) as stage:
        yield stage.run(_documents(stage))


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


def _ask(stage: Stage, front: DialectName, back: str, *, streamed: bool) -> str:
    """The path under which the record is found."""
    client = CLIENTS[front]
    path = ((client.stream_path or client.path) if streamed else client.path).replace("asked", f"my-{back}")
    path += f"{'&' if '?' in path else '?'}named={front}-{back}-{streamed}"
    body = (client.streamed if streamed else client.minimal).replace(b"asked", f"my-{back}".encode())
    answer = stage.post(path, content=body, anthropic_version="2023-06-01")
    assert answer.status_code == 200
    assert set(NAMED.findall(answer.text)) == (set() if front in NAMELESS else {f"my-{back}"}), front
    return path


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("back", BACKS)
def test_the_client_reads_its_own_name_and_the_record_the_providers(stage: Stage, back: str, streamed: bool) -> None:
    provider, _, model = BACKS[back]
    said = f"{model}-served"
    answer = Answer(text="It is sunny.", usage=Usage(input=10, output=5), model=said)
    stage[provider].answer(*[answer] * len(CLIENTS))
    paths = [_ask(stage, front, back, streamed=streamed) for front in CLIENTS]
    for path in paths:
        (entry,) = stage.access(lambda entry, path=path: entry["path"] == path)
        assert (entry["metadata"]["response_model"], entry["metadata"]["total"]) == (said, 15), path


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_policy_the_provider_is_heard(stage: Stage, stream: bool) -> None:
    stage["openai"].answer(Answer(text="It is sunny.", model="gpt-4o-served"))
    assert set(NAMED.findall(stage.chat("plain", stream=stream).text)) == {"gpt-4o-served"}
